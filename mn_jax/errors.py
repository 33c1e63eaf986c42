"""Errors that are said in one line: of the user, and of the machine."""


class InputError(ValueError):
  """Something given to the program cannot be used.

  The message is one line: what was given, what was received and what is valid.
  Programs print it and exit with 2.
  """


class RunError(RuntimeError):
  """Something failed although all that was given is right: a disk, memory.

  The message is one line: what failed and what to do. Programs print it and
  exit with 1.
  """


def in_one_line(error: Exception) -> str:
  """Returns the start of what an exception says, or its type if it is mute."""
  return " ".join(str(error).split())[:200] or type(error).__name__
