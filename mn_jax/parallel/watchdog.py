"""Ends all processes of a run when one of them dies, hangs or fails.

A collective waits for a process that hangs, and on most platforms also for one
that is gone, until somebody ends it. So a thread of each process publishes a
heartbeat every second, with the progress of the main thread, in the key-value
store of JAX's coordination service, which process 0 serves. Process 0 reads all
heartbeats and decides; its verdict is one line, which names the process and is
printed by all of them before they exit. The others watch process 0 alone.

JAX has slower heartbeats of its own, for a process whose Python cannot run.
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

from mn_jax.errors import InputError, RunError
from mn_jax.parallel import liveness
from mn_jax.parallel.liveness import Heartbeat, Verdict

_PERIOD = 1.0  # seconds between heartbeats
_LINGER = 3 * _PERIOD  # seconds that process 0 serves its verdict for
_HEARTBEATS = "mn_jax/heartbeats"
_VERDICTS = "mn_jax/verdicts"
_DAY_MS = 24 * 3600 * 1000

Reached = Callable[[str, int], None]


class _Watchdog:
  """The threads that publish, check and receive, in one process."""

  def __init__(self, stall_timeout: float):
    state = distributed.global_state
    self._client, self._index = state.client, state.process_id
    self._count = state.num_processes
    host = socket.gethostname()
    self._progress = liveness.Progress(host, stall_timeout)
    self._silence = liveness.silence(stall_timeout)
    self._detector = liveness.FailureDetector(
      [0] if self._index else range(self._count),
      silence=self._silence,
      # Only process 0 sees how far all of them are.
      stall_timeout=0.0 if self._index else stall_timeout,
      now=time.monotonic(),
    )
    self._received: dict[int, Heartbeat] = {}
    self._ending_fields: dict[str, object] = {}
    self._leaving, self._stopped = threading.Event(), threading.Event()
    self._ending, self._published = threading.Lock(), threading.Condition()
    self._rounds = 0
    self._threads = [
      threading.Thread(
        target=work, name=f"watchdog_{work.__name__}", daemon=True
      )
      for work in (self._publish, self._check, self._listen)
    ]
    self.reached = self._progress.reached

  def start(self) -> None:
    """Starts the threads."""
    for thread in self._threads:
      thread.start()

  def close(self) -> None:
    """Ends the threads, at the regular end of this process."""
    self._leave(ended=True)
    self._stopped.set()
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      self._send(f"{_VERDICTS}/{self._index}", "")
    for thread in self._threads:
      thread.join(_LINGER)

  def fail(self, failure: str, code: int) -> None:
    """Tells the other processes why this one is about to end.

    Args:
      failure: the reason, in one line.
      code: exit code of this process.
    """
    self._leave(failure=failure, code=code)
    if not self._index:
      self._broadcast(liveness.failed(0, self._heartbeat()))

  def blame_another(self) -> None:
    """Ends this process if another one is gone; returns if none is."""
    self._ending_fields = {"disconnected": True}
    time.sleep(liveness.silence_after_disconnect(self._silence) + _LINGER)

  def _leave(self, **fields: object) -> None:
    """Publishes a last heartbeat, with these fields."""
    self._leaving.set()
    self._ending_fields = fields
    with self._published:
      # One of two rounds has started after the line above.
      enough = self._rounds + 2
      self._published.wait_for(lambda: self._rounds >= enough, _LINGER)

  def _heartbeat(self) -> Heartbeat:
    return dataclasses.replace(
      self._progress.heartbeat, beat=self._rounds, **self._ending_fields
    )

  def _send(self, key: str, value: str) -> None:
    self._client.key_value_set(key, value, allow_overwrite=True)

  def _publish(self) -> None:
    """Publishes this process's heartbeat, and reads those that it checks."""
    watched = _HEARTBEATS if not self._index else f"{_HEARTBEATS}/0"
    while not self._stopped.is_set():
      # Errors show as silence.
      with contextlib.suppress(jax.errors.JaxRuntimeError):
        text = json.dumps(dataclasses.asdict(self._heartbeat()))
        self._send(f"{_HEARTBEATS}/{self._index}/latest", text)
        self._received = {
          int(key.split("/")[-2]): Heartbeat(**json.loads(value))
          for key, value in self._client.key_value_dir_get(watched)
        }
        with self._published:
          self._rounds += 1
          self._published.notify_all()
      if self._leaving.wait(_PERIOD):
        self._stopped.wait(_PERIOD / 20)

  def _check(self) -> None:
    """Checks the heartbeats, whether or not the service answers."""
    last = time.monotonic()
    while not self._leaving.wait(_PERIOD):
      now = time.monotonic()
      if now - last > self._silence:
        host = self._progress.heartbeat.host
        self._end(
          Verdict(
            f"process {self._index} ({host}), this one, has not run for "
            f"{now - last:.0f} s; the others have given up on it"
          )
        )
      last = now
      verdict = self._detector.check(self._received, now)
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
        # JAX ends this process too, after a long trace of its threads; this
        # line comes first.
        last = self._received.get(0, Heartbeat())
        self._end(
          Verdict(
            f"process 0 ({last.host}) is gone; the last: {last.position()}"
          )
        )
      if text and not self._leaving.is_set():
        self._end(Verdict(**json.loads(text)))
      return

  def _broadcast(self, verdict: Verdict) -> None:
    """Sends the verdict of process 0 to the others."""
    text = json.dumps(dataclasses.asdict(verdict))
    with contextlib.suppress(jax.errors.JaxRuntimeError):
      for i in range(1, self._count):
        self._send(f"{_VERDICTS}/{i}", text)
    time.sleep(_LINGER)

  def _end(self, verdict: Verdict) -> NoReturn:
    self._ending.acquire()  # two threads may have a verdict; one prints it
    sys.stdout.flush()
    print(f"mn_jax: {verdict.line}", file=sys.stderr, flush=True)
    if not self._index:
      self._broadcast(verdict)
    os._exit(verdict.code)


@contextlib.contextmanager
def watched(stall_timeout: float) -> Iterator[Reached]:
  """Watches over the processes of a run in a `with` block.

  It yields a function of (phase, completed updates), to be called by the main
  thread whenever it enters another phase, and now and then within a long one.
  In a run of one process that does nothing, and there are no threads.

  Args:
    stall_timeout: seconds without progress in any process after which the run
      ends; phases that compile or read may take longer, see `liveness`. 0: only
      a process that is gone or does not run at all ends the run.
  """
  if not jax.distributed.is_initialized():
    yield lambda phase, step: None
    return
  watchdog = _Watchdog(stall_timeout)
  watchdog.start()
  try:
    yield watchdog.reached
  except (InputError, RunError) as error:
    watchdog.fail(str(error), 2 if isinstance(error, InputError) else 1)
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
  """Whether an error may mean no more than that another process is gone."""
  # A collective over Gloo that fails is a ValueError.
  own_errors = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
  return "Gloo" in str(error) or (
    isinstance(error, jax.errors.JaxRuntimeError)
    and not str(error).startswith(own_errors)
  )
