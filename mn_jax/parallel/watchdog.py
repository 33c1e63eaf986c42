"""Ends every process of a run when one of them dies, hangs or fails; names it.

A collective waits for a process that hangs, and on most platforms also for one
that is gone, until somebody ends it. So each process keeps a record in the
key-value store of JAX's coordination service, which process 0 serves: a thread
renews it every second and writes how far the main thread has come. Process 0
reads all of them and judges; its verdict is one line that every process prints
before it exits. The others watch process 0 alone.

JAX's own heartbeats remain, slower, for a process whose Python cannot run.
"""

import contextlib
import dataclasses
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import NoReturn

import jax

# The key-value store has no public name; Orbax takes the same path to it.
from jax._src import distributed

from mn_jax.errors import InputError
from mn_jax.parallel import liveness
from mn_jax.parallel.liveness import Record, Verdict

_PERIOD = 1.0
# Seconds that process 0 serves its verdict before it leaves.
_LINGER = 3 * _PERIOD
_RECORDS = "mn_jax/processes"
_VERDICTS = "mn_jax/verdicts"
_DAY_MS = 24 * 3600 * 1000

Reached = Callable[[str, int], None]


class _Watchdog:
  """The threads of one process."""

  def __init__(self, stall_timeout: float):
    state = distributed.global_state
    self._client, self._index = state.client, state.process_id
    self._count = state.num_processes
    host = socket.gethostname()
    self._progress = liveness.Progress(host, stall_timeout)
    self._silence = liveness.silence(stall_timeout)
    self._judge = liveness.Judge(
      [0] if self._index else range(self._count),
      silence=self._silence,
      # How far all of them have come is for process 0 to judge.
      stall_timeout=0.0 if self._index else stall_timeout,
      now=time.monotonic(),
    )
    self._seen: dict[int, Record] = {}
    self._about_itself: dict[str, object] = {}
    self._leaving, self._stopped = threading.Event(), threading.Event()
    self._ending, self._published = threading.Lock(), threading.Condition()
    self._rounds = 0
    self._threads = [
      threading.Thread(
        target=work, name=f"watchdog_{work.__name__}", daemon=True
      )
      for work in (self._talk, self._watch, self._listen)
    ]
    self.reached = self._progress.reached

  def start(self) -> None:
    """Starts the threads."""
    for thread in self._threads:
      thread.start()

  def close(self) -> None:
    """Ends the threads: this process is done."""
    self._leave(ended=True)
    self._stopped.set()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      self._send(f"{_VERDICTS}/{self._index}", "")
    for thread in self._threads:
      thread.join(_LINGER)

  def fail(self, failure: str, code: int) -> None:
    """Tells the others why this process ends, which it then should do.

    Args:
      failure: one line.
      code: its exit code.
    """
    self._leave(failure=failure, code=code)
    if not self._index:
      self._pass_on(liveness.of_failure(0, self._own()))

  def blame_another(self) -> None:
    """Ends this process if another one is gone; returns if none is found."""
    self._about_itself = {"lost": True}
    time.sleep(liveness.once_lost(self._silence) + _LINGER)

  def _leave(self, **about_itself: object) -> None:
    """Publishes a last record."""
    self._leaving.set()
    self._about_itself = about_itself
    with self._published:
      # Of two rounds one has begun after the line above.
      enough = self._rounds + 2
      self._published.wait_for(lambda: self._rounds >= enough, _LINGER)

  def _own(self) -> Record:
    return dataclasses.replace(
      self._progress.record, beat=self._rounds, **self._about_itself
    )

  def _send(self, key: str, value: str) -> None:
    self._client.key_value_set(key, value, allow_overwrite=True)

  def _talk(self) -> None:
    """Publishes the own record, and reads those that are to be judged."""
    watched = _RECORDS if not self._index else f"{_RECORDS}/0"
    while not self._stopped.is_set():
      # What goes wrong here shows as silence.
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        own = json.dumps(dataclasses.asdict(self._own()))
        self._send(f"{_RECORDS}/{self._index}/record", own)
        found = self._client.key_value_dir_get(watched)
        self._seen = {
          int(key.split("/")[-2]): Record(**json.loads(value))
          for key, value in found
        }
        with self._published:
          self._rounds += 1
          self._published.notify_all()
      if self._leaving.wait(_PERIOD):
        self._stopped.wait(_PERIOD / 20)

  def _watch(self) -> None:
    """Judges what is known, whether or not the service answers."""
    before = time.monotonic()
    while not self._leaving.wait(_PERIOD):
      now = time.monotonic()
      if now - before > self._silence:
        own = self._own()
        self._end(
          Verdict(
            f"process {self._index} ({own.host}), this one, has not run for "
            f"{now - before:.0f} s; the others have given it up"
          )
        )
      before = now
      verdict = self._judge.verdict(self._seen, now)
      if verdict is not None:
        self._end(verdict)

  def _listen(self) -> None:
    """Waits for the verdict of process 0, or for its end."""
    while not self._stopped.is_set():
      try:
        text = self._client.blocking_key_value_get(
          f"{_VERDICTS}/{self._index}", _DAY_MS
        )
      except jax.errors.JaxRuntimeError as error:
        if self._stopped.is_set() or "DEADLINE_EXCEEDED" in str(error):
          continue
        # JAX ends this process too, once it has written where its own threads
        # are; that takes long enough to say it shorter.
        first = self._seen.get(0, Record())
        self._end(
          Verdict(f"process 0 ({first.host}) is gone; the last: {first.at()}")
        )
      if text and not self._leaving.is_set():
        self._end(Verdict(**json.loads(text)))
      return

  def _pass_on(self, verdict: Verdict) -> None:
    """Hands the verdict of process 0 to the others."""
    text = json.dumps(dataclasses.asdict(verdict))
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      for i in range(1, self._count):
        self._send(f"{_VERDICTS}/{i}", text)
    time.sleep(_LINGER)

  def _end(self, verdict: Verdict) -> NoReturn:
    self._ending.acquire()  # two threads may know why; one says it
    sys.stdout.flush()
    print(f"mn_jax: {verdict.line}", file=sys.stderr, flush=True)
    if not self._index:
      self._pass_on(verdict)
    os._exit(verdict.code)


@contextlib.contextmanager
def watched(stall_timeout: float) -> Iterator[Reached]:
  """Watches over the processes of a run while a `with` block lasts.

  It yields a function of (phase, completed updates) that the main thread calls
  whenever it goes on to another phase, and now and then within a long one. In
  a run of one process it does nothing, and there are no threads.

  Args:
    stall_timeout: seconds without a sign of progress, of any process, after
      which the run ends; see `liveness.Progress` for the phases that may take
      longer. 0: only what is gone or does not run at all ends the run.
  """
  if not jax.distributed.is_initialized():
    yield lambda phase, step: None
    return
  watchdog = _Watchdog(stall_timeout)
  watchdog.start()
  try:
    yield watchdog.reached
  except InputError as error:
    watchdog.fail(str(error), 2)
    raise
  except Exception as error:
    if _may_come_from_another(error):
      watchdog.blame_another()
    watchdog.fail(f"{type(error).__name__}: {error}".splitlines()[0], 1)
    raise
  except BaseException:
    watchdog.fail("ended by its user", 130)
    raise
  watchdog.close()


def _may_come_from_another(error: Exception) -> bool:
  """Whether an error may only say that another process is gone."""
  # A collective over Gloo that fails is a ValueError.
  mine = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
  return "Gloo" in str(error) or (
    isinstance(error, jax.errors.JaxRuntimeError)
    and not str(error).startswith(mine)
  )
