"""Tests of the C allocator's settings, in processes of their own."""

import subprocess
import sys

import pytest

_PROGRAM = """
import resource
from mn_jax.parallel import allocator

effective = allocator.keep_freed_memory()
block = b"x" * (64 << 20)
del block
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
  block = b"x" * (64 << 20)
  del block
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(effective, faults)
"""


def _run(program: str) -> list[str]:
  done = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  return done.stdout.split()


@pytest.mark.skipif(
  not sys.platform.startswith("linux"), reason="a setting of glibc"
)
def test_freed_memory_is_handed_out_again():
  """Without it each of 20 blocks of 64 MiB faults in thousands of pages."""
  effective, faults = _run(_PROGRAM)
  if effective != "True":
    pytest.skip("another C library")
  assert int(faults) < 1000


def test_other_systems_are_left_alone():
  program = "import sys; sys.platform = 'darwin'\n" + _PROGRAM
  assert _run(program)[0] == "False"
