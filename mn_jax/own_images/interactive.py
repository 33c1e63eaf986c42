"""Trains a run for Python code, such as a notebook, which may interrupt it.

Programs take signals over for the rest of the process (`commandline.signals`);
code that calls `mn_jax.fit` has a process of its own, which gets its handlers
back. Where training would be lost, the first signal is kept until it is saved;
everywhere else, and the second time, it does what it did before.
"""

import contextlib
import pathlib
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from types import FrameType
from typing import Any

from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.own_images import settings
from mn_jax.parallel import cluster, compile_cache
from mn_jax.run import training

_NUMBERS = (signal.SIGINT, signal.SIGTERM)
_SAVING = "mn_jax: saving, then stopping; once more stops at once"


def train(
  data: str,
  folder: pathlib.Path,
  given: Mapping[str, Any],
  console: Console,
) -> None:
  """Trains on a user's own images to the end, with what is chosen for them.

  Args:
    data: path of a folder, an archive or a table.
    folder: the workdir; a run that is there resumes.
    given: 'section.field' -> value, which the user has fixed.
    console: for people.

  Raises:
    InputError: for data, a field or a workdir that cannot be used.
    KeyboardInterrupt: after Ctrl-C, with all training saved.
  """
  if not cluster.is_one_process() or given.get("train.replicas", 1) != 1:
    raise InputError(
      "fit: got several processes or train.replicas; valid: mn-jax train, "
      "which has them, or a call for each seed"
    )
  interrupts = Interrupts()
  with interrupts.kept():
    config = settings.config(data, folder, given, console)
    compile_cache.keep(config.data.cache_dir)
    summaries = training.train_and_evaluate(
      config, folder, console=console, stop_requested=interrupts
    )
  if summaries is None:
    interrupts.raise_received(
      f"stopped and saved in {str(folder)!r}; the same call resumes"
    )


class Interrupts:
  """What the training loop asks, as `train.loop.StopRequested`.

  Attributes:
    received: the signal that was kept, or None.
  """

  def __init__(self) -> None:
    self.received: int | None = None
    self._unsaved = False
    self._before: dict[int, signal._HANDLER] = {}

  def __call__(self, step: int, saved: bool) -> bool:
    """Whether to save and return.

    Args:
      step: completed updates.
      saved: whether all of them are on disk.
    """
    del step
    self._unsaved = not saved
    return self.received is not None

  @contextlib.contextmanager
  def kept(self) -> Iterator[None]:
    """Keeps signals in a `with` block.

    It changes nothing in other threads than the main one, and nothing where
    signals are ignored or handled by something else than Python.
    """
    is_main = threading.current_thread() is threading.main_thread()
    for number in _NUMBERS if is_main else ():
      before = signal.getsignal(number)
      if before not in (None, signal.SIG_IGN):
        self._before[number] = before
        signal.signal(number, self._handle)
    try:
      yield
    finally:
      self._restore()

  def raise_received(self, message: str) -> None:
    """Ends what has stopped for a signal: raises it, once all is saved.

    Args:
      message: of the KeyboardInterrupt that Ctrl-C is.

    Raises:
      KeyboardInterrupt: unless SIGTERM ends the process.
    """
    if self.received == signal.SIGTERM:
      signal.raise_signal(self.received)
    raise KeyboardInterrupt(message)

  def _handle(self, number: int, frame: FrameType | None) -> None:
    if self._unsaved and self.received is None:
      self.received = number
      print(_SAVING, file=sys.stderr, flush=True)
      return
    self._restore()
    signal.raise_signal(number)

  def _restore(self) -> None:
    while self._before:
      signal.signal(*self._before.popitem())
