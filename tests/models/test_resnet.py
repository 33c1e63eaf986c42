"""Tests of the ResNets."""

import functools

import jax
import numpy as np
import pytest
from jax import lax

from mn_jax.models import layers, resnet
from tests.models import networks


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_feature_maps(name):
  size = 65  # even and odd maps
  maps = networks.maps(networks.build(name, width=0.25), size)
  stages = resnet.STAGES[int(name.removeprefix("resnet"))]
  assert set(maps) == {
    "stem",
    *(f"block{i}" for i in range(sum(stages))),
    "pooled",
  }
  halved = [-(-size // 2**i) for i in range(1, 6)]
  assert maps["stem"] == (halved[0], halved[0], 16)
  factor = 4 if name == "resnet50" else 1
  for stage, i in enumerate(np.cumsum(stages) - 1):
    n = halved[stage + 1]
    assert maps[f"block{i}"] == (n, n, 16 * 2**stage * factor)


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_place_of_a_bottlenecks_stride(stride_in_1x1):
  module = networks.build("resnet50", stride_in_1x1=stride_in_1x1)
  outputs = {x.path: x.output[0] for x in networks.layers(module, 64)}
  # At 64 pixels the first stage has 16, the second 8.
  for block, before, after in ((0, 16, 16), (3, 16, 8), (4, 8, 8), (7, 8, 4)):
    path = f"backbone/block{block}"
    first = after if stride_in_1x1 else before
    sizes = [outputs[f"{path}/conv{i}/conv"] for i in range(3)]
    assert sizes == [first, after, after]


@pytest.mark.parametrize(
  ("bottleneck", "stride_in_1x1"), [(False, False), (True, False), (True, True)]
)
def test_block_written_out(bottleneck, stride_in_1x1):
  """At an even size, where symmetric padding is not TensorFlow's."""
  unit = functools.partial(
    layers.ConvBN, norm=layers.BatchNorm, padding="symmetric"
  )
  block = resnet.ResidualBlock(4, 2, bottleneck, stride_in_1x1, unit)
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, 8, 8, 3)).astype(np.float32)
  values = jax.tree.map(
    lambda v: (
      rng.uniform(0.5, 1.5, v.shape).astype(np.float32)
      * (rng.choice([-1, 1], v.shape).astype(np.float32) if v.ndim > 1 else 1)
    ),
    jax.eval_shape(lambda x: block.init(jax.random.key(0), x, False), x),
  )

  def unit(name, x, stride):
    params, stats = (values[k][name] for k in ("params", "batch_stats"))
    kernel, norm = params["conv"]["kernel"], params["norm"]
    pad = kernel.shape[0] // 2
    y = lax.conv_general_dilated(
      x,
      kernel,
      (stride, stride),
      ((pad, pad), (pad, pad)),
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    stats = stats["norm"]
    y = (np.asarray(y) - stats["mean"]) / np.sqrt(stats["var"] + 1e-3)
    return y * norm["scale"] + norm["bias"]

  strides = (2, 1) if stride_in_1x1 or not bottleneck else (1, 2)
  y = np.maximum(unit("conv0", x, strides[0]), 0)
  y = unit("conv1", y, strides[1])
  if bottleneck:
    y = unit("conv2", np.maximum(y, 0), 1)
  expected = np.maximum(y + unit("shortcut", x, 2), 0)
  assert expected.shape == (2, 4, 4, 16 if bottleneck else 4)
  assert (expected == 0).any()
  got = jax.jit(lambda v, x: block.apply(v, x, False))(values, x)
  np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
