"""Layers of files for other runtimes are one plain convolution each."""

import jax
import jax.numpy as jnp
import pytest
from jax import export

from mn_jax.ops.depthwise import depthwise_conv
from mn_jax.ops.platforms import PORTABLE
from mn_jax.ops.pointwise import pointwise_conv


def depthwise(x, kernel):
  return depthwise_conv(x, kernel, padding="same")


# Few channels and many columns, which platforms divide into blocks.
@pytest.mark.parametrize(
  ("function", "kernel", "groups"),
  [(depthwise, (3, 3, 1, 8), 8), (pointwise_conv, (8, 16), 1)],
)
def test_layers_are_one_convolution(function, kernel, groups):
  shapes = (
    jax.ShapeDtypeStruct(shape, jnp.float32)
    for shape in ((2, 56, 56, 8), kernel)
  )
  exported = export.export(jax.jit(function), platforms=[PORTABLE])(*shapes)
  text = exported.mlir_module()
  assert text.count("stablehlo.convolution") == 1
  assert f"feature_group_count = {groups} " in text
  assert "stablehlo.dot_general" not in text
