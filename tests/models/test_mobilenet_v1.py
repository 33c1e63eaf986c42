"""Tests of MobileNetV1 and its variants."""

import jax
import numpy as np
import pytest

from mn_jax.models import variables
from tests.models import networks

# By width: parameters and running statistics with 1000 classes, the same with
# convolution biases and 10 classes: Keras Applications, and the published
# notebooks that leave Keras's default of `use_bias`.
_TOTALS = {
  1.0: (4_253_864, 3_250_058),
  0.25: (475_544, 223_850),
}
# Millions of mult-adds by width and resolution: the table of TF-slim's README.
_PUBLISHED_MACS = {
  1.0: {192: 418},
  0.25: {224: 41},
}


def _build(classes=3, width=0.25, **fields):
  return networks.build("mobilenet_v1", classes, width, **fields)


def test_parameters_and_mult_adds_are_the_published_ones():
  for width, millions in _PUBLISHED_MACS.items():
    plain, biased = _TOTALS[width]
    for size, expected in millions.items():
      layers = networks.layers(_build(1000, width), size)
      assert round(networks.macs(layers) / 1e6) == expected, (width, size)
    assert sum(networks.count(layers)) == plain
    layers = networks.layers(_build(10, width, conv_bias=True), 32)
    assert sum(networks.count(layers)) == biased


def test_shallow_network():
  """The paper's table 5: 307 M mult-adds, 2.9 M parameters."""
  layers = networks.layers(_build(1000, 1.0, shallow=True), 224)
  assert sum(networks.count(layers)) == 2_899_624
  assert round(networks.macs(layers) / 1e6) == 307
  layers = networks.layers(_build(10, 1.0, shallow=True, conv_bias=True), 32)
  assert sum(networks.count(layers)) == 1_890_698
  # Only the first of the six blocks with 512 channels is left.
  channels = [
    layer.output[-1] for layer in layers if layer.path.endswith("wise/norm")
  ]
  assert channels[1::2] == [64, 128, 128, 256, 256, 512, 1024, 1024]


def test_full_convolutions():
  """The paper's table 4: 4866 M mult-adds, 29.3 M parameters."""
  layers = networks.layers(_build(1000, 1.0, separable=False), 224)
  assert networks.count(layers)[0] == 29_294_088
  assert round(networks.macs(layers) / 1e6) == 4867
  assert {layer.kind for layer in layers} == {"conv 3x3", "norm", "dense"}


@pytest.mark.parametrize("separable", [True, False])
def test_feature_maps(separable):
  size = 33  # even and odd maps
  maps = networks.maps(_build(separable=separable), size)
  assert set(maps) == {"stem", *(f"block{i}" for i in range(13)), "pooled"}
  halved = [-(-size // 2**i) for i in range(1, 6)]
  assert maps["stem"][:2] == (halved[0],) * 2
  # The first map of every resolution.
  for n, i in zip(halved, (0, 1, 3, 5, 11), strict=True):
    assert maps[f"block{i}"][:2] == (n, n)
  assert maps["block10"][:2] == (halved[3],) * 2
  assert maps["pooled"] == (256,)


def test_channels_are_rounded_down():
  maps = networks.maps(_build(width=0.3), 32)
  channels = [maps[name][-1] for name in ("stem", "block0", "block1")]
  assert channels == [9, 19, 38]


def test_relu6_and_dropout_after_stem_and_blocks():
  """Every BatchNorm returns a constant: 9 becomes 6, then 0 or 12; -9, 0."""
  module = _build(shallow=True, width=0.05, block_dropout=0.5)
  values = variables.initial_values(module, 16, 0)
  run = jax.jit(
    lambda v, x, key: module.apply(
      v, x, True, mutable=["batch_stats"], rngs={"dropout": key}
    )
  )
  x = np.ones((8, 16, 16, 3), np.float32)
  # The default generator takes longer to compile than the network.
  key = jax.random.key(0, impl="unsafe_rbg")
  for constant, stem in ((9, 6), (-9, 0)):
    for name, unit in values["params"]["backbone"].items():
      for conv_bn in [unit] if name == "stem" else unit.values():
        conv_bn["norm"]["scale"][:] = 0
        conv_bn["norm"]["bias"][:] = constant
    (_, features), _ = run(values, x, key)
    for name in ("stem", *(f"block{i}" for i in range(8))):
      y = np.asarray(features[name])
      assert set(np.unique(y)) == {0, 2 * stem}, name
      assert stem == 0 or 0.4 < np.mean(y == 0) < 0.6, name
