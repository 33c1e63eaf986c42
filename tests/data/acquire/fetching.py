"""Fetching a file from `file_server`, and what the tests look at after it."""

import hashlib
import pathlib
from collections.abc import Callable

import numpy as np
import pytest

from mn_jax.data.acquire import download
from mn_jax.errors import InputError
from tests import file_server

SIZE = 1_000_003
CONTENT = np.random.default_rng(0).bytes(SIZE)
OTHER = np.random.default_rng(1).bytes(SIZE)


def digest(content: bytes, kind: str = "sha256") -> download.Checksum:
  """What these bytes are known by."""
  return download.Checksum(kind, hashlib.new(kind, content).hexdigest())


def get(
  site: file_server.Site,
  path: pathlib.Path,
  *,
  content: bytes = CONTENT,
  tries: int = 3,
  pause: float = 0.0,
  timeout: float = 20.0,
  progress: download.Progress | None = None,
  max_bytes: int = 1 << 30,
) -> None:
  """Fetches the site's file, expecting `content`."""
  download.download(
    site.url,
    path,
    digest=digest(content),
    tries=tries,
    pause=pause,
    timeout=timeout,
    progress=progress,
    max_bytes=max_bytes,
  )


def left(path: pathlib.Path) -> list[str]:
  """What lies beside the file, but its lock."""
  names = {p.name for p in path.parent.iterdir()} - {f"{path.name}.lock"}
  return sorted(names)


def refuses(call: Callable[[], None], message: str) -> str:
  """The one line of the InputError that `call` ends in."""
  with pytest.raises(InputError, match=message) as caught:
    call()
  assert "\n" not in str(caught.value)
  return str(caught.value)
