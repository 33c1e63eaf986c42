"""The persistent cache of compiled programs."""

import contextlib
import os

import jax

from mn_jax.data import store

_MIN_COMPILE_SECONDS = 0.5  # of a program that is worth keeping


def keep(cache_dir: str = "") -> None:
  """Keeps compiled programs on disk, and reuses those of earlier processes.

  They lie beside the packed images. Where that folder cannot be written, each
  process compiles its own: JAX would warn of every program.

  Args:
    cache_dir: folder of the cache; empty: the default of `store.cache_root`.
  """
  compiled = store.cache_root(cache_dir) / "compiled"
  with contextlib.suppress(OSError):
    compiled.mkdir(parents=True, exist_ok=True)
  if os.access(compiled, os.W_OK):
    jax.config.update("jax_compilation_cache_dir", str(compiled))
    jax.config.update(
      "jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS
    )
