"""The order of a series, what is kept of it, and real points."""

import dataclasses
import json

import pytest

from mn_jax import config as config_lib
from mn_jax.config import checks
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.perf.scaling import points
from mn_jax.perf.scaling.measure import series as series_lib
from tests import programs
from tests.perf.scaling import toy_scaling as toy

# It compiles in a second or two.
SMALL = {
  "data.name": "idc_sample",
  "data.image_size": 16,
  "model.name": "simple_cnn",
  "train.epochs": 1.0,
}
FLAGS = (
  "--config=configs/idc_v1.py:sample",
  "--config.model.name=simple_cnn",
  "--config.data.image_size=16",
)


def config(**fields):
  values = config_lib.default()
  values.update_from_flattened_dict(
    {**SMALL, **{name.replace("__", "."): v for name, v in fields.items()}}
  )
  return checks.from_config_dict(values)


SERIES = points.Series(
  scalings=("weak",),
  inputs=("synthetic", "real"),
  devices=(1, 2),
  processes=(1,),
  batch_per_device=4,
  global_batch=4,
  repeats=2,
  steps=2,
)
POINTS = SERIES.points()


@pytest.fixture
def fake_measure(monkeypatch):
  """Stands for measuring: the points so far, and errors to raise by point."""
  measured, errors = [], {}

  def take(point, config, steps, *, compiled, timeout):
    measured.append(point)
    if point in errors:
      raise errors[point]
    return {
      name: value
      for name, value in toy.record(10.0, point).items()
      if name not in ("config", "steps", "versions", "command")
    }

  monkeypatch.setattr(series_lib, "measure", take)
  return measured, errors


def run(folder, series=SERIES, **fields):
  return series_lib.run(
    config(**fields),
    series,
    output=folder,
    command="the command",
    timeout=1.0,
    console=Console(),
  )


def names(folder):
  return {path.name for path in (folder / "points").iterdir()}


def test_a_series_is_measured_in_order_and_written(
  fake_measure, tmp_path, capsys
):
  measured, _ = fake_measure
  assert run(tmp_path) == []
  assert measured == POINTS
  assert names(tmp_path) == {f"{point.name}.json" for point in POINTS}
  record = json.loads(measured[0].path(tmp_path).read_text())
  assert record["command"] == "the command"
  assert record["config"]["model"]["name"] == "simple_cnn"
  assert {"jax", "mn_jax", "python"} <= record["versions"].keys()
  assert record["steps"] == 2
  line = "[1/8] weak, synthetic, 1 device in 1 process, batch 4, repeat 1"
  assert line in capsys.readouterr().out
  # More repeats add to existing ones.
  measured.clear()
  run(tmp_path, dataclasses.replace(SERIES, repeats=3))
  assert {point.repeat for point in measured} == {3}
  # Points of another config are refused before anything is measured.
  measured.clear()
  before = names(tmp_path)
  with pytest.raises(InputError, match=r"data\.image_size: 16 there, 32 now"):
    run(tmp_path, data__image_size=32)
  assert measured == []
  assert names(tmp_path) == before


def test_measured_points_are_skipped_and_failed_ones_repeated(
  fake_measure, tmp_path
):
  measured, errors = fake_measure
  errors[POINTS[1]] = series_lib.PointError("no room")
  assert run(tmp_path) == [POINTS[1]]
  assert measured == POINTS  # the others were measured all the same
  record = points.read(POINTS[1].path(tmp_path))
  assert record["failed"] == "no room"
  measured.clear()
  errors.clear()
  assert run(tmp_path) == []
  assert measured == [POINTS[1]]
  assert "failed" not in points.read(POINTS[1].path(tmp_path))


def test_ctrl_c_keeps_finished_points(fake_measure, tmp_path):
  measured, errors = fake_measure
  errors[POINTS[3]] = KeyboardInterrupt()
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path)
  assert names(tmp_path) == {f"{point.name}.json" for point in POINTS[:3]}
  measured.clear()
  errors.clear()
  run(tmp_path)
  assert measured == POINTS[3:]


def test_a_config_is_refused_before_any_process_starts(fake_measure, tmp_path):
  measured, _ = fake_measure
  for fields, message in (
    ({"data__name": "nobody"}, "nobody"),
    ({"model__name": "nobody"}, "nobody"),
    ({"train__replicas": 2}, "train.replicas: got 2; valid: 1"),
    ({"train__steps_per_dispatch": 2}, "train.steps_per_dispatch: got 2"),
    ({"optim__accumulate": 8, "train__batch_size": 8}, "--batch-per-device"),
  ):
    with pytest.raises(InputError, match=message):
      run(tmp_path, **fields)
  assert measured == []
  assert not (tmp_path / "points").exists()


def check(record, *, devices, batch):
  """What every real measurement is like, whatever the machine."""
  rate = record["images_per_sec"]
  assert rate > 0
  assert record["images_per_sec_per_device"] == pytest.approx(rate / devices)
  times = record["step_seconds"]
  assert 0 < times["p50"] <= times["p95"]
  # Two steps: their median is their mean.
  assert batch / rate == pytest.approx(times["p50"], rel=0.1)
  assert 0 <= record["data_wait_share"] <= 1
  assert 0 <= record["collective_share"] <= 1
  assert (record["collective_share"] > 0) == (devices > 1)
  assert record["mfu"] is None
  assert record["peak_memory_bytes"] > 1e7
  assert record["compile_seconds"] > 0
  assert record["device_kind"] == "cpu"
  assert record["machine"]["cores"] >= 1


def take(folder, kind, devices, timeout=300, **fields):
  values = toy.config(
    **{name.replace(".", "__"): v for name, v in SMALL.items()}
  )
  point = toy.point(devices, input=kind, **fields)
  return series_lib.measure(
    point, values, 2, compiled=folder / "compiled", timeout=timeout
  )


@pytest.mark.extended
def test_one_device_without_data_and_two_with_the_input_of_training(tmp_path):
  record = take(tmp_path, "synthetic", 1)
  check(record, devices=1, batch=4)
  assert record["train_examples"] is None
  record = take(tmp_path, "real", 2)
  check(record, devices=2, batch=8)
  assert record["train_examples"] == 1300


def test_the_last_line_of_a_failed_process_is_the_reason(tmp_path):
  with pytest.raises(series_lib.PointError, match="a multiple of 2"):
    take(tmp_path, "synthetic", 2, global_batch=3)


def test_a_process_that_hangs_is_killed(tmp_path):
  with pytest.raises(series_lib.PointError, match=r"no result after 0\.2 s"):
    take(tmp_path, "synthetic", 1, timeout=0.2)


@pytest.mark.slow
def test_a_whole_series_of_one_and_two_processes(tmp_path):
  arguments = (
    "measure",
    *FLAGS,
    "--devices=1,2",
    "--processes=1,2",
    "--scaling=weak",
    "--batch-per-device=4",
    "--steps=2",
    "--repeats=1",
    f"--output={tmp_path}",
  )
  done = programs.run("mn_jax.tools.scaling", *arguments, timeout=900)
  assert done.returncode == 0, done.stderr
  found = [points.read(path) for path in (tmp_path / "points").iterdir()]
  assert {(r["input"], r["devices"], r["processes"]) for r in found} == {
    (kind, devices, processes)
    for kind in points.INPUTS
    for devices, processes in ((1, 1), (2, 1), (2, 2))
  }
  for record in found:
    check(record, devices=record["devices"], batch=record["global_batch"])
  again = programs.run("mn_jax.tools.scaling", *arguments)
  assert again.stdout.count("measured before") == 9
  assert (
    programs.run("mn_jax.tools.scaling", "report", tmp_path).returncode == 0
  )


@pytest.mark.slow
def test_ctrl_c_leaves_no_process_behind(tmp_path):
  errors = programs.interrupt(
    "mn_jax.tools.scaling",
    *("measure", *FLAGS, "--devices=1", f"--output={tmp_path}"),
  )
  assert errors == "scaling: stopped; the same command resumes\n"
