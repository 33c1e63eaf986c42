"""Predicted steps: by hand, and how they change with their arguments."""

import dataclasses

import pytest

from mn_jax.parallel.accelerators import ACCELERATORS
from mn_jax.perf.scaling.plan import prediction
from mn_jax.perf.scaling.plan.prediction import CollectiveTotal, Work

V5E, V5P, H100 = (ACCELERATORS[name] for name in ("v5e", "v5p", "H100"))
GRADIENT = CollectiveTotal("all-reduce", 1, 10_000_000, False)
MICRO = 1e-6


def reduced(size, count=0, kind="all-reduce"):
  return CollectiveTotal(kind, count, size, False)


def test_the_slower_of_arithmetic_and_memory_is_the_step():
  work = Work(cycles=0, flops=197e12 / 10, bytes=819e9 / 5, collectives=())
  found = prediction.step_time(work, V5E, 1)
  assert (found.compute, found.memory) == pytest.approx((0.1, 0.2))
  assert found.total == pytest.approx(0.2)
  assert found.bound == "memory"


def test_what_the_compiler_expects_counts_where_it_is_longer():
  work = Work(flops=197e12 / 10, cycles=0, bytes=0, collectives=())
  clock = V5E.cycles_per_sec.value
  assert clock == pytest.approx(1.5e9, rel=0.01)
  for seconds, step in ((0.05, 0.1), (0.3, 0.3)):
    found = prediction.step_time(
      dataclasses.replace(work, cycles=seconds * clock), V5E, 1
    )
    assert found.total == pytest.approx(step)
    assert found.bound == "compute"


def test_links_that_are_waited_for_come_on_top():
  work = Work(cycles=0, flops=197e12 / 10, bytes=0, collectives=(GRADIENT,))
  waiting = prediction.step_time(work, V5E, 4)
  seconds = prediction.collective_seconds(GRADIENT, V5E, 4)
  assert waiting.total == pytest.approx(0.1 + seconds)
  overlapped = dataclasses.replace(GRADIENT, overlapped=True)
  hidden = prediction.step_time(
    dataclasses.replace(work, collectives=(overlapped,)), V5E, 4
  )
  assert hidden.total == pytest.approx(0.1)
  assert hidden.hidden_links == pytest.approx(seconds)
  # Overlapped or not, links cannot be faster than they are.
  idle = dataclasses.replace(work, flops=0.0, collectives=(overlapped,))
  found = prediction.step_time(idle, V5E, 4)
  assert found.total == pytest.approx(seconds)
  assert found.bound == "links"


@pytest.mark.parametrize("chip", ACCELERATORS.values(), ids=lambda c: c.name)
def test_one_chip_has_no_links(chip):
  work = Work(cycles=0, flops=1e12, bytes=1e9, collectives=(GRADIENT,))
  found = prediction.step_time(work, chip, 1)
  assert found.links == 0


def test_a_square_of_lines_by_hand():
  # 2x2: from each chip one link of 50 GB/s along each axis, no ring.
  assert prediction.collective_seconds(reduced(100e9), V5E, 4) == pytest.approx(
    2 * 3 / 4 * 100e9 / (2 * 50e9)
  )
  # One hop along each axis, there and back.
  assert prediction.collective_seconds(reduced(0, 1), V5E, 4) == pytest.approx(
    4 * MICRO
  )


def test_rings_by_hand():
  # 16x16: both axes are rings, so each chip sends both ways along both.
  assert prediction.collective_seconds(reduced(1e9), V5E, 256) == pytest.approx(
    2 * 255 / 256 * 1e9 / (4 * 50e9)
  )
  assert prediction.collective_seconds(
    reduced(0, 3), V5E, 256
  ) == pytest.approx(3 * 2 * (8 + 8) * MICRO)
  # 8x16: a line of 8 and a ring of 16.
  assert prediction.collective_seconds(reduced(1e9), V5E, 128) == pytest.approx(
    2 * 127 / 128 * 1e9 / (3 * 50e9)
  )
  # 4x4x4 of v5p: three rings of 100 GB/s links.
  assert prediction.collective_seconds(reduced(1e9), V5P, 64) == pytest.approx(
    2 * 63 / 64 * 1e9 / (6 * 100e9)
  )


@pytest.mark.parametrize("kind", ["all-gather", "reduce-scatter"])
@pytest.mark.parametrize("chip", [V5E, H100], ids=lambda c: c.name)
def test_half_an_all_reduce(kind, chip):
  whole = prediction.collective_seconds(reduced(1e9), chip, 16)
  half = prediction.collective_seconds(reduced(1e9, kind=kind), chip, 16)
  assert half == pytest.approx(whole / 2)


def test_one_node_of_gpus_by_hand():
  assert prediction.collective_seconds(reduced(1e9), H100, 8) == pytest.approx(
    2 * 7 / 8 * 1e9 / 450e9
  )
  assert prediction.collective_seconds(reduced(0, 1), H100, 8) == pytest.approx(
    (6.8 + 2 * 7 * 0.6) * MICRO
  )


def test_two_nodes_of_gpus_by_hand():
  # Within the nodes as above; between them every GPU has an eighth.
  assert prediction.collective_seconds(reduced(1e9), H100, 16) == pytest.approx(
    2 * 7 / 8 * 1e9 / 450e9 + 2 * 1 / 2 * 1e9 / 8 / 50e9
  )
  assert prediction.collective_seconds(
    reduced(0, 1), H100, 16
  ) == pytest.approx((6.8 + 2 * (7 * 0.6 + 5.0)) * MICRO)


@pytest.mark.parametrize("chip", ACCELERATORS.values(), ids=lambda c: c.name)
@pytest.mark.parametrize("size", [1e4, 1e7])
def test_more_chips_never_scale_better_than_the_links_allow(chip, size):
  work = Work(
    cycles=0,
    flops=1e12,
    bytes=1e9,
    collectives=(CollectiveTotal("all-reduce", 1, size, False),),
  )
  counts = [1, 8, 64, 256]
  steps = [prediction.step_time(work, chip, count) for count in counts]
  rates = [
    count / step.total for count, step in zip(counts, steps, strict=True)
  ]
  efficiencies = [
    rate / n / rates[0] for rate, n in zip(rates, counts, strict=True)
  ]
  assert all(0 < share < 1 for share in efficiencies[1:])
  assert rates == sorted(rates)


@pytest.mark.parametrize("term", ["flops", "bytes", "collectives"])
@pytest.mark.parametrize("chip", [V5E, V5P, H100], ids=lambda c: c.name)
def test_more_work_never_takes_less(term, chip):
  work = Work(cycles=0, flops=1e12, bytes=1e9, collectives=(GRADIENT,))
  more = {
    "flops": 1e15,
    "bytes": 1e12,
    "collectives": (GRADIENT, reduced(1e6, 50)),
  }
  before = prediction.step_time(work, chip, 64).total
  after = prediction.step_time(
    dataclasses.replace(work, **{term: more[term]}), chip, 64
  ).total
  assert after > before


@pytest.mark.parametrize("kind", ["collective-permute", "all-to-all"])
def test_other_collectives_take_time_too(kind):
  for chip in (V5E, H100):
    assert 0 < prediction.collective_seconds(reduced(1e9, 1, kind), chip, 8) < 1


def test_a_slice_that_there_is_not():
  with pytest.raises(ValueError, match="v5e: no slice of 48 chips"):
    prediction.collective_seconds(GRADIENT, V5E, 48)
