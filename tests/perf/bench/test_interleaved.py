import pathlib
import sys
import tempfile
import time

import pytest

from mn_jax.errors import InputError
from mn_jax.perf.bench import interleaved
from tests.perf.bench import toy_case


@pytest.fixture
def start(monkeypatch, tmp_path):
  """Starts a toy side; what it leaves in the temporary folder shows."""
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  sides = []

  def start(way, python=sys.executable, timeout=60.0):
    toy = interleaved.Library("tests.perf.bench.toy_side", ("this", "that"))
    case = toy_case.make(backend=way, threads=3)
    side = interleaved.SideProcess("toy", python, toy, case, timeout)
    sides.append(side)
    return side

  yield start
  for side in sides:
    side.close()
  assert list(tmp_path.iterdir()) == []


def alive(pid: int) -> bool:
  stat = pathlib.Path(f"/proc/{pid}/stat")
  return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_side_process_warms_up_and_steps_when_called(start):
  side = start("")
  assert side.ready["device"] == "toy"
  assert side.ready["compile_seconds"] >= 0
  assert set(side.ready["versions"]) == {"python", "jax"}
  assert side.call("steps") == 4
  assert side.call("step", steps=3) > 0
  assert side.call("steps") == 7
  assert side.call("threads") == 3
  memory = side.call("memory")
  assert memory["peak_device_memory_bytes"] is None
  # That of a small process, not of this one, which started it.
  assert 1e6 < memory["peak_memory_bytes"] < 1e8


def test_the_last_line_of_a_dead_side_process_is_reported(start):
  side = start("dies")
  with pytest.raises(interleaved.SideError) as caught:
    side.call("step", steps=1)
  assert str(caught.value) == "toy died (exit code 3): out of luck"
  with pytest.raises(interleaved.SideError, match="out of luck"):
    side.call("step", steps=1)


def test_side_processes_that_cannot_be_used_are_reported(start):
  error = interleaved.SideError
  with pytest.raises(error, match=r"died.*OSError: cannot load"):
    start("dies at once")
  with pytest.raises(error, match="'step done'; valid: a line of"):
    start("mumbles")
  side = start("hangs", timeout=3)
  with pytest.raises(error, match="gave no answer for 3 s"):
    side.call("step", steps=1)
  with pytest.raises(InputError) as caught:
    start("lacks")
  assert "needs this and that in" in str(caught.value)
  assert "lacks a_package_that_is_not_there" in str(caught.value)
  assert sys.executable in str(caught.value)
  with pytest.raises(InputError, match="no such network; valid: others"):
    start("refuses")
  with pytest.raises(InputError, match=r"--peer-python: got '/nowhere/python'"):
    start("", python="/nowhere/python")


def test_closing_kills_the_children_of_a_side_process(start):
  side = start("parent")
  (child,) = side.call("children")
  assert alive(child)
  side.close()
  # The signal is sent; a busy system may take a moment to end the child.
  deadline = time.monotonic() + 10
  while alive(child) and time.monotonic() < deadline:
    time.sleep(0.01)
  assert not alive(child)
  side.close()


class Fake:
  """A side process whose step takes a given time, on paper."""

  def __init__(self, name, order, seconds, idles):
    self._name, self._order = name, order
    self._seconds, self._idles = seconds, idles
    self._used = 0.0

  def call(self, name, steps):
    assert name == "step"
    self._order.append(self._name)
    self._used += steps * self._seconds
    return self._seconds

  def cpu_seconds(self):
    if self._order and self._order[-1] != self._name:
      self._used += self._idles
    return self._used


def test_repeats_rotate_which_side_process_starts():
  order = []
  sides = {name: Fake(name, order, 1.0, 0.0) for name in "abc"}
  seconds, idle = interleaved.measure(sides, repeats=3, steps=2)
  assert "".join(order) == "abcbcacab"
  assert seconds == {name: [1.0] * 3 for name in "abc"}
  assert idle == dict.fromkeys("abc", 0)


def test_work_of_an_idle_side_process_is_noticed():
  order = []
  sides = {"a": Fake("a", order, 1.0, 0.0), "b": Fake("b", order, 2.0, 0.25)}
  _, idle = interleaved.measure(sides, repeats=4, steps=1)
  assert idle["a"] == 0
  assert idle["b"] > 0.05
