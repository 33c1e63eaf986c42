import importlib.util

import jax
import jax.numpy as jnp
import pytest

from mn_jax.errors import RunError
from mn_jax.parallel import accelerators
from mn_jax.perf.program import registers, targets

# What ptxas 12.9 says of two kernels.
OUTPUT = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'loop_add_fusion' for 'sm_90a'
ptxas info    : Function properties for loop_add_fusion
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 18 registers, used 0 barriers
ptxas info    : Compile time = 4.321 ms
ptxas info    : Compiling entry function 'product' for 'sm_90a'
ptxas info    : Function properties for product
    96 bytes stack frame, 88 bytes spill stores, 92 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 4224 bytes smem
"""


def test_what_ptxas_says():
  plain, spilling = registers.parse(OUTPUT)
  assert plain == {
    "name": "loop_add_fusion",
    "registers": 18,
    "shared": 0,
    "stack": 0,
    "spill_stores": 0,
    "spill_loads": 0,
  }
  assert spilling == {
    "name": "product",
    "registers": 255,
    "shared": 4224,
    "stack": 96,
    "spill_stores": 88,
    "spill_loads": 92,
  }


def test_no_ptx_is_an_error(tmp_path):
  with pytest.raises(RunError, match="no PTX"):
    registers.read(tmp_path, "ptxas")


def test_every_kernel_of_a_compiled_program(tmp_path):
  chip = accelerators.ACCELERATORS["H200"]
  if not targets.can_compile(chip):
    pytest.skip("XLA's CUDA plugin is not installed")
  if importlib.util.find_spec("nvidia.cuda_nvcc") is None:
    pytest.skip("ptxas is not installed")
  sharding = jax.sharding.SingleDeviceSharding(targets.devices(chip, (1, 1))[0])
  x = jax.ShapeDtypeStruct((64, 64), jnp.float32, sharding=sharding)
  lowered = jax.jit(lambda x: (x + 1, jnp.sum(x))).lower(x)
  lowered.compile(compiler_options=registers.compiler_options(tmp_path))
  found = registers.read(tmp_path, registers.find_ptxas())
  assert found
  assert all(0 < kernel["registers"] <= 255 for kernel in found)
