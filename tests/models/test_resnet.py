"""Tests of the ResNets."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import counting, registry, resnet, variables

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


def _build(
  name: str,
  *,
  classes: int = 3,
  width: float = 0.05,
  stride_in_1x1: bool = False,
):
  network = registry.describe(
    name,
    num_classes=classes,
    width=width,
    options=registry.Options(stride_in_1x1=stride_in_1x1),
  )
  return registry.build(network)


def _maps(module, size: int) -> dict[str, tuple[int, ...]]:
  values = variables.shapes(module, size)
  x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  _, features = jax.eval_shape(
    lambda v, x: module.apply(v, x, False), values, x
  )
  return {name: x.shape[1:] for name, x in features.items()}


@pytest.mark.parametrize("name", _TORCHVISION)
def test_counts_are_those_of_torchvision(name):
  layers = counting.list_layers(_build(name, classes=1000, width=1.0), 224)
  counts = (
    sum(layer.params for layer in layers),
    sum(layer.stats for layer in layers),
    sum(layer.macs for layer in layers),
  )
  assert counts == _TORCHVISION[name]


@pytest.mark.parametrize("name", _KERAS)
def test_counts_are_those_of_keras_but_for_biases(name):
  total, biases, without_top, macs = _KERAS[name]
  module = _build(name, classes=1000, width=1.0, stride_in_1x1=True)
  layers = counting.list_layers(module, 224)
  count = sum(layer.params + layer.stats for layer in layers)
  assert count + biases == total
  head = sum(x.params for x in layers if x.path.startswith("head/"))
  assert count - head + biases == without_top
  assert sum(layer.macs for layer in layers) == macs
  # A bias for every channel that is normalised.
  assert sum(x.output[-1] for x in layers if x.kind == "norm") == biases


@pytest.mark.parametrize("size", [64, 65, 224])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_feature_maps(name, size):
  maps = _maps(_build(name, width=0.25), size)
  blocks = sum(resnet.STAGES[int(name.removeprefix("resnet"))])
  assert set(maps) == {"stem", *(f"block{i}" for i in range(blocks)), "pooled"}
  halved = [-(-size // 2**i) for i in range(1, 6)]
  assert maps["stem"] == (halved[0], halved[0], 16)
  factor = 4 if name == "resnet50" else 1
  last = np.cumsum(resnet.STAGES[int(name.removeprefix("resnet"))]) - 1
  for stage, i in enumerate(last):
    n = halved[stage + 1]
    assert maps[f"block{i}"] == (n, n, 16 * 2**stage * factor)


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_place_of_a_bottlenecks_stride(stride_in_1x1):
  module = _build("resnet50", stride_in_1x1=stride_in_1x1)
  outputs = {x.path: x.output[0] for x in counting.list_layers(module, 64)}
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
  backbone = variables.shapes(_build(name), 32)["params"]["backbone"]
  assert projected == {
    i for i in range(len(backbone) - 1) if "shortcut" in backbone[f"block{i}"]
  }


@pytest.mark.parametrize(
  ("name", "last", "projected"),
  [("resnet18", "conv1", (2, 4, 6)), ("resnet50", "conv2", (0, 3, 7, 13))],
)
def test_shortcut_and_activations(name, last, projected):
  """The last BatchNorm of a block adds 1, a projected shortcut is 5."""
  module = _build(name)
  values = variables.initial_values(module, 32, 0)
  backbone = values["params"]["backbone"]
  for block, units in backbone.items():
    for unit, conv_bn in units.items():
      if block != "stem" and unit in (last, "shortcut"):
        conv_bn["norm"]["scale"][:] = 0
        conv_bn["norm"]["bias"][:] = 5 if unit == "shortcut" else 1
  x = np.random.default_rng(0).normal(size=(1, 32, 32, 3)).astype(np.float32)
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


def test_padding_is_symmetric_at_even_sizes():
  """The first 7x7 window has three rows and columns of padding, not two."""
  module = _build("resnet18")
  values = variables.initial_values(module, 32, 0)
  stem = values["params"]["backbone"]["stem"]
  stem["conv"]["kernel"][:] = 1
  x = np.ones((1, 32, 32, 3), np.float32)
  _, features = module.apply(values, x, False)
  y = np.asarray(features["stem"])[0, :, :, 0]
  taps = np.array([4, 6, *(7,) * 13, 5])
  np.testing.assert_allclose(
    y, 3 * np.outer(taps, taps) / np.sqrt(1 + 1e-5), rtol=1e-5
  )
