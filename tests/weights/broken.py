"""Files that are no files of weights, and how they are answered."""

import io
import pathlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from mn_jax.errors import InputError


def refuses(
  read: Callable[[pathlib.Path], object], path: pathlib.Path, message: str
) -> None:
  """Whether reading ends in one line that names the file and the reason."""
  with pytest.raises(InputError, match=message) as caught:
    read(path)
  text = str(caught.value)
  assert "\n" not in text
  assert len(text) < 600 + len(str(path))
  assert text.startswith(f"model.weights: got {str(path)!r}, which ")
  assert "; valid: " in text


def png():
  buffer = io.BytesIO()
  Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(buffer, "PNG")
  return buffer.getvalue()


# A pickle that would make a folder in the working directory.
_PICKLE = b"cos\nmkdir\n(Vran\ntR."
FOREIGN = {
  "empty": b"",
  "short": b"\x89HDF",
  "signature": b"\x89HDF\r\n\x1a\n",
  "random": np.random.default_rng(1).bytes(5000),
  "text": b"<html>\n<title>404: Not\n Found</title>\n" * 20,
  "png": png(),
  "pickle": _PICKLE,
  "zip": b"PK\x03\x04" + bytes(100),
}
