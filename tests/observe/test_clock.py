"""Tests of the clock with a made-up time."""

import contextlib

import pytest

from mn_jax.observe.clock import Clock


class _Time:
  """A time that passes when told to."""

  now = 1000.0

  def __call__(self) -> float:
    return self.now


@pytest.fixture
def time() -> _Time:
  return _Time()


def _spend(clock: Clock, time: _Time, name: str, seconds: float) -> None:
  with clock.section(name):
    time.now += seconds


def test_sections_add_up(time):
  clock = Clock(now=time)
  _spend(clock, time, "data", 1.0)
  _spend(clock, time, "step", 2.0)
  _spend(clock, time, "data", 0.5)
  time.now += 10
  assert clock.seconds("data") == 1.5
  assert clock.seconds("step") == 2.0
  assert clock.seconds("save") == 0.0
  assert clock.wall() == 13.5
  # The time before an error counts too.
  with contextlib.suppress(KeyError), clock.section("step"):
    time.now += 3
    raise KeyError
  assert clock.seconds("step") == 5.0


def test_throughput_counts_data_and_step(time):
  clock = Clock(now=time)
  assert clock.images_per_sec() is None
  assert clock.data_wait_share() is None
  _spend(clock, time, "compile", 100.0)
  assert clock.images_per_sec() is None
  _spend(clock, time, "data", 1.0)
  # Time without an image yet is no throughput of 0.
  assert clock.images_per_sec() is None
  _spend(clock, time, "step", 3.0)
  clock.count(32)
  clock.count(8)
  _spend(clock, time, "evaluate", 50.0)
  assert clock.images_per_sec() == 10.0
  assert clock.data_wait_share() == 0.25


def test_a_resumed_clock_continues_from_the_snapshot(time):
  first = Clock(now=time)
  _spend(first, time, "data", 1.0)
  _spend(first, time, "step", 3.0)
  first.count(40)
  snapshot = first.snapshot()
  assert snapshot == {"data": 1.0, "step": 3.0, "images": 40, "wall": 4.0}

  time.now += 1000  # between the attempts
  second = Clock(snapshot, now=time)
  assert second.wall() == 4.0
  assert second.images_per_sec() == 10.0
  _spend(second, time, "step", 4.0)
  second.count(40)
  assert second.seconds("step") == 7.0
  assert second.wall() == 8.0
  assert second.images_per_sec() == 10.0
  expected = {"data": 1.0, "step": 7.0, "images": 80, "wall": 8.0}
  assert second.snapshot() == expected
  # The first attempt's snapshot is not changed by the second.
  assert snapshot["step"] == 3.0
