"""Failures of the machine, such as a full disk, as one line.

Such an error reaches the main thread as an OSError, or as one of tensorstore,
which writes checkpoints in threads of its own. Until it does, these threads
print the same error, with a trace each.
"""

import contextlib
import errno
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterator

from absl import logging as absl_logging

from mn_jax.errors import InputError, RunError
from mn_jax.observe import escape

_NUMBERS = frozenset(
  {
    *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO),
    *(errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EBUSY),
    *(errno.ESTALE, errno.ENXIO, errno.ENODEV, errno.ENOTCONN, errno.ENOMEM),
    *(errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT, errno.EHOSTDOWN),
  }
)
_TENSORSTORE = re.compile(r"\[os_error_code='(\d+)'\]")
# Files of Orbax that log what they raise in the main thread afterwards.
_ECHOES = ("future.py", "async_checkpointer.py", "checkpoint_manager.py")
_FILE = re.compile(r'local file "([^"]*)"')


def reason(error: BaseException | None) -> str | None:
  """Says what the machine did not do; None if it is an error of another kind.

  Args:
    error: an exception, or what it was raised for.
  """
  found = None
  while error is not None:
    number, path = _parse(error)
    if number in _NUMBERS:
      if path:
        return f"{os.strerror(number)}: {path}"
      found = found or os.strerror(number)
    error = error.__cause__ or error.__context__
  return found


@contextlib.contextmanager
def as_run_error() -> Iterator[None]:
  """Raises a `RunError` in place of a failure of the machine in a block."""
  try:
    yield
  except (InputError, RunError):
    raise
  except Exception as error:
    text = reason(error)
    if text is None:
      raise
    raise RunError(escape.printable(text)) from error


def silence_echoes() -> None:
  """Lets threads print nothing of failures that the main thread will raise."""
  for logger in (absl_logging.get_absl_logger(), logging.getLogger("asyncio")):
    logger.addFilter(_is_news)
  sys.unraisablehook = _without_closed_loops(sys.unraisablehook)


def _parse(error: BaseException) -> tuple[int | None, str]:
  """The number of the system's error, or None, and the file, or ''."""
  if isinstance(error, MemoryError):
    return errno.ENOMEM, ""
  if isinstance(error, OSError):
    return error.errno, "" if error.filename is None else str(error.filename)
  match = _TENSORSTORE.search(str(error))
  if match is None:
    return None, ""
  file = _FILE.search(str(error))
  return int(match[1]), file[1] if file else ""


def _is_news(record: logging.LogRecord) -> bool:
  if not record.exc_info:
    return True
  echo = "orbax" in record.pathname and record.filename in _ECHOES
  return not (echo or reason(record.exc_info[1]))


def _without_closed_loops(hook: Callable) -> Callable:
  """The hook for exceptions that nobody catches, without a kind of them.

  When a write fails, its event loop is closed, and tensorstore cannot tell it
  of the others any longer.
  """

  def report(unraisable) -> None:
    frames = traceback.extract_tb(unraisable.exc_traceback)
    if not any(frame.name == "call_soon_threadsafe" for frame in frames):
      hook(unraisable)

  return report
