"""Settings of the C allocator."""

import subprocess
import sys

import pytest

from mn_jax.parallel import allocator

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


@pytest.mark.skipif(
  not sys.platform.startswith("linux"), reason="a setting of glibc"
)
def test_freed_memory_is_handed_out_again():
  """Without it each of 20 blocks of 64 MiB faults in thousands of pages."""
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True
  )
  effective, faults = done.stdout.split()
  if effective != "True":
    pytest.skip("another C library")
  assert int(faults) < 1000


def test_other_systems_are_left_alone(monkeypatch):
  monkeypatch.setattr(sys, "platform", "darwin")
  assert not allocator.keep_freed_memory()
