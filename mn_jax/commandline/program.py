"""How programs end: exit codes, and one line for what is wrong."""

import sys
import warnings
from collections.abc import Callable, Sequence

from mn_jax.errors import InputError, RunError

RESUMES = "the same command resumes"


def run(
  name: str,
  program: Callable[[Sequence[str] | None], int | None],
  argv: Sequence[str] | None = None,
  *,
  hint: str = "",
) -> int:
  """Runs a program and returns its exit code.

  Args:
    name: of the program, for messages.
    program: returns its exit code, None for 0; raises an InputError for what
      its user can fix.
    argv: its arguments; None for those of the process.
    hint: what a user should know after Ctrl-C, such as `RESUMES`.

  Returns:
    What the program returned, 2 after an InputError, 1 after a RunError, 130
    after Ctrl-C.
  """
  # Pillow warns of odd metadata in images that it reads all the same.
  warnings.filterwarnings("ignore", module="PIL")
  try:
    return program(argv) or 0
  except (InputError, RunError) as error:
    report(name, error)
    return 2 if isinstance(error, InputError) else 1
  except KeyboardInterrupt:
    print(f"{name}: stopped{hint and f'; {hint}'}", file=sys.stderr)
    return 130


def report(name: str, error: Exception) -> None:
  """Prints an error as one line."""
  text = " ".join(line.strip() for line in str(error).splitlines())
  print(f"{name}: {text}", file=sys.stderr)
