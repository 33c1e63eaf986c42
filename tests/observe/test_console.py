"""Tests of what a person sees, without a terminal and with one."""

import functools
import io
import pathlib

import pytest

from mn_jax.observe import console as console_lib

# What an unlucky name can hold: markup, an emoji's code, a trailing backslash.
_ODD = "[bold]run[/] :smile: [red] C:\\"


@pytest.fixture(autouse=True)
def _eighty_columns(monkeypatch):
  for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
    monkeypatch.delenv(name, raising=False)
  monkeypatch.setenv("COLUMNS", "80")


def _summary(**changes) -> dict:
  part = {
    "loss": 0.5123456,
    "accuracy": 0.75,
    "majority_rate": 0.5,
    "balanced_accuracy": 0.7,
    "precision": None,
    "count": 1234.0,
  }
  return {
    "experiment": "idc_v1",
    "best_step": 40,
    "chosen_on": "val",
    "steps": 50,
    "epochs": 2.5,
    "wall_seconds": 185.0,
    "images_per_sec": 1234.5,
    "data_wait_share": 0.0123,
    "device": "4 x cpu",
    **{f"val/{name}": value for name, value in part.items()},
    **{f"test/{name}": value for name, value in part.items()},
    **changes,
  }


def test_lines_are_literal_and_not_wrapped(capsys):
  """A path that is cut in two cannot be copied."""
  for text in (_ODD, "x" * 200):
    console_lib.Console().line(text)
    assert capsys.readouterr().out == f"{text}\n"


def test_a_quiet_console_prints_nothing(capsys):
  console = console_lib.Console(quiet=True)
  console.line("text")
  console.table("title", ("a",), [("1",)])
  with console.counting("decoding", "images") as update:
    update(1, 2)
  with console.training(total=2) as progress:
    progress.event(1, "text", 0)
  captured = capsys.readouterr()
  assert captured.out == captured.err == ""


def test_a_table_fits_80_columns(capsys):
  console_lib.Console().table(
    f"title {_ODD}", ("metric", "value"), [(_ODD, "0.123"), ("b", "1")]
  )
  out = capsys.readouterr().out
  assert out.startswith(f"title {_ODD}")
  assert f" {_ODD} " in out
  assert max(map(len, out.splitlines())) <= 80
  # Numbers are flush right.
  assert "    1 " in out
  title = "a title that is " * 4  # which is wider than the columns
  console_lib.Console().table(title, ("metric",), [("a",)])
  assert capsys.readouterr().out.splitlines()[0].rstrip() == title.rstrip()


def test_counting_without_a_terminal_is_one_line(capsys):
  with console_lib.Console().counting("decoding", "images") as update:
    for done in (10, 20, 35):
      update(done, 35)
  assert capsys.readouterr().out == "decoding: 35 images\n"
  with console_lib.Console().counting("decoding", "images"):
    pass
  assert capsys.readouterr().out == ""


def test_training_without_a_terminal_prints_occasional_lines(
  capsys, monkeypatch
):
  now = 100.0
  monkeypatch.setattr(console_lib.time, "monotonic", lambda: now)
  console = console_lib.Console()
  with console.training(total=1000) as progress:
    progress.step(1)
    progress.rate(20, 1234.4, 65)
    now += 5
    progress.rate(40, 1300, 60)  # too soon after the line before
    now += 6
    progress.rate(60, 1300, 55)
    progress.event(80, "epoch 1.0  val loss 0.500", 0.2)
    now += 5
    progress.rate(100, 1300, 55)  # too soon after the event
  assert capsys.readouterr().out.splitlines() == [
    "  20/1000  1,234 images/s  1:05 left",
    "  60/1000  1,300 images/s  55 s left",
    "  80/1000  epoch 1.0  val loss 0.500",
  ]


@pytest.fixture
def terminal(monkeypatch) -> io.StringIO:
  """What a terminal shows."""
  out = io.StringIO()
  options = {"file": out, "force_terminal": True, "width": 80}
  console = functools.partial(console_lib._Terminal, **options)
  monkeypatch.setattr(console_lib, "_Terminal", console)
  return out


def test_training_on_a_terminal_is_a_bar(terminal):
  console = console_lib.Console()
  with console.training(total=10) as progress:
    progress.resume(3)
    progress.rate(4, 1234, 60)
    progress.step(4)
    progress.event(4, _ODD, 60)
  shown = terminal.getvalue()
  assert "training" in shown
  assert "4/10" in shown
  assert "1,234 images/s" in shown
  # The bar shows the time left; the line need not.
  assert f" 4/10  {_ODD}" in shown
  assert "1:00 left" not in shown
  assert "compiling" in shown


def test_counting_on_a_terminal_is_a_bar(terminal):
  with console_lib.Console().counting(_ODD, "images") as update:
    update(2, 4)
    update(4, 4)
  shown = terminal.getvalue()
  assert _ODD in shown
  assert "4/4" in shown
  # The bar is transient, and there is no line instead of it.
  assert "images\n" not in shown


def _printed_summary(capsys, workdir="runs", **changes) -> str:
  console_lib.print_summary(
    console_lib.Console(), _summary(**changes), pathlib.Path(workdir)
  )
  return capsys.readouterr().out


def test_an_evaluation_is_one_line():
  metrics = {"loss": 0.5, "accuracy": 0.75, "count": 10.0}
  line = console_lib.evaluation("val", metrics)
  assert line == "val loss 0.500  acc 0.750"


def test_summary_is_a_table_with_paths(capsys):
  out = _printed_summary(capsys, "/runs/idc_v1")
  lines = [line.replace("│", " ").split() for line in out.splitlines()]
  assert lines[0] == ["idc_v1:", "best", "checkpoint,", "step", "40"]
  assert ["loss", "0.512", "0.512"] in lines
  assert ["balanced", "accuracy", "0.700", "0.700"] in lines
  assert ["precision", "-", "-"] in lines
  assert ["images", "1,234", "1,234"] in lines
  # Metrics that the data set does not have are left out.
  assert "specificity" not in out
  assert (
    "50 steps (2.5 epochs) in 3:05, 1,234 images/s on 4 x cpu, data wait 1.2%\n"
  ) in out
  assert "/runs/idc_v1/summary.json\n" in out
  assert "tensorboard --logdir /runs/idc_v1/tensorboard" in out
  assert "optimistic" not in out
  out = _printed_summary(capsys, chosen_on="test")
  assert "selected on the test part: test metrics are optim" in out


def test_summary_with_macro_averages_and_an_odd_name(capsys):
  macro = {
    f"{part}/macro_{name}": 0.25
    for part in ("val", "test")
    for name in ("precision", "f1", "auroc")
  }
  lines = _printed_summary(capsys, **macro).replace("│", " ").splitlines()
  for name in ("precision", "F1", "AUROC"):
    assert ["macro", name, "0.250", "0.250"] in [line.split() for line in lines]
  out = _printed_summary(capsys, "[red]", experiment="[bold]x[/]")
  assert "[bold]x[/]: best checkpoint" in out
  assert "[red]/summary.json" in out
