"""Tests that links of networks' shapes become programs for GPUs."""

import functools

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.pallas import triton

from mn_jax.models import layers
from mn_jax.ops import padding
from mn_jax.ops.gpu import chain, fused


def _lowered(compute, *shapes) -> str:
  """A program for an H200, which need not be there."""
  device = jax.sharding.AbstractDevice(
    device_kind="NVIDIA H200", num_cores=None, platform="gpu"
  )
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
  with jax.sharding.use_abstract_mesh(mesh):
    traced = jax.jit(compute).trace(*shapes)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


def _both_ways(convolution, activation, x, affine, kernel):
  out, pull = jax.vjp(
    lambda x, affine, kernel: fused.conv(
      convolution, x, kernel, affine, activation
    ),
    x,
    affine,
    kernel,
  )
  return out, pull(out)


@pytest.mark.parametrize(
  ("channels", "size", "window", "stride", "activation"),
  [
    (64, 112, 3, 2, layers.relu6),
    (24, 25, 3, 1, None),
    (72, 14, 5, 2, layers.hard_swish),
  ],
)
def test_depthwise(channels, size, window, stride, activation):
  pad = padding.resolve("same", (size, size), (window, window), stride)
  vector = jax.ShapeDtypeStruct((channels,), jnp.float32)
  text = _lowered(
    functools.partial(_both_ways, fused.Depthwise(stride, pad), activation),
    jax.ShapeDtypeStruct((8, size, size, channels), jnp.bfloat16),
    (vector, vector),
    jax.ShapeDtypeStruct((window, window, 1, channels), jnp.bfloat16),
  )
  assert text.count(f"@{triton.CUSTOM_CALL_TARGET_NAME}") == 3
  assert "stablehlo.convolution" not in text
  # Sums in any order would differ from run to run.
  assert "atomic" not in text


@pytest.mark.parametrize(
  ("channels", "features", "size"), [(24, 144, 25), (1024, 1000, 7)]
)
def test_pointwise(channels, features, size):
  vector = jax.ShapeDtypeStruct((channels,), jnp.float32)
  text = _lowered(
    functools.partial(_both_ways, fused.Pointwise(), layers.relu6),
    jax.ShapeDtypeStruct((8, size, size, channels), jnp.bfloat16),
    (vector, vector),
    jax.ShapeDtypeStruct((channels, features), jnp.bfloat16),
  )
  assert text.count(f"@{triton.CUSTOM_CALL_TARGET_NAME}") == 3
  assert "stablehlo.dot_general" not in text
  assert "atomic" not in text
  # What `perf.program` counts.
  assert text.count(str(2 * 8 * size**2 * channels * features)) == 3


def test_devices_that_run_the_kernels():
  class Device:
    def __init__(self, platform, kind, capability):
      self.platform, self.device_kind = platform, kind
      self.compute_capability = capability

  assert chain.supports(Device("gpu", "NVIDIA H200", "9.0"))
  assert chain.supports(Device("gpu", "NVIDIA B200", "10.0"))
  assert not chain.supports(Device("gpu", "NVIDIA GeForce RTX 2080", "7.5"))
  assert not chain.supports(Device("gpu", "gfx942", "gfx942"))
  assert not chain.supports(jax.devices()[0])
