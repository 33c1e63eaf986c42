import pytest

from mn_jax.errors import InputError
from mn_jax.perf.scaling.report import rows as rows_lib
from tests.perf.scaling import toy_scaling as toy


def rows(tmp_path, records):
  folder = toy.write(tmp_path, records)
  return rows_lib.summarize(rows_lib.read_points(folder))


def values(found, key):
  return [row[key] for row in found]


def test_efficiency_is_the_ratio_of_medians(tmp_path):
  records = {}
  # Per device 10, 20, 30 and 8, 9, 27: medians 20 and 9.
  for repeat, (one, two) in enumerate([(10, 16), (20, 18), (30, 54)], 1):
    for devices, rate in ((1, one), (2, two)):
      point = toy.point(devices, repeat)
      records[point] = toy.record(float(rate), point)
  one, two = rows(tmp_path, records)
  assert (one["devices"], two["devices"]) == (1, 2)
  assert (one["images_per_sec"], two["images_per_sec"]) == (20, 18)
  assert two["speed_up"] == pytest.approx(18 / 20)
  assert two["efficiency"] == pytest.approx(9 / 20)
  assert (one["efficiency"], one["interval"]) == (1.0, None)
  # Of three pairs, drawn with replacement: the ratios of medians lie between
  # those of the single pairs.
  assert two["interval"] == pytest.approx((9 / 20, 27 / 30))
  assert two["p50"] == pytest.approx(8 / 18)
  assert two["p95"] == pytest.approx(1.5 * 8 / 18)
  assert two["repeats"] == 3


def test_efficiency_compares_the_repeats_that_both_have():
  # Always half as fast, in whatever hour: nothing is uncertain.
  base = {1: 10.0, 2: 40.0, 3: 20.0}
  rates = {repeat: rate / 2 for repeat, rate in base.items()}
  efficiency, interval = rows_lib.efficiency_over(rates, base)
  assert efficiency == pytest.approx(0.5)
  assert interval == pytest.approx((0.5, 0.5))
  common = rows_lib.efficiency_over({1: 5.0, 2: 8.0}, {2: 10.0, 3: 99.0})
  assert common == (pytest.approx(0.8), None)
  assert rows_lib.efficiency_over({1: 5.0}, {2: 5.0}) == (None, None)


def test_series_are_of_equal_batches_in_any_processes(tmp_path):
  listed = [
    toy.point(1, global_batch=8, scaling="strong"),
    toy.point(2, global_batch=8, scaling="strong"),
    toy.point(2, global_batch=16, scaling="strong"),
  ]
  records = {
    p: toy.record(rate, p)
    for p, rate in zip(listed, (10.0, 15.0, 12.0), strict=True)
  }
  for point in (toy.point(1), toy.point(2), toy.point(2, processes=2)):
    records[point] = toy.record(10.0 * point.devices, point)
  found = rows(tmp_path, records)
  assert values(found, "processes") == [1, 1, 2, 1, 1, 1]
  assert values(found, "speed_up") == [1.0, 2.0, 2.0, 1.0, 1.5, 1.0]
  assert values(found, "global_batch")[3:] == [8, 8, 16]


def test_failed_points_are_rows_without_numbers(tmp_path):
  one, two = toy.point(1), toy.point(2)
  first, second = rows(
    tmp_path / "a", {one: toy.record(10.0, one), two: toy.failure("no room")}
  )
  assert first["on"] == second["on"] == "cpu"
  assert (first["failed"], second["failed"]) == ("", "no room")
  assert second["images_per_sec"] is second["efficiency"] is None
  assert second["repeats"] == 0
  # Nothing is compared with what failed.
  found = rows(
    tmp_path / "b", {one: toy.failure("no room"), two: toy.record(10.0, two)}
  )
  assert values(found, "speed_up") == [None, 1.0]


def test_time_to_train(tmp_path):
  synthetic, real = toy.point(1), toy.point(1, input="real")
  alone = {synthetic: toy.record(50.0, synthetic)}
  assert values(rows(tmp_path / "a", alone), "seconds") == [None]
  # The data itself is read here only: two epochs of 100 images.
  both = alone | {real: toy.record(40.0, real, train_examples=100)}
  found = rows(tmp_path / "b", both)
  assert values(found, "seconds") == [4.0, 5.0]
  assert values(found, "device_hours") == [4 / 3600, 5 / 3600]
  config = toy.config(train__epochs=0.0, train__steps=10, train__batch_size=20)
  steps = {synthetic: toy.record(50.0, synthetic, config=config)}
  assert values(rows(tmp_path / "c", steps), "seconds") == [4.0]


def test_a_file_of_another_version_is_refused(tmp_path):
  point = toy.point(1)
  record = toy.record(50.0, point)
  del record["versions"]
  toy.write(tmp_path, {point: record})
  with pytest.raises(InputError, match="of another version"):
    rows_lib.read_points(tmp_path)
