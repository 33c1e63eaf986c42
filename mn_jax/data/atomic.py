"""Writes files that appear complete or not at all.

The content goes to `NAME.partial` in the same folder, which takes the name's
place once everything is written. A process that is killed can leave the
`.partial` behind, never half a file under the name itself.
"""

import contextlib
import errno
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, BinaryIO


@contextlib.contextmanager
def writing(path: pathlib.Path, *, fsync: bool = False) -> Iterator[BinaryIO]:
  """Opens a file that replaces `path` when the block ends without an error.

  Missing parent folders are created. After an error `path` is as it was and
  nothing is left beside it. A folder of that name is noticed before the block,
  so that of two files that are written together neither takes its place.

  Args:
    path: of the final file.
    fsync: whether the content must be on the disk before it takes the name.
  """
  path.parent.mkdir(parents=True, exist_ok=True)
  if path.is_dir():
    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
  partial = path.with_name(f"{path.name}.partial")
  try:
    with partial.open("wb") as file:
      yield file
      if fsync:
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
  finally:
    partial.unlink(missing_ok=True)


def write_bytes(path: pathlib.Path, content: bytes) -> None:
  """Writes a file of bytes."""
  with writing(path) as file:
    file.write(content)


def write_text(path: pathlib.Path, text: str) -> None:
  """Writes a text file in UTF-8; what is no text in it is escaped."""
  write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: pathlib.Path, value: Any) -> None:
  """Writes a JSON file, one field a line; refuses numbers that JSON lacks."""
  write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")
