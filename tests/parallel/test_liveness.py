import dataclasses

from mn_jax.parallel import liveness
from mn_jax.parallel.liveness import Heartbeat

STALL = 100.0


class Clock:
  """A time that only the test moves."""

  def __init__(self):
    self.now = 0.0

  def __call__(self) -> float:
    return self.now


class Processes:
  """Processes that publish a heartbeat every second, and their detector."""

  def __init__(self, count, stall=STALL):
    self.clock = Clock()
    self.progress = {
      i: liveness.Progress(f"host{i}", stall, self.clock) for i in range(count)
    }
    self.detector = liveness.FailureDetector(
      range(count),
      silence=liveness.silence(stall),
      stall_timeout=stall,
      now=self.clock.now,
    )
    self.about = {i: {} for i in range(count)}
    self.beats = dict.fromkeys(range(count), 0)
    self.observe()

  def reach(self, phase, step, but=()):
    for i, progress in self.progress.items():
      if i not in but:
        progress.reached(phase, step)
    self.observe()

  def observe(self):
    heartbeats = {
      i: dataclasses.replace(
        progress.heartbeat, beat=self.beats[i], **self.about[i]
      )
      for i, progress in self.progress.items()
    }
    return self.detector.check(heartbeats, self.clock.now)

  def run(self, seconds, silent=()):
    """Lets time pass; returns the first verdict, and after how many seconds."""
    for passed in range(1, int(seconds) + 1):
      self.clock.now += 1.0
      for i in self.beats:
        self.beats[i] += i not in silent
      verdict = self.observe()
      if verdict is not None:
        return verdict.line, passed
    return None


def test_processes_that_make_progress_are_left_alone():
  all_of_them = Processes(3)
  for step in range(30):
    for phase in ("data", "step"):
      all_of_them.reach(phase, step)
      assert all_of_them.run(STALL) is None


def test_a_silent_process_is_named():
  some = Processes(3)
  some.reach("step", 7)
  assert some.run(5) is None
  line, after = some.run(1000, silent=[1])
  assert line == (
    "process 1 (host1) is gone or does not run: no sign of it for 61 s; the "
    "last: training, at step 7"
  )
  assert after == 61


def test_a_process_that_never_came_is_named():
  detector = liveness.FailureDetector(
    [0, 1], silence=60.0, stall_timeout=STALL, now=0.0
  )
  assert detector.check({0: Heartbeat(beat=1)}, 60.0) is None
  verdict = detector.check({0: Heartbeat(beat=2)}, 61.0)
  assert verdict.line.startswith("process 1 (host unknown) is gone")


def test_how_long_a_process_may_be_silent():
  for stall, about, expected in (
    (STALL, {}, 61),
    (STALL, {2: {"disconnected": True}}, 11),
    (20.0, {}, 21),
    (0.0, {}, 61),
  ):
    some = Processes(3, stall)
    some.about.update(about)
    line, after = some.run(1000, silent=[1])
    assert line.startswith("process 1 ")
    assert after == expected


def test_the_process_behind_is_named():
  some = Processes(3)
  some.reach("data", 4)
  some.reach("step", 4, but=[2])
  line, after = some.run(1000)
  assert line == (
    "process 2 (host2) hangs: waiting for a batch, at step 4; no process has "
    "made progress for 101 s"
  )
  assert after == 101
  some = Processes(3)
  some.reach("data", 4)
  some.reach("step", 4, but=[0, 2])
  line, _ = some.run(1000)
  assert "process 0 (host0) hangs: " in line
  assert "process 2 (host2) hangs: " in line
  assert "process 1" not in line


def test_equally_far_processes_are_all_stuck():
  some = Processes(2)
  some.reach("step", 4)
  line, _ = some.run(1000)
  assert line == (
    "no process has made progress for 101 s; all are equally far: training, at "
    "step 4"
  )
  some = Processes(2, stall=0.0)
  some.reach("step", 4)
  assert some.run(5000) is None


def test_work_of_one_is_progress_of_all():
  """One decodes, the others wait for its file."""
  some = Processes(3)
  some.reach("read", 0)
  for _ in range(50):
    assert some.run(90) is None
    some.reach("read", 0, but=[0, 2])
  # All of them have come equally far.
  assert len({p.heartbeat.transitions for p in some.progress.values()}) == 1


def test_a_first_time_may_take_longer():
  for phase in ("compile", "evaluate", "save"):
    some = Processes(2)
    some.reach(phase, 1)
    assert some.run(300) is None
    assert some.run(1) is not None


def test_a_long_phase_may_take_three_times_as_long_again():
  some = Processes(2)
  some.reach("evaluate", 1)
  assert some.run(250) is None
  some.reach("data", 2)
  some.reach("evaluate", 3)
  assert some.run(750) is None
  assert some.run(1) is not None


def test_waiting_long_for_a_batch_is_not_allowed_again():
  some = Processes(2)
  some.reach("data", 1)
  assert some.run(99) is None
  some.reach("step", 1)
  some.reach("data", 2)
  assert some.run(1000)[1] == 101


def test_a_failure_is_passed_on():
  some = Processes(3)
  some.about[1] = {"failure": "OSError: no space left", "code": 1}
  line, after = some.run(10)
  assert (line, after) == ("process 1 (host1): OSError: no space left", 1)
  verdict = liveness.failed(0, Heartbeat(host="a", failure="x", code=2))
  assert verdict == liveness.Verdict("process 0 (a): x", 2)


def test_a_process_that_is_done_may_be_silent():
  some = Processes(3)
  some.about[2] = {"ended": True}
  assert some.run(2) is None
  some.reach("evaluate", 9, but=[2])
  assert some.run(200, silent=[2]) is None
  # Nor is it the one behind.
  line, _ = some.run(1000, silent=[2])
  assert line.startswith("no process has made progress")
