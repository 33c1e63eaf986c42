"""Which process of a run is gone, stuck or has failed: records and a judgement.

Pure: no threads and no clocks but those that are given. `watchdog` keeps the
records going and acts.
"""

import dataclasses
import time
from collections.abc import Callable, Iterable, Mapping

# A process is silent if its record has not been renewed for so many seconds,
# or for so many once another one has lost a connection.
_SILENCE = 60.0
_SILENCE_ONCE_LOST = 10.0
# These phases, which are short, may take as long as the stall timeout. Any
# other may take so many times as long as it has ever taken, or as that timeout
# the first time, when its programs are compiled.
_SHORT = ("data", "step")
_ALLOWANCE = 3.0

_DOING = {
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
class Record:
  """What a process tells of itself.

  Attributes:
    host: its machine.
    phase: what its main thread is doing.
    step: completed updates.
    turns: changes of phase or step so far, the same for all processes that
      are at the same place.
    signs: of life so far: turns, and what was counted within a phase.
    patience: seconds after which it is stuck if no process gives a sign.
    beat: how often it was renewed.
    lost: whether it has lost a connection to another process.
    ended: whether it is done.
    failure: why it ends early, or ''.
    code: its exit code then.
  """

  host: str = "host unknown"
  phase: str = "start"
  step: int = 0
  turns: int = 0
  signs: int = 0
  patience: float = 0.0
  beat: int = 0
  lost: bool = False
  ended: bool = False
  failure: str = ""
  code: int = 0

  def at(self) -> str:
    """What it does, and where."""
    return f"{_DOING.get(self.phase, self.phase)}, at step {self.step}"


@dataclasses.dataclass(frozen=True)
class Verdict:
  """How the run ends.

  Attributes:
    line: for people.
    code: exit code.
  """

  line: str
  code: int = 1


class Progress:
  """How far the main thread of this process has come.

  Attributes:
    record: what is published of it.
  """

  def __init__(
    self,
    host: str,
    stall_timeout: float,
    now: Callable[[], float] = time.monotonic,
  ):
    """Begins with the phase 'start'.

    Args:
      host: name of this machine.
      stall_timeout: seconds that a short phase may take.
      now: the time in seconds.
    """
    self._stall_timeout, self._now = stall_timeout, now
    self._entered = now()
    self._longest: dict[str, float] = {}
    self.record = Record(host=host, patience=self._patience("start"))

  def reached(self, phase: str, step: int) -> None:
    """Enters a phase, or says that it goes on.

    Args:
      phase: 'read', 'extract', or a section of the run's clock.
      step: completed updates.
    """
    before, now = self.record, self._now()
    took = now - self._entered
    self._longest[before.phase] = max(
      took, self._longest.get(before.phase, 0.0)
    )
    self._entered = now
    turned = (phase, step) != (before.phase, before.step)
    patience = self._patience(phase) if turned else before.patience
    self.record = dataclasses.replace(
      before,
      phase=phase,
      step=step,
      turns=before.turns + turned,
      signs=before.signs + 1,
      patience=patience,
    )

  def _patience(self, phase: str) -> float:
    if phase in _SHORT:
      return self._stall_timeout
    usual = self._longest.get(phase, self._stall_timeout)
    return max(self._stall_timeout, _ALLOWANCE * usual)


class Judge:
  """Decides from the records of processes whether the run has to end."""

  def __init__(
    self,
    watched: Iterable[int],
    *,
    silence: float,
    stall_timeout: float,
    now: float,
  ):
    """Begins with processes that have not published anything yet.

    Args:
      watched: numbers of the processes.
      silence: seconds without a renewed record.
      stall_timeout: as for `Progress`; 0: nothing counts as stuck.
      now: the time in seconds.
    """
    self._silence, self._stall_timeout = silence, stall_timeout
    self._records = {i: Record() for i in watched}
    self._renewed = dict.fromkeys(self._records, now)
    self._last_sign = now

  def verdict(
    self, records: Mapping[int, Record], now: float
  ) -> Verdict | None:
    """Takes note of records, new or not; says how the run ends, if it does.

    Args:
      records: of those processes that have published one.
      now: the time in seconds.
    """
    for i, record in records.items():
      before = self._records[i]
      if record != before:
        self._records[i], self._renewed[i] = record, now
        if record.signs != before.signs or record.ended != before.ended:
          self._last_sign = now
    alive = {i: r for i, r in self._records.items() if not r.ended}
    return (
      self._failure(alive)
      or self._silent(alive, now)
      or self._stall(alive, now)
    )

  def _failure(self, alive: Mapping[int, Record]) -> Verdict | None:
    for i, record in alive.items():
      if record.failure:
        who = f"process {i} ({record.host})"
        return Verdict(f"{who}: {record.failure}", record.code)
    return None

  def _silent(self, alive: Mapping[int, Record], now: float) -> Verdict | None:
    limit = self._silence
    if any(record.lost for record in alive.values()):
      limit = once_lost(limit)
    for i, record in alive.items():
      quiet = now - self._renewed[i]
      if quiet > limit:
        return Verdict(
          f"process {i} ({record.host}) is gone or does not run: no sign of it "
          f"for {quiet:.0f} s; the last: {record.at()}"
        )
    return None

  def _stall(self, alive: Mapping[int, Record], now: float) -> Verdict | None:
    if not self._stall_timeout or not alive:
      return None
    waited = now - self._last_sign
    patience = max(record.patience for record in alive.values())
    if waited <= max(patience, self._stall_timeout):
      return None
    least = min(record.turns for record in alive.values())
    behind = {i: r for i, r in alive.items() if r.turns == least}
    if len(behind) == len(alive) > 1:
      (first, *_) = behind.values()
      return Verdict(
        f"no process has come further for {waited:.0f} s; all are equally far: "
        f"{first.at()}"
      )
    return Verdict(
      "; ".join(
        f"process {i} ({r.host}) hangs: {r.at()}" for i, r in behind.items()
      )
      + f"; no process has come further for {waited:.0f} s"
    )


def silence(stall_timeout: float) -> float:
  """Seconds without a sign after which a process is given up."""
  return min(_SILENCE, stall_timeout or _SILENCE)


def once_lost(silence: float) -> float:
  """The same once another process has lost a connection."""
  return min(_SILENCE_ONCE_LOST, silence)


def of_failure(index: int, record: Record) -> Verdict:
  """The verdict on a process that says itself why it ends."""
  return Verdict(
    f"process {index} ({record.host}): {record.failure}", record.code
  )
