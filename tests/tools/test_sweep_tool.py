"""Tests of running a sweep, as its users do."""

import dataclasses
import json
import pathlib

import pytest

from mn_jax.studies import runner as run_study
from mn_jax.tools import sweep
from tests import toy_summary
from tests.tools.short_runs import TWO_STEPS

ROOT = pathlib.Path(__file__).parents[2]
SWEEP = f"""
SAMPLE = {TWO_STEPS}
from mn_jax.studies.sweep import Sweep, grid

def get_sweep():
  return Sweep(
    title="Widths",
    config="idc_v1:test",
    points=grid({{"model.width": (0.1, 0.2)}}),
    sample=SAMPLE,
  )
"""


@pytest.fixture
def start(tmp_path, monkeypatch, capsys):
  """Runs the program on a sweep of two points; returns code and lines."""
  monkeypatch.chdir(ROOT)
  file = tmp_path / "widths.py"
  file.write_text(SWEEP)

  def start(*arguments, path=file):
    given = [str(path), f"--workdir={tmp_path / 'runs'}", *arguments]
    code = sweep.main(given)
    return code, *capsys.readouterr()

  return start


class Runner:
  """Stands in for the process of a run."""

  def __init__(self):
    self.codes: dict[str, int] = {}
    self.started: list[str] = []

  def __call__(self, run) -> int:
    """Completes it, or ends with the code that was asked for."""
    title = " ".join(run.title().split("-")[:1] + run.title().split()[-1:])
    self.started.append(title)
    run.workdir.mkdir(parents=True, exist_ok=True)
    (run.workdir / "run.log").write_text("why it failed\n")
    code = self.codes.get(title, 0)
    if not code:
      value = 0.5 + len(self.started) / 100
      config = run.workdir / "config.json"
      config.write_text(json.dumps({"config": fields_of(run)}))
      summary = {
        **toy_summary.FIELDS,
        "val/balanced_accuracy": value,
        "test/balanced_accuracy": value / 2,
      }
      (run.workdir / "summary.json").write_text(json.dumps(summary))
    return code


def fields_of(run) -> dict:
  from tests.studies import test_study

  return dataclasses.asdict(test_study.config_of(run))


@pytest.fixture
def runner(monkeypatch):
  stands_in = Runner()
  monkeypatch.setattr(run_study, "_run", stands_in)
  return stands_in


@pytest.mark.extended
def test_one_point_is_run_for_real(start, tmp_path):
  code, said, _ = start("--sample", "--index=0")
  assert code == 0, said
  assert len(said.splitlines()) == 1
  (folder,) = (tmp_path / "runs").iterdir()
  assert folder.name.startswith("width_0.1-")
  saved = json.loads((folder / "seed0/config.json").read_text())
  assert saved["config"]["model"]["width"] == 0.1
  summary = json.loads((folder / "seed0/summary.json").read_text())
  # What the stand-in writes is in it.
  assert {"chosen_on", "val/balanced_accuracy"} <= summary.keys()
  _, said, _ = start("--sample", "--index=0")
  assert said == f"[1/1] {folder.name} seed 0: complete\n"
  code, said, _ = start("--sample", "--collect")
  assert code == 0
  assert f"{summary['val/balanced_accuracy']:.3f} │" in said
  assert "1 of 2 runs are complete" in said


def test_one_that_fails_stops_no_other_and_is_run_again(
  start, runner, tmp_path
):
  """And a point that is added leaves complete runs alone."""
  runner.codes = {"width_0.1 0": 1}
  code, said, _ = start("--seeds=2")
  assert code == 1
  assert runner.started == [
    "width_0.1 0",
    "width_0.2 0",
    "width_0.1 1",
    "width_0.2 1",
  ]
  assert "seed 0: failed (why it failed)" in said
  assert "Failed: width_0.1" in said
  assert "Chosen: " not in said
  runner.codes, runner.started = {}, []
  code, said, _ = start("--seeds=2")
  assert (code, runner.started) == (0, ["width_0.1 0"])
  assert said.count(": complete") == 3
  assert "Chosen: width_0.2" in said
  assert "Its fields: model.width=0.2" in said
  runner.started = []
  assert start("--seeds=2", "--collect")[0] == 0
  assert runner.started == []
  (tmp_path / "widths.py").write_text(SWEEP.replace("(0.1,", "(0.3, 0.1,"))
  assert start("--seeds=2")[0] == 0
  assert runner.started == ["width_0.3 0", "width_0.3 1"]


def test_ctrl_c_stops_all(start, runner, tmp_path):
  runner.codes = {"width_0.1 0": 130}
  code, _, said = start()
  assert code == 130
  assert said == "sweep: stopped; the same command resumes\n"
  assert runner.started == ["width_0.1 0"]
  assert not (tmp_path / "runs/sweep.json").exists()


def test_another_config_and_fields_over_every_point(start, runner, tmp_path):
  assert start("--config=configs/idc_v2.py:test", "train.epochs=2")[0] == 0
  for path in tmp_path.glob("runs/*/seed0/config.json"):
    fields = json.loads(path.read_text())["config"]
    assert fields["model"]["name"] == "mobilenet_v2"
    assert fields["train"]["epochs"] == 2
  # They are not taken for those of the sweep's own config.
  code, _, said = start()
  assert code == 2
  assert "which belongs to another config (model.name: 'mobilenet" in said
  assert len(runner.started) == 2


def test_mistakes_are_one_line(start, runner):
  for arguments, message in (
    (["--seeds=0"], "--seeds: got 0; valid: 1 or more"),
    (["--index=2"], "--index: got 2; valid: 0 to 1"),
    (["--config=configs/none.py"], "config: got 'configs/none.py'; valid: "),
    (["--config=README.md"], "config: got 'README.md'; valid: the path of"),
    (["train.epoch=1"], "train.epoch: unknown field"),
    (["train.epochs=x"], "train.epochs: got 'x'; valid: float"),
    (["train.epochs=-1"], "point 0: train.epochs: got -1.0; valid: at least"),
    (["model.width=1"], "override: got model.width, which differs"),
    (["nonsense"], "got 'nonsense'; valid: SECTION.FIELD=VALUE"),
  ):
    code, _, said = start(*arguments)
    assert code == 2
    assert said.startswith(f"sweep: {message}")
    assert len(said.strip().splitlines()) == 1
    assert runner.started == []
  code, _, said = start(path="none")
  assert code == 2
  assert said.startswith("sweep: sweep: got 'none'; valid: ")
  assert "idc_v2_random" in said
