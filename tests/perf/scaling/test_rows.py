import json

import pytest

from mn_jax.errors import InputError
from mn_jax.perf.scaling.report import rows as rows_lib
from tests.perf.scaling import toy_scaling as toy


def rows(tmp_path, found):
  return rows_lib.summarize(rows_lib.read_points(toy.write(tmp_path, found)))


def test_efficiency_is_the_ratio_of_medians(tmp_path):
  found = {}
  # Per device 10, 20, 30 and 8, 9, 27: medians 20 and 9.
  for repeat, (one, two) in enumerate([(10, 16), (20, 18), (30, 54)], 1):
    for devices, rate in ((1, one), (2, two)):
      point = toy.point(devices, repeat)
      found[point] = toy.record(float(rate), point)
  one, two = rows(tmp_path, found)
  assert (one.devices, two.devices) == (1, 2)
  assert one.images_per_sec == 20
  assert two.images_per_sec == 18
  assert two.speed_up == pytest.approx(18 / 20)
  assert two.efficiency == pytest.approx(9 / 20)
  assert (one.efficiency, one.interval) == (1.0, None)
  # Of three pairs, drawn with replacement: the ratios of medians lie between
  # those of the single pairs.
  assert two.interval == pytest.approx((9 / 20, 27 / 30))
  assert two.p50 == pytest.approx(8 / 18)
  assert two.p95 == pytest.approx(1.5 * 8 / 18)
  assert two.repeats == 3


def test_repeats_are_paired():
  # Always half as fast, in whatever hour: nothing is uncertain.
  there = {1: 10.0, 2: 40.0, 3: 20.0}
  here = {repeat: rate / 2 for repeat, rate in there.items()}
  efficiency, interval = rows_lib.efficiency_over(here, there)
  assert efficiency == pytest.approx(0.5)
  assert interval == pytest.approx((0.5, 0.5))


def test_only_repeats_that_both_have_are_compared():
  found = rows_lib.efficiency_over({1: 5.0, 2: 8.0}, {2: 10.0, 3: 99.0})
  assert found == (pytest.approx(0.8), None)
  assert rows_lib.efficiency_over({1: 5.0}, {2: 5.0}) == (None, None)


def test_different_batches_are_different_series(tmp_path):
  fields = {"scaling": "strong"}
  listed = [
    toy.point(1, global_batch=8, **fields),
    toy.point(2, global_batch=8, **fields),
    toy.point(2, global_batch=16, **fields),
  ]
  rates = (10.0, 15.0, 12.0)
  found = rows(
    tmp_path,
    {p: toy.record(r, p) for p, r in zip(listed, rates, strict=True)},
  )
  by_batch = {(row.devices, row.global_batch): row.speed_up for row in found}
  assert by_batch == {(1, 8): 1.0, (2, 8): 1.5, (2, 16): 1.0}


def test_several_processes_are_compared_with_the_smallest_count(tmp_path):
  listed = [toy.point(1), toy.point(2), toy.point(2, processes=2)]
  found = rows(tmp_path, {p: toy.record(10.0 * p.devices, p) for p in listed})
  assert [row.efficiency for row in found] == [1.0, 1.0, 1.0]
  assert [row.processes for row in found] == [1, 1, 2]


def test_what_failed_is_a_row_without_numbers(tmp_path):
  one, two = toy.point(1), toy.point(2)
  found = rows(
    tmp_path, {one: toy.record(10.0, one), two: toy.failure("no room")}
  )
  assert [row.device_kind for row in found] == ["cpu", "cpu"]
  assert [row.failed for row in found] == ["", "no room"]
  assert found[1].images_per_sec is None
  assert found[1].efficiency is None
  assert found[1].repeats == 0


def test_a_failed_smallest_count_is_not_the_base(tmp_path):
  one, two = toy.point(1), toy.point(2)
  found = rows(
    tmp_path, {one: toy.failure("no room"), two: toy.record(10.0, two)}
  )
  assert [row.speed_up for row in found] == [None, 1.0]


def test_time_to_train(tmp_path):
  synthetic, real = toy.point(1), toy.point(1, input="real")
  found = rows(
    tmp_path,
    {
      synthetic: toy.record(50.0, synthetic),
      # The data itself is read here only: two epochs of 100 images.
      real: toy.record(40.0, real, train_examples=100),
    },
  )
  assert [rows_lib.seconds_to_train(row) for row in found] == [4.0, 5.0]


def test_time_to_train_is_unknown_without_a_number_of_images(tmp_path):
  point = toy.point(1)
  (row,) = rows(tmp_path, {point: toy.record(50.0, point)})
  assert rows_lib.seconds_to_train(row) is None
  fields = {"train__epochs": 0.0, "train__steps": 10, "train__batch_size": 20}
  config = toy.config(**fields)
  (row,) = rows(tmp_path, {point: toy.record(50.0, point, config=config)})
  assert rows_lib.seconds_to_train(row) == 4.0


def test_a_file_of_another_version_is_refused(tmp_path):
  point = toy.point(1)
  toy.write(tmp_path, {point: toy.record(50.0, point)})
  file = point.path(tmp_path)
  record = json.loads(file.read_text())
  del record["versions"]
  file.write_text(json.dumps(record))
  with pytest.raises(InputError, match="of another version"):
    rows_lib.read_points(tmp_path)
