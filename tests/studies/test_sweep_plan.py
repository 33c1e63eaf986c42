"""Tests of what a sweep runs, and of what it refuses to."""

import dataclasses
import pathlib
import re

import jax
import pytest

from mn_jax.config import experiment as config
from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.run import workdir
from mn_jax.studies import sweep, sweep_plan
from mn_jax.studies.sweep import Sweep
from tests import toy_summary
from tests.studies import test_study

ROOT = pathlib.Path(__file__).parents[2]
SWEEPS = sorted((ROOT / "configs" / "sweeps").glob("*.py"))
LONG = (
  "model.dropout",
  "augment.brightness",
  "augment.contrast",
  "augment.saturation",
  "augment.stain",
)
RATES = sweep.grid({"optim.learning_rate": (1e-3, 1e-2)})


@pytest.fixture(autouse=True)
def _root(monkeypatch):
  """Configs are named from the repository's root."""
  monkeypatch.chdir(ROOT)


def plan(points=RATES, *, sample_fields=None, config="idc_v1:test", **options):
  values = {"folder": pathlib.Path("nowhere"), "seeds": 1, **options}
  made = Sweep("A toy", config, points, sample_fields or {})
  return sweep_plan.plan(made, **values)


def refused(*arguments, **options) -> str:
  with pytest.raises(InputError) as caught:
    plan(*arguments, **options)
  assert "\n" not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
@pytest.mark.parametrize("sample", [True, False])
def test_arguments_of_every_run_give_its_planned_config(path, sample):
  made = sweep_plan.plan(
    files.load(str(path), "get_sweep", sweep.Sweep),
    folder=pathlib.Path("nowhere"),
    seeds=2,
    sample=sample,
  )
  assert len({run.workdir for run in made.runs}) == 2 * len(made.points)
  text = path.read_text()
  assert f"python -m mn_jax.tools.sweep configs/sweeps/{path.name}" in text
  assert re.match(r'"""[A-Z].*[.]\n', text)
  configs = {point.name: point.config for point in made.points}
  for run in made.runs:
    asked = test_study.config_of(run)
    assert asked.data.name.endswith("_sample") == sample
    assert asked == dataclasses.replace(configs[run.member.name], seed=run.seed)


def test_overrides_and_configs_reach_every_run():
  made = plan(
    ({"optim.rules": [".*/kernel", ".* wd=0"]}, {"optim.rules": (".*",)}),
    overrides=("augment.quarter_turns=False", "optim.decay_at=(0.5, 0.9)"),
  )
  for point, run in zip(made.points, made.runs, strict=True):
    assert not point.config.augment.quarter_turns
    assert point.config.optim.decay_at == (0.5, 0.9)
    assert test_study.config_of(run) == point.config
  assert made.fields() == ("optim.rules",)


def test_names_depend_on_values_only():
  names = [point.name for point in plan().points]
  assert re.fullmatch(r"learning_rate_0.001-[0-9a-f]{8}", names[0])
  more = sweep.grid({"optim.learning_rate": (1e-4, 1e-3, 1e-2)})
  assert [point.name for point in plan(more).points][1:] == names
  turned = plan(({"model.width": 0.5, "model.dropout": 0},)).points[0].name
  same = plan(({"model.dropout": 0.0, "model.width": 0.5},)).points[0].name
  assert turned == same


def test_no_two_points_share_a_name():
  points = plan(
    (
      {},
      {"train.batch_size": 64},
      {"eval.batch_size": 64},
      {"optim.name": "sgd"},
      {"optim.rules": (".*/A", ".*")},
      {"optim.rules": (".*/a", ".*")},
      dict.fromkeys(LONG, 0.5),
      {**dict.fromkeys(LONG, 0.5), "model.dropout": 0.4},
    ),
    overrides=("optim.weight_decay=0",),
  ).points
  names = [point.name for point in points]
  assert len(set(names)) == len(names)
  for name in names:
    assert re.fullmatch(r"[a-z0-9][a-z0-9_.-]*", name)
    assert len(name) < 80


def test_points_that_cannot_be_run_or_compared_are_refused():
  for points, message in (
    (({"optim.learning_rat": 1.0},), "point 0: optim.learning_rat: unknown"),
    (({}, {"optim": 1.0}), "point 1: optim: got 1.0; valid: section."),
    (({"optim.name.x": 1},), "point 0: optim.name.x: got 1; valid: "),
    (({"nothing.x": 1},), "unknown field; valid: experiment, seed, da"),
    (({"model.width": 1.0}, {"model.width": -1.0}), "point 1: model.width: "),
    (({"model.width": "wide"},), "point 0: model.width: got 'wide' of type"),
    (({"model.name": "lenet"},), "point 0: model.name: got 'lenet'; valid"),
    (({"optim.name": "lion"},), "point 0: optim.name: got 'lion'; valid: adam"),
    (({"model.width": 1}, {"model.width": 1.0}), "points 0 and 1 are the same"),
    (({}, {"model.width": 0.25}), "points 0 and 1 are the same, width_0.25-"),
    (({"seed": 1},), "points have seed, and can only be compared on the same"),
    (({"data.label": ("a",)},), "points have data.label, and can only be"),
    (({"data.group_pattern": "(a)"},), "points have data.group_pattern, and"),
    (({"data.split": "random"},), "points have data.split, and can only"),
    (({"eval.best_metric": "loss"},), "points have eval.best_metric"),
    (({"eval.part": "test"},), "points have eval.part"),
  ):
    assert message in refused(points)


def test_sweeps_that_cannot_be_run_are_refused():
  for options, message in (
    ({"overrides": ["optim.learning_rate=1"]}, "override: got optim.learning"),
    ({"overrides": ["seed=1"]}, "override: got seed, which differs from run"),
    ({"overrides": ["eval.part=test"]}, "eval.part: got 'test', while valid"),
    ({"overrides": ["optim.decay_at=x"]}, "optim.decay_at: got 'x'; valid: a"),
    (
      {"overrides": ["eval.best_metric=macro_f1"]},
      "eval.best_metric: got 'macro_f1' for a data set with a positive class",
    ),
    ({"sample": True}, "--sample: the sweep names no fields for it"),
    (
      {"sample": True, "sample_fields": {"optim.learning_rate": 1.0}},
      "sample: got optim.learning_rate, which differs from run to run",
    ),
    (
      {"sample": True, "sample_fields": {"optim.rate": 1.0}},
      "optim.rate: unknown field",
    ),
    ({"config": "none"}, "config: got 'none'; valid: the path of an"),
    ({"config": "idc_v1:none"}, "config argument: got 'none'; valid: "),
  ):
    assert message in refused(**options)


def begin(run, saved: config.Config, *, complete: bool = False) -> None:
  """Leaves what a run of some config does."""
  folder = workdir.Workdir(run.workdir, first_process=True)
  folder.write_config(saved, step=0)
  if complete:
    folder.write_json("summary.json", toy_summary.FIELDS)
  folder.close()


@pytest.mark.parametrize("complete", [True, False])
def test_folders_of_another_config_are_refused(tmp_path, complete):
  made = plan(folder=tmp_path, seeds=2)
  saved = dataclasses.replace(made.points[-1].config, seed=1)
  begin(made.runs[-1], saved, complete=complete)
  before = sorted(tmp_path.rglob("*"))
  plan(folder=tmp_path, seeds=2)
  plan((*RATES, {"optim.learning_rate": 0.5}), folder=tmp_path, seeds=2)
  message = refused(folder=tmp_path, seeds=2, overrides=["model.width=0.5"])
  assert "which belongs to another config (model.width: 0.25 there" in message
  begin(made.runs[-1], made.points[-1].config, complete=complete)
  message = refused(folder=tmp_path, seeds=2)
  assert "another config (seed: 0 there, 1 now); valid: another" in message
  assert sorted(tmp_path.rglob("*")) == before


def test_results_without_a_config_are_refused(tmp_path):
  run = plan(folder=tmp_path).runs[0]
  begin(run, config.Config(), complete=True)
  (run.workdir / "config.json").unlink()
  assert "whose config.json cannot be read" in refused(folder=tmp_path)


def test_planning_initialises_no_device(monkeypatch):
  """The runs need the memory that it would take."""

  def start(*_):
    raise AssertionError("a device was asked for")

  for name in ("devices", "local_devices", "device_count"):
    monkeypatch.setattr(jax, name, start)
  assert len(plan().runs) == 2
