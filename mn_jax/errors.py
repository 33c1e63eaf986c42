"""InputError: what the user can fix, said in one line."""


class InputError(ValueError):
  """Something given to the program cannot be used.

  The message is one line: what was given, what was received and what is valid.
  Programs print it and exit with 2.
  """
