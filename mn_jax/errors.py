"""The one error that is the user's to mend."""


class InputError(ValueError):
  """Something given to the program cannot be used.

  The message is one line: what was given, what was received and what is valid.
  Programs print it and exit with 2.
  """
