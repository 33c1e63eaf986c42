import json
import re

import pytest

from mn_jax.errors import InputError
from mn_jax.perf.scaling import points
from tests.perf.scaling import toy_scaling as toy


def series(**fields):
  given = {
    "scalings": points.SCALINGS,
    "inputs": ("synthetic", "real"),
    "devices": (1, 2, 4),
    "processes": (1, 2),
    "batch_per_device": 8,
    "global_batch": 16,
    "repeats": 2,
    "steps": 3,
  }
  return points.Series(**{**given, **fields})


def now(**fields):
  return {
    "config": toy.config(),
    "steps": 5,
    "versions": toy.VERSIONS,
    **fields,
  }


def test_all_points_of_a_repeat_come_before_the_next():
  listed = series().points()
  half = len(listed) // 2
  assert [p.repeat for p in listed] == [1] * half + [2] * half
  # Two scalings, two inputs, and (1, 1), (2, 1), (2, 2), (4, 1), (4, 2).
  assert half == 2 * 2 * 5
  assert len({p.name for p in listed}) == len(listed)


def test_batches_and_processes_of_weak_and_strong_scaling():
  listed = series().points()
  assert {(p.scaling, p.devices, p.global_batch) for p in listed} == {
    ("weak", 1, 8),
    ("weak", 2, 16),
    ("weak", 4, 32),
    ("strong", 1, 16),
    ("strong", 2, 16),
    ("strong", 4, 16),
  }
  # Processes share devices equally.
  shares = {(p.devices, p.processes) for p in listed}
  assert shares == {(1, 1), (2, 1), (2, 2), (4, 1), (4, 2)}


def test_counts_that_do_not_divide():
  for fields, accumulate, message in (
    ({"global_batch": 6}, 1, "--global-batch: got 6 for 4 devices; valid: a"),
    ({"global_batch": 4}, 2, "a multiple of 8 (4 devices x 2 micro-batches)"),
    ({"batch_per_device": 9}, 2, "--batch-per-device: got 9; valid: a multip"),
    ({"processes": (1, 3)}, 1, "--processes: got 3, which divides none of"),
  ):
    with pytest.raises(InputError, match=re.escape(message)):
      series(**fields).check(accumulate=accumulate)
  # A batch of the other scaling does not matter.
  series(scalings=("weak",), global_batch=7).check(accumulate=1)


def test_measured_points_are_whole_files_and_not_measured_again(tmp_path):
  point = toy.point(2)
  assert points.why_again(tmp_path, point, now()) == ""
  toy.write(tmp_path, {point: toy.record(10.0, point)})
  (file,) = (tmp_path / "points").iterdir()
  assert file == point.path(tmp_path)
  record = json.loads(file.read_text())
  assert (record["devices"], record["global_batch"]) == (2, 8)
  assert record["images_per_sec_per_device"] == 5.0
  assert points.why_again(tmp_path, point, now()) is None
  assert points.why_again(tmp_path, toy.point(2, repeat=2), now()) == ""
  # The place of the data does not matter.
  moved = toy.config(data__path="/there", data__cache_dir="/here")
  assert points.why_again(tmp_path, point, now(config=moved)) is None
  newer = {**toy.VERSIONS, "jax": "0.13.0"}
  reason = points.why_again(tmp_path, point, now(versions=newer))
  assert reason == "other versions: jax 0.12.0 there, 0.13.0 now"
  for changed, message in (
    ({"config": toy.config(model__width=0.5)}, "model.width: 1.0 there, 0.5 n"),
    ({"steps": 6}, "--steps: 5 there, 6 now"),
  ):
    with pytest.raises(InputError, match=message) as error:
      points.why_again(tmp_path, point, now(**changed))
    assert "valid: another folder" in str(error.value)


def test_failed_and_damaged_points_are_measured_again(tmp_path):
  point = toy.point()
  toy.write(tmp_path, {point: toy.failure("no room")})
  assert points.why_again(tmp_path, point, now()) == "it failed before"
  point.path(tmp_path).write_text('{"scaling": "we')
  assert "is damaged" in points.why_again(tmp_path, point, now())
