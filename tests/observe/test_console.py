"""Tests of what a person sees, without a terminal and with one."""

import io
import pathlib

import pytest
import rich.console

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


def test_a_line_is_printed_literally(capsys):
  console_lib.Console().line(_ODD)
  assert capsys.readouterr().out == f"{_ODD}\n"


def test_long_lines_are_not_wrapped(capsys):
  """A path that is cut in two cannot be copied."""
  console_lib.Console().line("x" * 200)
  assert capsys.readouterr().out == "x" * 200 + "\n"


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


def test_a_table_is_as_wide_as_its_title(capsys):
  title = "a title that is " * 4
  console_lib.Console().table(title, ("metric",), [("a",)])
  assert capsys.readouterr().out.splitlines()[0].rstrip() == title.rstrip()


def test_counting_without_a_terminal_is_one_line(capsys):
  with console_lib.Console().counting("decoding", "images") as update:
    for done in (10, 20, 35):
      update(done, 35)
  assert capsys.readouterr().out == "decoding: 35 images\n"


def test_counting_nothing_prints_nothing(capsys):
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


def test_training_on_a_terminal_is_a_bar(monkeypatch):
  out = io.StringIO()
  real = rich.console.Console

  def terminal(**options):
    return real(file=out, force_terminal=True, width=80, **options)

  monkeypatch.setattr(rich.console, "Console", terminal)
  console = console_lib.Console()
  with console.training(total=10) as progress:
    progress.resume(3)
    progress.rate(4, 1234, 60)
    progress.step(4)
    progress.event(4, _ODD, 60)
  shown = out.getvalue()
  assert "training" in shown
  assert "4/10" in shown
  assert "1,234 images/s" in shown
  # The bar shows the time left; the line need not.
  assert f" 4/10  {_ODD}" in shown
  assert "1:00 left" not in shown
  assert "compiling" in shown


def test_counting_on_a_terminal_is_a_bar(monkeypatch):
  out = io.StringIO()
  real = rich.console.Console

  def terminal(**options):
    return real(file=out, force_terminal=True, width=80, **options)

  monkeypatch.setattr(rich.console, "Console", terminal)
  with console_lib.Console().counting(_ODD, "images") as update:
    update(2, 4)
    update(4, 4)
  assert _ODD in out.getvalue()
  assert "4/4" in out.getvalue()
  # The bar is transient, and there is no line instead of it.
  assert "images\n" not in out.getvalue()


def test_an_evaluation_is_one_line():
  metrics = {"loss": 0.5, "accuracy": 0.75, "count": 10.0}
  line = console_lib.evaluation("val", metrics)
  assert line == "val loss 0.500  acc 0.750"


def test_summary_is_a_table_with_paths(capsys):
  workdir = pathlib.Path("/runs/idc_v1")
  console_lib.print_summary(console_lib.Console(), _summary(), workdir)
  out = capsys.readouterr().out
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
  assert f"{workdir / 'summary.json'}\n" in out
  assert f"tensorboard --logdir {workdir / 'tensorboard'}" in out


def test_summary_of_many_classes_has_macro_averages(capsys):
  macro = {
    f"{part}/macro_{name}": 0.25
    for part in ("val", "test")
    for name in ("precision", "f1", "auroc")
  }
  console_lib.print_summary(
    console_lib.Console(), _summary(**macro), pathlib.Path("runs")
  )
  lines = capsys.readouterr().out.replace("│", " ").splitlines()
  for name in ("precision", "F1", "AUROC"):
    assert ["macro", name, "0.250", "0.250"] in [line.split() for line in lines]


def test_summary_with_an_odd_name_is_literal(capsys):
  summary = _summary(experiment="[bold]x[/]")
  console_lib.print_summary(
    console_lib.Console(), summary, pathlib.Path("[red]")
  )
  out = capsys.readouterr().out
  assert "[bold]x[/]: best checkpoint" in out
  assert "[red]/summary.json" in out


def test_a_warning_if_the_test_selected_the_checkpoint(capsys):
  console, folder = console_lib.Console(), pathlib.Path("runs")
  console_lib.print_summary(console, _summary(), folder)
  assert "optimistic" not in capsys.readouterr().out
  console_lib.print_summary(console, _summary(chosen_on="test"), folder)
  assert (
    "selected on the test part: test metrics are optim"
    in capsys.readouterr().out
  )
