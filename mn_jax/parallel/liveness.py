"""Detects which process of a run is gone, stuck or has failed.

Processes publish heartbeats, from which a failure detector decides whether the
run has to end. There are no threads here, and no clocks but those that are
passed in; `watchdog` publishes the heartbeats and ends processes.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping

# A process is lost if it has published no heartbeat for so many seconds, or
# for so many once another process has lost a connection.
_SILENCE = 60.0
_SILENCE_AFTER_DISCONNECT = 10.0
# A short phase may take as long as the stall timeout. Any other may take
# _ALLOWANCE times as long as it has ever taken, or as long as the timeout the
# first time, when its programs are compiled.
_SHORT_PHASES = ("data", "step")
_ALLOWANCE = 3.0

_PHASES = {
  "start": "starting",
  "read": "reading the data",
  "extract": "extracting features",
  "data": "waiting for a batch",
  "step": "training",
  "compile": "compiling",
  "evaluate": "evaluating",
  "save": "saving",
}


@dataclasses.dataclass(frozen=True)
class Heartbeat:
  """What a process publishes about itself.

  Attributes:
    host: name of its machine.
    phase: what its main thread is doing.
    step: completed updates.
    transitions: changes of phase or step so far, as many in all processes that
      are equally far.
    signs: signs of progress so far: transitions, and reports within a phase.
    patience: seconds without a sign from any process after which it is stuck.
    beat: number of this heartbeat.
    disconnected: whether it has lost the connection to another process.
    ended: whether it has ended regularly.
    failure: why it ends early, or ''.
    code: its exit code then.
  """

  host: str = "host unknown"
  phase: str = "start"
  step: int = 0
  transitions: int = 0
  signs: int = 0
  patience: float = 0.0
  beat: int = 0
  disconnected: bool = False
  ended: bool = False
  failure: str = ""
  code: int = 0

  def position(self) -> str:
    """Returns what the process is doing, and at which step."""
    return f"{_PHASES.get(self.phase, self.phase)}, at step {self.step}"


@dataclasses.dataclass(frozen=True)
class Verdict:
  """Why the run has to end.

  Attributes:
    line: the reason, for people.
    code: exit code of the processes.
  """

  line: str
  code: int = 1


class Progress:
  """Tracks how far the main thread of this process is.

  Attributes:
    heartbeat: its phase, step and signs of progress.
  """

  def __init__(
    self,
    host: str,
    stall_timeout: float,
    now: Callable[[], float] = time.monotonic,
  ):
    """Starts in the phase 'start'.

    Args:
      host: name of this machine.
      stall_timeout: seconds that a short phase may take.
      now: returns the time in seconds.
    """
    self._stall_timeout, self._now = stall_timeout, now
    self._entered = now()
    self._longest: dict[str, float] = {}
    self.heartbeat = Heartbeat(host=host, patience=self._patience("start"))

  def reached(self, phase: str, step: int) -> None:
    """Enters a phase, or reports progress within it.

    Args:
      phase: 'read', 'extract', or a section of the run's clock.
      step: completed updates.
    """
    last, now = self.heartbeat, self._now()
    self._longest[last.phase] = max(
      now - self._entered, self._longest.get(last.phase, 0.0)
    )
    self._entered = now
    changed = (phase, step) != (last.phase, last.step)
    self.heartbeat = dataclasses.replace(
      last,
      phase=phase,
      step=step,
      transitions=last.transitions + changed,
      signs=last.signs + 1,
      patience=self._patience(phase) if changed else last.patience,
    )

  def _patience(self, phase: str) -> float:
    if phase in _SHORT_PHASES:
      return self._stall_timeout
    longest = self._longest.get(phase, self._stall_timeout)
    return max(self._stall_timeout, _ALLOWANCE * longest)


class FailureDetector:
  """Decides from the heartbeats of processes whether the run has to end."""

  def __init__(
    self,
    watched: Iterable[int],
    *,
    silence: float,
    stall_timeout: float,
    now: float,
  ):
    """Starts with processes that have not published anything yet.

    Args:
      watched: indices of the processes.
      silence: seconds without a heartbeat after which a process is lost.
      stall_timeout: seconds that a short phase may take; 0: nothing is stuck.
      now: the time in seconds.
    """
    self._silence, self._stall_timeout = silence, stall_timeout
    self._latest = {i: Heartbeat() for i in watched}
    self._received = dict.fromkeys(self._latest, now)
    self._last_sign = now

  def check(
    self, heartbeats: Mapping[int, Heartbeat], now: float
  ) -> Verdict | None:
    """Takes in heartbeats and returns why the run has to end, if it has to.

    Args:
      heartbeats: the latest of each process that has published one.
      now: the time in seconds.
    """
    for i, heartbeat in heartbeats.items():
      last = self._latest[i]
      if heartbeat != last:
        self._latest[i], self._received[i] = heartbeat, now
        if (heartbeat.signs, heartbeat.ended) != (last.signs, last.ended):
          self._last_sign = now
    running = {i: beat for i, beat in self._latest.items() if not beat.ended}
    for i, heartbeat in running.items():
      if heartbeat.failure:
        return failed(i, heartbeat)
    return self._lost(running, now) or self._stuck(running, now)

  def _lost(
    self, running: Mapping[int, Heartbeat], now: float
  ) -> Verdict | None:
    limit = self._silence
    if any(heartbeat.disconnected for heartbeat in running.values()):
      limit = silence_after_disconnect(limit)
    for i, heartbeat in running.items():
      silent = now - self._received[i]
      if silent > limit:
        return Verdict(
          f"process {i} ({heartbeat.host}) is gone or does not run: no sign of "
          f"it for {silent:.0f} s; the last: {heartbeat.position()}"
        )
    return None

  def _stuck(
    self, running: Mapping[int, Heartbeat], now: float
  ) -> Verdict | None:
    if not self._stall_timeout or not running:
      return None
    waited = now - self._last_sign
    patience = max(heartbeat.patience for heartbeat in running.values())
    if waited <= max(patience, self._stall_timeout):
      return None
    since = f"no process has made progress for {waited:.0f} s"
    fewest = min(heartbeat.transitions for heartbeat in running.values())
    behind = {i: b for i, b in running.items() if b.transitions == fewest}
    if len(behind) == len(running) > 1:
      position = next(iter(behind.values())).position()
      return Verdict(f"{since}; all are equally far: {position}")
    hanging = (
      f"process {i} ({heartbeat.host}) hangs: {heartbeat.position()}"
      for i, heartbeat in behind.items()
    )
    return Verdict("; ".join((*hanging, since)))


def silence(stall_timeout: float) -> float:
  """Returns the seconds without a heartbeat after which a process is lost."""
  return min(_SILENCE, stall_timeout or _SILENCE)


def silence_after_disconnect(silence: float) -> float:
  """Returns these seconds once another process has lost a connection.

  Args:
    silence: the seconds before that.
  """
  return min(_SILENCE_AFTER_DISCONNECT, silence)


def failed(index: int, heartbeat: Heartbeat) -> Verdict:
  """Returns the verdict on a process that has published its own failure."""
  return Verdict(
    f"process {index} ({heartbeat.host}): {heartbeat.failure}", heartbeat.code
  )
