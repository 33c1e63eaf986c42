"""Tests of MobileNetV1 and its variants."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import counting, registry, variables

# By width: total with 1000 classes, that with convolution biases and 10
# classes, running means and variances included: Keras Applications, and the
# published notebooks that leave Keras's default of `use_bias`.
_TOTALS = {
  1.0: (4_253_864, 3_250_058),
  0.75: (2_601_976, 1_848_874),
  0.5: (1_342_536, 840_138),
  0.25: (475_544, 223_850),
}
# Millions of mult-adds by width and resolution: the table of TF-slim's README,
# which for width 0.5 at 224 px says 150 where the paper's table 6 says 149.
_PUBLISHED_MACS = {
  1.0: {224: 569, 192: 418, 160: 291, 128: 186},
  0.75: {224: 325, 192: 239, 160: 166, 128: 107},
  0.5: {224: 149, 192: 110, 160: 77, 128: 49},
  0.25: {224: 41, 192: 30, 160: 21, 128: 14},
}


def _build(classes: int = 3, width: float = 0.25, **options: bool | float):
  network = registry.describe(
    "mobilenet_v1",
    num_classes=classes,
    width=width,
    options=registry.Options(**options),
  )
  return registry.build(network)


def _total(module) -> int:
  return sum(counting.count_params(variables.shapes(module, 32)))


def _maps(module, size: int) -> dict[str, tuple[int, ...]]:
  x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  (_, features), _ = jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, False), x
  )
  return {name: x.shape[1:] for name, x in features.items()}


@pytest.mark.parametrize("width", _TOTALS)
def test_parameters(width):
  plain, biased = _TOTALS[width]
  assert _total(_build(1000, width)) == plain
  assert _total(_build(10, width, conv_bias=True)) == biased


def test_parameters_without_the_head_are_those_of_keras():
  values = variables.shapes(_build(width=1.0), 224)
  del values["params"]["head"]
  assert sum(counting.count_params(values)) == 3_228_864


@pytest.mark.parametrize(("width", "millions"), _PUBLISHED_MACS.items())
def test_mult_adds_are_the_published_ones(width, millions):
  module = _build(1000, width)
  counted = {size: counting.count_macs(module, size) for size in millions}
  assert {size: round(n / 1e6) for size, n in counted.items()} == millions


def test_shallow_network():
  """The paper's table 5: 307 M mult-adds, 2.9 M parameters."""
  module = _build(1000, 1.0, shallow=True)
  assert _total(module) == 2_899_624
  assert round(counting.count_macs(module, 224) / 1e6) == 307
  assert _total(_build(10, 1.0, shallow=True, conv_bias=True)) == 1_890_698
  maps = _maps(module, 64)
  # Only the first of the six blocks with 512 channels is left.
  channels = [maps[f"block{i}"][-1] for i in range(8)]
  assert channels == [64, 128, 128, 256, 256, 512, 1024, 1024]


def test_full_convolutions():
  """The paper's table 4: 4866 M mult-adds, 29.3 M parameters."""
  layers = counting.list_layers(_build(1000, 1.0, separable=False), 224)
  assert sum(layer.params for layer in layers) == 29_294_088
  assert round(sum(layer.macs for layer in layers) / 1e6) == 4867
  assert {layer.kind for layer in layers} == {"conv 3x3", "norm", "dense"}


@pytest.mark.parametrize("separable", [True, False])
@pytest.mark.parametrize("size", [32, 33, 224])
def test_feature_maps(separable, size):
  maps = _maps(_build(separable=separable), size)
  assert set(maps) == {"stem", *(f"block{i}" for i in range(13)), "pooled"}
  halved = [-(-size // 2**i) for i in range(1, 6)]
  assert maps["stem"][:2] == (halved[0],) * 2
  # The first map of every resolution.
  for n, i in zip(halved, (0, 1, 3, 5, 11), strict=True):
    assert maps[f"block{i}"][:2] == (n, n)
  assert maps["block10"][:2] == (halved[3],) * 2
  assert maps["pooled"] == (256,)


def test_channels_are_rounded_down():
  maps = _maps(_build(width=0.3), 32)
  channels = [maps[name][-1] for name in ("stem", "block0", "block1")]
  assert channels == [9, 19, 38]


@pytest.mark.parametrize("conv_bias", [False, True])
def test_biases_of_convolutions(conv_bias):
  values = variables.shapes(_build(shallow=True, conv_bias=conv_bias), 32)
  backbone = values["params"]["backbone"]
  expected = {"kernel", "bias"} if conv_bias else {"kernel"}
  assert set(backbone["stem"]["conv"]) == expected
  for unit in ("depthwise", "pointwise"):
    assert set(backbone["block7"][unit]["conv"]) == expected


def _norms_answer(module, constant: float) -> dict:
  """Values with which every BatchNorm answers with a constant."""
  values = variables.initial_values(module, 16, 0)
  for name, unit in values["params"]["backbone"].items():
    for conv_bn in [unit] if name == "stem" else unit.values():
      conv_bn["norm"]["scale"][:] = 0
      conv_bn["norm"]["bias"][:] = constant
  return values


def test_activations_are_relu6():
  module, x = _build(shallow=True, width=0.05), np.ones((1, 16, 16, 3), "f")
  run = jax.jit(lambda v, x: module.apply(v, x, False)[1])
  for constant, expected in ((9, 6), (-9, 0)):
    for name, y in run(_norms_answer(module, constant), x).items():
      np.testing.assert_array_equal(y, np.full(y.shape, expected), name)


def test_dropout_after_every_block():
  module = _build(shallow=True, width=0.05, block_dropout=0.5)
  run = jax.jit(
    lambda v, x, key: module.apply(
      v, x, True, mutable=["batch_stats"], rngs={"dropout": key}
    )
  )
  x = np.ones((8, 16, 16, 3), np.float32)
  # The default generator takes longer to compile than the network.
  key = jax.random.key(0, impl="unsafe_rbg")
  (_, features), _ = run(_norms_answer(module, 2), x, key)
  assert np.all(features["stem"] == 2)
  for i in range(8):
    y = np.asarray(features[f"block{i}"])
    assert set(np.unique(y)) == {0, 4}, i
    assert 0.4 < np.mean(y == 0) < 0.6, i
