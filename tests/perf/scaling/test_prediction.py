"""Predicted steps: by hand, and how they change with their arguments."""

import dataclasses
import itertools

import pytest

from mn_jax.parallel.accelerators import ACCELERATORS
from mn_jax.perf.program.costs import CollectiveTotal
from mn_jax.perf.scaling.plan import prediction
from mn_jax.perf.scaling.plan.prediction import Work

V5E, V5P, H100 = (ACCELERATORS[name] for name in ("v5e", "v5p", "H100"))
GRADIENT = CollectiveTotal("all-reduce", 1, 10_000_000, False)
WORK = Work(cycles=0, flops=1e12, bytes=1e9, collectives=(GRADIENT,))
MICRO = 1e-6


def seconds(chip, chips, size=0, *, operations=0, kind="all-reduce"):
  total = CollectiveTotal(kind, operations, size, False)
  return prediction.collective_seconds(total, chip, chips)


def step_time(work, chip, count, dtype="bfloat16"):
  return prediction.step_time(work, chip, count, dtype=dtype)


def test_the_longest_of_arithmetic_memory_and_cycles_is_the_step():
  work = Work(flops=197e12 / 10, cycles=0, bytes=819e9 / 5, collectives=())
  time = step_time(work, V5E, 1)
  assert (time.compute, time.memory) == pytest.approx((0.1, 0.2))
  assert (time.total, time.bound) == (pytest.approx(0.2), "memory")
  clock = V5E.cycles_per_sec.value
  assert clock == pytest.approx(1.5e9, rel=0.01)
  for expected, step in ((0.05, 0.1), (0.3, 0.3)):
    cycles = dataclasses.replace(work, bytes=0, cycles=expected * clock)
    time = step_time(cycles, V5E, 1)
    assert (time.total, time.bound) == (pytest.approx(step), "compute")


def test_gpus_multiply_float32_at_half_the_rate():
  work = Work(flops=1e13, cycles=0, bytes=0, collectives=())
  for chip, ratio in ((H100, 2), (V5E, 1)):
    times = [step_time(work, chip, 1, d) for d in ("float32", "bfloat16")]
    assert times[0].total == pytest.approx(ratio * times[1].total)


def test_links_that_are_waited_for_come_on_top():
  work = Work(cycles=0, flops=197e12 / 10, bytes=0, collectives=(GRADIENT,))
  links = prediction.collective_seconds(GRADIENT, V5E, 4)
  assert step_time(work, V5E, 4).total == pytest.approx(0.1 + links)
  overlapped = dataclasses.replace(GRADIENT, overlapped=True)
  work = dataclasses.replace(work, collectives=(overlapped,))
  time = step_time(work, V5E, 4)
  assert time.total == pytest.approx(0.1)
  assert time.hidden_links == pytest.approx(links)
  # Overlapped or not, links cannot be faster than they are.
  time = step_time(dataclasses.replace(work, flops=0.0), V5E, 4)
  assert time.total == pytest.approx(links)
  assert time.bound == "links"


def test_lines_and_rings_by_hand():
  def sent(chip, chips, size):
    """Seconds by one link of each chip."""
    return seconds(chip, chips, size) * chip.link_bytes_per_sec.value

  # 2x2: from each chip one link along each axis, no ring.
  assert sent(V5E, 4, 1e9) == pytest.approx(2 * 3 / 4 * 1e9 / 2)
  # 16x16: both axes are rings, so each chip sends both ways along both.
  assert sent(V5E, 256, 1e9) == pytest.approx(2 * 255 / 256 * 1e9 / 4)
  # 8x16: a line of 8 and a ring of 16.
  assert sent(V5E, 128, 1e9) == pytest.approx(2 * 127 / 128 * 1e9 / 3)
  # 4x4x4 of v5p: three rings of 100 GB/s links.
  assert sent(V5P, 64, 1e9) == pytest.approx(2 * 63 / 64 * 1e9 / 6)
  links = V5E.link_bytes_per_sec.value, V5P.link_bytes_per_sec.value
  assert links == pytest.approx((50e9, 100e9))
  # One hop along each axis, there and back; half of each ring.
  assert seconds(V5E, 4, operations=1) == pytest.approx(4 * MICRO)
  hops = 3 * 2 * (8 + 8)
  assert seconds(V5E, 256, operations=3) == pytest.approx(hops * MICRO)


def test_nodes_of_gpus_by_hand():
  inside = 2 * 7 / 8 * 1e9 / 450e9
  assert seconds(H100, 8, 1e9) == pytest.approx(inside)
  latency = 6.8 + 2 * 7 * 0.6
  assert seconds(H100, 8, operations=1) == pytest.approx(latency * MICRO)
  # Between two nodes every GPU has an eighth.
  between = 2 * 1 / 2 * 1e9 / 8 / 50e9
  assert seconds(H100, 16, 1e9) == pytest.approx(inside + between)
  assert seconds(H100, 16, operations=1) == pytest.approx(
    (latency + 2 * 5.0) * MICRO
  )


def test_other_collectives():
  for chip in (V5E, H100):
    for kind in ("all-gather", "reduce-scatter"):
      half = seconds(chip, 16, 1e9, kind=kind)
      assert half == pytest.approx(seconds(chip, 16, 1e9) / 2)
    for kind in ("collective-permute", "all-to-all"):
      assert 0 < seconds(chip, 8, 1e9, operations=1, kind=kind) < 1


def test_more_chips_never_scale_better_than_the_links_allow():
  for chip, size in itertools.product(ACCELERATORS.values(), (1e4, 1e7)):
    total = CollectiveTotal("all-reduce", 1, size, False)
    work = dataclasses.replace(WORK, collectives=(total,))
    counts = [1, 8, 64, 256]
    steps = [step_time(work, chip, count) for count in counts]
    assert steps[0].links == 0
    per_chip = [1 / step.total for step in steps]
    assert all(0 < rate < per_chip[0] for rate in per_chip[1:])
    rates = [n * rate for n, rate in zip(counts, per_chip, strict=True)]
    assert rates == sorted(rates)


def test_more_work_never_takes_less():
  for chip in (V5E, V5P, H100):
    before = step_time(WORK, chip, 64).total
    for more in (
      {"flops": 1e15},
      {"bytes": 1e12},
      {"collectives": (GRADIENT, GRADIENT)},
    ):
      work = dataclasses.replace(WORK, **more)
      assert step_time(work, chip, 64).total > before


def test_a_slice_that_does_not_exist():
  with pytest.raises(ValueError, match="v5e: no slice of 48 chips"):
    prediction.collective_seconds(GRADIENT, V5E, 48)
