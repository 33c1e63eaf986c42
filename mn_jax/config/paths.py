"""Paths that a user gives, in an argument, a field or the environment."""

import os
import pathlib
import re

from mn_jax.errors import InputError

# One letter in front of the colon is a drive.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/.*", re.DOTALL)
_VARIABLE = re.compile(r"\$([A-Za-z_]\w*|\{\w*\})")


def local(text: str, name: str = "") -> pathlib.Path:
  """Reads a path of this machine's file system; ~ is the home folder.

  A variable that no shell has expanded would become a folder of its name, where
  nobody would look.

  Args:
    text: the path.
    name: of what it is given as, for errors.

  Raises:
    InputError: for a path of these kinds.
  """
  variables = any(map(_VARIABLE.fullmatch, text.split("/")))
  refuse_url(text, name)
  if variables or os.path.expandvars(text) != text:
    valid = "a path whose variables are expanded"
  elif not text or "\0" in text:
    valid = "a path"
  else:
    try:
      return pathlib.Path(text).expanduser()
    except RuntimeError:
      valid = "a path without ~, as that home folder is not known"
  raise _error(text, name, valid)


def refuse_url(text: str, name: str) -> None:
  """Refuses an address in a bucket, which would become a local folder `gs:`.

  Args:
    text: a path of this or another machine.
    name: of what it is given as.

  Raises:
    InputError: for what starts with a scheme, such as gs:// or file:///.
  """
  if _URL.fullmatch(text):
    raise _error(
      text, name, "a local path, or that of a mount, such as of gcsfuse or s3fs"
    )


def _error(text: str, name: str, valid: str) -> InputError:
  return InputError(f"{name and f'{name}: '}got {text!r}; valid: {valid}")
