"""What all tests share: strict JAX, one CPU device, a cache of programs."""

import contextlib
import os
import pathlib

import pytest

SHARED = pathlib.Path(__file__).resolve().parents[2] / "shared"

# There are this many CPU devices; a test sees the first of them, or as many as
# its mark `devices(count)` says.
_DEVICES = 4
_CACHE_BYTES = 2 << 30
_MIN_COMPILE_SECONDS = 0.05  # of a program that is kept

_REAL = {}  # JAX's own functions


def pytest_configure(config):
  import jax

  # Set before the first computation, and so before any test module is read.
  jax.config.update("jax_num_cpu_devices", _DEVICES)
  jax.config.update("jax_numpy_rank_promotion", "raise")
  jax.config.update("jax_numpy_dtype_promotion", "strict")
  # Compiling takes most of the time, half of it to optimise programs that run
  # once. The environment variable reaches the processes that tests start.
  jax.config.update("jax_disable_most_optimizations", True)
  os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"


def pytest_runtest_setup(item):
  """Shows the test, and the fixtures made for it, its number of devices."""
  mark = item.get_closest_marker("devices")
  _show_devices(1 if mark is None else mark.args[0])


def _show_devices(count):
  import jax

  for name in ("devices", "local_devices"):
    found = _REAL.setdefault(name, getattr(jax, name))
    setattr(jax, name, lambda *args, f=found, **kw: f(*args, **kw)[:count])
  jax.device_count = jax.local_device_count = lambda *args: count


@pytest.fixture(scope="session", autouse=True)
def _caches(tmp_path_factory):
  """Packed data is shared within a run, compiled programs beyond it too.

  JAX's key of a program includes all that it depends on, the versions of JAX
  and XLA among them. The environment variables reach the processes that tests
  start: they look for programs beside packed data, and find the same ones.
  """
  import jax

  from mn_jax.parallel import compile_cache

  base = tmp_path_factory.getbasetemp()
  if "PYTEST_XDIST_WORKER" in os.environ:
    base = base.parent  # of all workers
  root = base / "shared_cache"
  root.mkdir(exist_ok=True)
  os.environ["MN_JAX_CACHE"] = str(root)
  user = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
  programs = pathlib.Path(user) / "mn_jax" / "test_programs" / jax.__version__
  programs.mkdir(parents=True, exist_ok=True)
  with contextlib.suppress(FileExistsError):  # another worker's
    (root / "compiled").symlink_to(programs)
  jax.config.update("jax_compilation_cache_dir", str(programs))
  jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
  os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(_CACHE_BYTES)
  # A program that is called in this process sets it too, to more.
  compile_cache._MIN_COMPILE_SECONDS = _MIN_COMPILE_SECONDS
  jax.config.update(
    "jax_persistent_cache_min_compile_time_secs", _MIN_COMPILE_SECONDS
  )


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


@pytest.fixture(scope="session")
def run(tmp_path_factory):
  """The workdir of a small run on patches of slides, for who only reads it.

  Nothing but its folder `inspect` is written.
  """
  import jax

  from tests import toy_transfer as toy

  workdir = tmp_path_factory.mktemp("runs") / "run"
  config = toy.load(model__name="simple_cnn", model__shallow=False)
  with jax.numpy_dtype_promotion("standard"):
    toy.run(config, workdir)
  return workdir
