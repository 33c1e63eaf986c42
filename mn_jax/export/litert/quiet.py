"""Keeps what LiteRT always says from standard error.

It tells of its CPU kernels when a process opens its first file, from C++, and
has no setting for that.
"""

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator

_STDERR = 2
_SAID = b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU."

# The stream is one of the process: two threads would mix up whose it was.
_LOCK = threading.RLock()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
  """Delays what is written to standard error, and leaves that line out."""
  with _LOCK, tempfile.TemporaryFile(prefix="mn_jax_stderr") as kept:
    sys.stderr.flush()
    real = os.dup(_STDERR)
    os.dup2(kept.fileno(), _STDERR)
    try:
      yield
    finally:
      sys.stderr.flush()
      os.dup2(real, _STDERR)
      os.close(real)
      kept.seek(0)
      for line in kept:
        if line.strip() != _SAID:
          os.write(_STDERR, line)
