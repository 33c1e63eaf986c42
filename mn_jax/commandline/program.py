"""How programs start and end: signals, streams, exit codes."""

import codecs
import contextlib
import io
import os
import select
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from mn_jax.commandline import failures, signals
from mn_jax.errors import InputError, RunError
from mn_jax.observe import escape

RESUMES = "the same command resumes"
# A handler of what an encoding lacks: bytes of names that are no text stay as
# they are, other characters are escaped.
FILE_NAMES = "mn_jax.file_names"
_BROKEN_PIPE = 128 + signal.SIGPIPE


def run(
  name: str,
  program: Callable[[Sequence[str] | None], int | None],
  argv: Sequence[str] | None = None,
  *,
  hint: str = "",
  unwinds: bool = True,
) -> int:
  """Runs a program and returns its exit code.

  Args:
    name: of the program, for messages.
    program: returns its exit code, None for 0; raises an InputError for what
      its user can fix.
    argv: its arguments; None for those of the process, of which it takes over
      the signals.
    hint: what a user should know after Ctrl-C or SIGTERM, such as `RESUMES`.
    unwinds: whether these are raised in it, see `signals`.

  Returns:
    What the program returned, 2 after an InputError, 1 after a RunError or a
    failure of the machine, 130 after Ctrl-C, 143 after SIGTERM, 141 if nobody
    reads its output any longer.
  """
  _open_closed_streams()
  if argv is None:
    signals.take_over(hint)
  for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
      # Such as names of classes on a terminal that lacks their letters.
      stream.reconfigure(errors="backslashreplace")
  # Pillow warns of odd metadata in images that it reads all the same.
  warnings.filterwarnings("ignore", module="PIL")
  if signals.taken_over():
    failures.silence_echoes()
  try:
    with signals.raising() if unwinds else contextlib.nullcontext():
      code = program(argv) or 0
      sys.stdout.flush()
      return code
  except (InputError, RunError) as error:
    report(name, error)
    return 2 if isinstance(error, InputError) else 1
  except BrokenPipeError:
    if not _silence_broken_streams():
      raise
    return _BROKEN_PIPE
  except KeyboardInterrupt as error:
    code = 143 if isinstance(error, signals.Terminated) else 130
    return _end(code, f"{name}: stopped{hint and f'; {hint}'}")
  except Exception as error:
    reason = failures.reason(error)
    if reason is None:
      raise
    advice = hint and f"; {hint} once this is fixed"
    return _end(1, f"{name}: {escape.printable(reason)}{advice}")


def report(name: str, error: Exception) -> None:
  """Prints an error as one line."""
  text = " ".join(line.strip() for line in str(error).splitlines())
  print(f"{name}: {escape.printable(text)}", file=sys.stderr)


def _open_closed_streams() -> None:
  """Gives a process that was started without streams some that keep nothing.

  Else the next file that is opened would get what is printed.
  """
  for number, name in ((1, "stdout"), (2, "stderr")):
    if getattr(sys, name) is not None:
      continue
    file = os.open(os.devnull, os.O_WRONLY)
    try:
      os.fstat(number)
    except OSError:
      os.dup2(file, number)
      os.close(file)
      file = number
    setattr(sys, name, os.fdopen(file, "w", encoding="utf-8"))


def _end(code: int, text: str) -> int:
  """Prints a line; returns the exit code, or ends the process itself.

  It does so without exit handlers: they might wait, or fail for the same reason
  as the program.
  """
  if signals.taken_over():
    signals.end(code, text)
  print(text, file=sys.stderr)
  return code


def _encode_file_name(error: UnicodeError) -> tuple[str | bytes, int]:
  try:
    return codecs.lookup_error("surrogateescape")(error)
  except UnicodeError:
    return codecs.backslashreplace_errors(error)


codecs.register_error(FILE_NAMES, _encode_file_name)


def _silence_broken_streams() -> bool:
  """Lets nothing more be written to them; returns whether there are any."""
  found = False
  for stream in (sys.stdout, sys.stderr):
    poller = select.poll()
    poller.register(stream.fileno(), 0)  # for errors alone
    if poller.poll(0):
      found = True
      # What is still in the buffer goes there when Python ends.
      os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
  return found
