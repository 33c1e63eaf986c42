"""Tests of the TPU's depthwise convolution against plain loops in float64."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.ops import depthwise as dispatch
from mn_jax.ops import padding
from mn_jax.ops.tpu import depthwise
from tests.ops import depthwise_cases as cases


def width_of(name: str) -> int:
  return padding.out_size(*cases.case(name))[1]


@pytest.mark.parametrize(
  "name", [name for name in cases.CASES if width_of(name) > 1]
)
def test_values_and_gradients(name):
  width = width_of(name)
  columns = next(n for n in range(2, width + 1) if width % n == 0)
  cases.check(functools.partial(depthwise.blocked, columns=columns), name)


def test_blocks_may_be_whole_rows():
  columns = width_of("5x5-stride2")
  assert columns > 2
  cases.check(
    functools.partial(depthwise.blocked, columns=columns), "5x5-stride2"
  )


def test_columns_fill_a_matrix_unit_and_divide_the_width():
  assert depthwise.columns_per_block(128, 32, 112) == 4
  assert depthwise.columns_per_block(128, 16, 112) == 8
  assert depthwise.columns_per_block(128, 24, 56) == 4
  assert depthwise.columns_per_block(128, 16, 28) == 4
  assert depthwise.columns_per_block(128, 32, 25) == 1
  assert depthwise.columns_per_block(128, 64, 56) == 1
  assert depthwise.columns_per_block(128, 128, 56) == 1


def test_batches_that_do_not_fill_lanes_are_left_to_the_compiler():
  assert depthwise.columns_per_block(16, 32, 112) == 1
  assert depthwise.columns_per_block(192, 32, 112) == 1
  assert depthwise.columns_per_block(256, 32, 112) == 4


def test_bfloat16_rounds_the_kernel_gradient_of_each_column_alone():
  """The columns' sums are added in float32, so 8 of them lose no more."""
  _, window, stride, _ = cases.case("3x3")
  size = (16, 16)
  pad = padding.resolve("same", size, window, stride)
  arrays = [
    # Positive, so that nothing cancels; exact in bfloat16.
    np.asarray(jnp.asarray(np.abs(a), jnp.bfloat16), np.float64)
    for a in cases.inputs(size, window, stride, pad, batch=8)
  ]
  form = functools.partial(depthwise.blocked, columns=8)
  y, dx, dkernel = jax.jit(
    lambda *arrays: cases.compute(
      form, *arrays, stride, pad, dtype=jnp.bfloat16
    )
  )(*(jnp.asarray(a, jnp.bfloat16) for a in arrays))
  assert y.dtype == dx.dtype == dkernel.dtype == jnp.bfloat16
  _, _, expected = cases.reference(*arrays, stride, pad)
  # 2^-9 for each column's sum, and for their total.
  np.testing.assert_allclose(
    np.asarray(dkernel, np.float64), expected, rtol=2**-8
  )


def test_few_channels_are_blocks_on_tpus():
  conv = functools.partial(dispatch.depthwise_conv, padding=((1, 1), (1, 1)))

  def groups(images: int, width: int, channels: int) -> bool:
    x = jax.ShapeDtypeStruct((images, 8, width, channels), jnp.float32)
    kernel = jax.ShapeDtypeStruct((3, 3, 1, channels), jnp.float32)
    lowered = jax.jit(conv).trace(x, kernel).lower(lowering_platforms=("tpu",))
    return f"feature_group_count = {channels} " in lowered.as_text()

  assert not groups(128, 8, 16)
  assert groups(64, 8, 16)
  assert groups(128, 7, 16)
  assert groups(128, 8, 64)
