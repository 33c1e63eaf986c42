"""What Ctrl-C and SIGTERM do in each phase of a program.

Once a program has taken them over, they end it at once with exit code 130 or
143. That loses nothing: whatever is written takes its name when it is complete,
so the same command resumes. Where something would be lost, a program holds
them: it learns of the first one and saves. Where something has to be tidied up,
such as processes that it has started, they are raised. A second Ctrl-C ends
every program at once.

A thread of its own receives them as well, because the main one runs no Python
while it compiles, for example.
"""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

_CODES = {signal.SIGINT: 130, signal.SIGTERM: 143}
_FLUSH_SECONDS = 1.0
_SHOW_CURSOR = "\x1b[?25h"  # which progress bars hide


class Terminated(KeyboardInterrupt):
  """SIGTERM, where signals are raised."""


class _State:
  """Of this process; changed by the main thread alone.

  No dataclass: its module takes longer to import than all that is needed here,
  and until then Python receives the signals.

  Attributes:
    taken_over: whether signals come here.
    held, raised: whether the main thread holds them, or wants them raised;
      otherwise they end the process.
    passed_on: whether Ctrl-C is also sent on as SIGTERM, to JAX.
    first: the first signal that did not end the process.
    hint: what a user should know when it does.
  """

  taken_over: bool = False
  held: bool = False
  raised: bool = False
  passed_on: bool = False
  first: int | None = None
  hint: str = ""


_state = _State()
_ending = threading.Lock()


def take_over(hint: str = "") -> None:
  """Takes over Ctrl-C and SIGTERM, for the rest of this process.

  Args:
    hint: what a user should know when they end it.
  """
  _state.hint = hint
  if _state.taken_over:
    return
  _state.taken_over = True
  receiver, sender = os.pipe()
  os.set_blocking(sender, False)
  for number in _CODES:
    signal.signal(number, _handle)
  signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
  threading.Thread(target=_receive, args=(receiver,), daemon=True).start()


def taken_over() -> bool:
  """Whether they are taken over."""
  return _state.taken_over


def hold(wanted: bool, *, pass_on: bool = False) -> bool:
  """Holds signals from now on, or lets them end the process again.

  Args:
    wanted: whether to hold them.
    pass_on: whether Ctrl-C is also sent on as SIGTERM, which JAX has taken over
      in runs of several processes.

  Returns:
    Whether one has come that was held.
  """
  _state.held, _state.passed_on = wanted, pass_on
  return _state.first is not None


@contextlib.contextmanager
def raising() -> Iterator[None]:
  """Raises the first signal in a `with` block.

  It is a KeyboardInterrupt, for SIGTERM a `Terminated`. Later ones are held,
  for whoever is tidying up.
  """
  _state.raised = True
  try:
    yield
  finally:
    _state.raised = False


def exit_code() -> int:
  """The exit code of a program that has stopped for a signal."""
  return 130 if _state.first == signal.SIGINT else 143


def end(code: int, text: str) -> None:
  """Ends this process at once, with what it has printed so far.

  It does so once; while it does, further calls return.

  Args:
    code: exit code.
    text: what is said on standard error.
  """
  if not _ending.acquire(blocking=False):
    return
  # Nobody waits for locks that the main thread may hold for ever.
  flushing = threading.Thread(target=_flush, args=(text,), daemon=True)
  with contextlib.suppress(RuntimeError):  # Python is ending already
    flushing.start()
    flushing.join(_FLUSH_SECONDS)
  os._exit(code)


def _flush(text: str) -> None:
  with contextlib.suppress(OSError, ValueError):
    if sys.stdout.isatty():
      sys.stdout.write(_SHOW_CURSOR)
    sys.stdout.flush()
  with contextlib.suppress(OSError, ValueError):
    print(text, file=sys.stderr, flush=True)


def _stop(number: int) -> None:
  hint = _state.hint and f"; {_state.hint}"
  end(_CODES[number], f"mn_jax: stopped{hint}")


def _handle(number: int, _) -> None:
  """Receives a signal in the main thread, between two of its instructions."""
  if not (_state.held or _state.raised):
    _stop(number)
  if _state.first is None:
    _state.first = number
  if _state.raised:
    _state.raised, _state.held = False, True
    raise KeyboardInterrupt if number == signal.SIGINT else Terminated
  if _state.passed_on and number == signal.SIGINT:
    signal.raise_signal(signal.SIGTERM)


def _receive(receiver: int) -> None:
  """Receives all signals, whatever the main thread does."""
  interrupts = 0
  while True:
    (number,) = os.read(receiver, 1)
    interrupts += number == signal.SIGINT
    if number in _CODES and (
      interrupts > 1 or not (_state.held or _state.raised)
    ):
      _stop(number)
