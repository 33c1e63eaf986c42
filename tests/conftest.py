"""What all tests share: strict JAX, four CPU devices, caches of their own."""

import os
import pathlib

import pytest

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"


def pytest_configure(config):
  import jax

  # Set before the first computation, and so before any test module is read.
  jax.config.update("jax_num_cpu_devices", 4)
  jax.config.update("jax_numpy_rank_promotion", "raise")
  jax.config.update("jax_numpy_dtype_promotion", "strict")
  # Compiling takes most of the time, half of it to optimise programs that run
  # once. The environment variable reaches the processes that tests start.
  jax.config.update("jax_disable_most_optimizations", True)
  os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory):
  """Compiled programs and packed data are shared within a run, not beyond.

  The environment variables reach the processes that tests start.
  """
  import jax

  base = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    base = base.parent  # of all workers
  root = base / "shared_cache"
  root.mkdir(exist_ok=True)
  os.environ["MN_JAX_CACHE"] = str(root)
  jax.config.update("jax_compilation_cache_dir", str(root / "compiled"))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.05)


@pytest.fixture(scope="session")
def shared_data() -> pathlib.Path:
  """A folder of real images beside the checkout; skips where there is none."""
  folder = SHARED / "data"
  if not folder.is_dir():
    pytest.skip(f"no real images at {folder}")
  return folder


@pytest.fixture(scope="session")
def shared_weights() -> pathlib.Path:
  """A folder of published weights beside the checkout; skips without one."""
  folder = SHARED / "weights"
  if not folder.is_dir():
    pytest.skip(f"no published weights at {folder}")
  return folder


@pytest.fixture
def standard_promotion():
  """For code that runs Optax's Adam, which multiplies integers by floats."""
  import jax

  with jax.numpy_dtype_promotion("standard"):
    yield
