"""Compiled programs, kept on disk for later processes."""

import contextlib
import os

import jax

from mn_jax.data import store

_WORTH_KEEPING = 0.5  # seconds that a program took to compile


def keep(cache_dir: str = "") -> None:
  """Keeps the programs of this process, and takes those that are kept.

  Where the folder cannot be written, each process compiles its own: JAX would
  warn of every program.

  Args:
    cache_dir: see `store.cache_root`.
  """
  compiled = store.cache_root(cache_dir) / "compiled"
  with contextlib.suppress(OSError):
    compiled.mkdir(parents=True, exist_ok=True)
  if os.access(compiled, os.W_OK):
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update(
      "jax_persistent_cache_min_compile_time_secs", _WORTH_KEEPING
    )
