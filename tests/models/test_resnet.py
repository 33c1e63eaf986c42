"""Tests of the ResNets."""

import functools

import jax
import numpy as np
import pytest
from jax import lax

from mn_jax.models import layers, resnet, variables
from tests.models import networks

# Trainable parameters, running means and variances, and mult-adds at 224 pixels
# of torchvision, 1000 classes.
_TORCHVISION = {
  "resnet18": (11_689_512, 9_600, 1_814_073_344),
  "resnet34": (21_797_672, 17_024, 3_663_761_408),
  "resnet50": (25_557_032, 53_120, 4_089_184_256),
  "resnet152": (60_192_808, 151_424, 11_513_626_624),
}
# Parameters of Keras Applications with running means and variances, of which
# so many are biases that BatchNorm makes redundant; the same without the top;
# mult-adds.
_KERAS = {
  "resnet50": (25_636_712, 26_560, 23_587_712, 3_857_973_248),
  "resnet152": (60_419_944, 75_712, 58_370_944, 11_282_415_616),
}


@pytest.mark.parametrize(
  "name",
  [
    "resnet18",
    *(
      pytest.param(name, marks=pytest.mark.extended)
      for name in ("resnet34", "resnet50", "resnet152")
    ),
  ],
)
def test_counts_are_those_of_torchvision(name):
  rows = networks.layers(networks.build(name, 1000), 224)
  counts = (*networks.count(rows), networks.macs(rows))
  assert counts == _TORCHVISION[name]


@pytest.mark.parametrize(
  "name", ["resnet50", pytest.param("resnet152", marks=pytest.mark.extended)]
)
def test_counts_are_those_of_keras_but_for_biases(name):
  total, biases, without_top, macs = _KERAS[name]
  module = networks.build(name, 1000, stride_in_1x1=True)
  rows = networks.layers(module, 224)
  assert sum(networks.count(rows)) + biases == total
  assert sum(networks.count(rows, "backbone/")) + biases == without_top
  assert networks.macs(rows) == macs
  # A bias for every channel that is normalised.
  assert sum(x.output[-1] for x in rows if x.kind == "norm") == biases


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
  ("name", "projected"),
  # A bottleneck changes the channels of the first stage too.
  [("resnet18", {2, 4, 6}), ("resnet50", {0, 3, 7, 13})],
)
def test_projections_are_where_the_shape_changes(name, projected):
  backbone = networks.parameters(networks.build(name), 32)
  assert projected == {
    i for i in range(len(backbone) - 1) if "shortcut" in backbone[f"block{i}"]
  }


@pytest.mark.parametrize(
  ("name", "last", "projected"),
  [
    ("resnet18", "conv1", (2, 4, 6)),
    pytest.param(
      "resnet50", "conv2", (0, 3, 7, 13), marks=pytest.mark.extended
    ),
  ],
)
def test_shortcut_and_activations(name, last, projected):
  """The last BatchNorm of a block adds 1, a projected shortcut is 5."""
  module = networks.build(name, width=0.05)
  values = variables.initial_values(module, 32, 0)
  backbone = values["params"]["backbone"]
  for block, units in backbone.items():
    for unit, conv_bn in units.items():
      if block != "stem" and unit in (last, "shortcut"):
        conv_bn["norm"]["scale"][:] = 0
        conv_bn["norm"]["bias"][:] = 5 if unit == "shortcut" else 1
  x = networks.images(1, 32, 32, 3)
  run = jax.jit(lambda v, x: module.apply(v, x, False)[1])
  features = run(values, x)
  stem = np.asarray(features["stem"])
  assert stem.min() == 0 < stem.max()
  expected = stem.max()
  for i in range(len(backbone) - 1):
    y = np.asarray(features[f"block{i}"])
    expected = 5 + 1 if i in projected else expected + 1
    np.testing.assert_allclose(y.max(), expected, rtol=1e-6)
  # The addition is before the activation.
  for i in range(len(backbone) - 1):
    backbone[f"block{i}"][last]["norm"]["bias"][:] = -9
  features = run(values, x)
  assert all(np.min(features[f"block{i}"]) == 0 for i in range(3))


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


def test_padding_of_the_stem_is_symmetric_at_even_sizes():
  """The first 7x7 window has three rows and columns of padding, not two."""
  module = networks.build("resnet18", width=0.05)
  values = variables.initial_values(module, 32, 0)
  backbone = values["params"]["backbone"]
  rng = np.random.default_rng(0)
  backbone["stem"]["conv"]["kernel"][..., 0] = 1
  # The first block answers with its input, which is the pooled stem.
  backbone["block0"]["conv1"]["norm"]["scale"][:] = 0
  x = np.ones((2, 32, 32, 3), np.float32)
  x[1] = rng.normal(size=(32, 32, 3))
  _, features = jax.jit(lambda v, x: module.apply(v, x, False))(values, x)
  stem = np.asarray(features["stem"])
  taps = np.array([4, 6, *(7,) * 13, 5])
  np.testing.assert_allclose(
    stem[0, ..., 0], 3 * np.outer(taps, taps) / np.sqrt(1 + 1e-5), rtol=1e-5
  )
  pads = ((0, 0), (1, 1), (1, 1), (0, 0))
  pooled = np.pad(stem, pads, constant_values=-1)
  windows = [
    pooled[:, i:, j:][:, :16:2, :16:2] for i in range(3) for j in range(3)
  ]
  np.testing.assert_array_equal(features["block0"], np.max(windows, axis=0))
