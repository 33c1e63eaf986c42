"""Tests of VGG16."""

import jax
import numpy as np

from mn_jax.models import registry, variables
from tests.models import networks


def _build(classes=3, width=0.05, **fields):
  return networks.build("vgg16", classes, width, **fields)


def test_counts_are_those_of_torchvision_and_keras():
  layers = networks.layers(_build(1000, 1.0), 224)
  assert networks.count(layers) == (138_357_544, 0)
  assert networks.count(layers, "backbone/") == (14_714_688, 0)
  assert networks.macs(layers) == 15_470_264_320
  backbone = [x for x in layers if x.path.startswith("backbone/")]
  assert networks.macs(backbone) == 15_346_630_656
  assert [layer.kind for layer in layers] == ["conv 3x3"] * 13 + ["dense"] * 3


def test_every_convolution_has_a_bias():
  convs = [
    set(conv)
    for block in networks.parameters(_build(), 32).values()
    for conv in block.values()
  ]
  assert convs == [{"kernel", "bias"}] * 13


def test_feature_maps():
  """An odd row or column is lost, as in torchvision and Keras."""
  for size, sizes in (
    (224, [112, 56, 28, 14, 7]),
    (79, [39, 19, 9, 4, 2]),
    (32, [16, 8, 4, 2, 1]),
  ):
    module = _build(width=0.25)
    channels = (16, 32, 64, 128, 128)
    assert networks.maps(module, size) == {
      f"block{i}": (n, n, c)
      for i, (n, c) in enumerate(zip(sizes, channels, strict=True))
    } | {"pooled": (128,)}
    # The head gets every pixel.
    head = variables.shapes(module, size)["params"]["head"]
    assert head["dense0"]["kernel"].shape == (sizes[-1] ** 2 * 128, 1024)


def test_below_the_smallest_resolution_nothing_is_left():
  smallest = registry.get("vgg16").min_resolution
  module = _build(head="plain")
  for size, left in ((smallest, 1), (smallest - 1, 0)):
    assert networks.maps(module, size)["block4"][:2] == (left, left)


def test_activations_are_relu():
  """With a kernel of 0, a map is what ReLU makes of the bias."""
  module, x = _build(), np.ones((1, 32, 32, 3), np.float32)
  run = jax.jit(lambda v, x: module.apply(v, x, False))
  for bias, expected in ((9, 9), (-9, 0)):
    values = variables.initial_values(module, 32, 0)
    for block in values["params"]["backbone"].values():
      for conv in block.values():
        conv["kernel"][:] = 0
        conv["bias"][:] = bias
    _, features = run(values, x)
    for name, y in features.items():
      np.testing.assert_array_equal(y, np.full(y.shape, expected), name)


def test_head_drops_features_of_both_hidden_layers():
  module = _build(dropout=0.5)
  values = variables.initial_values(module, 32, 0)
  head = values["params"]["head"]
  for i in (0, 1):
    head[f"dense{i}"]["kernel"][:] = 0
    head[f"dense{i}"]["bias"][:] = 1
  head["logits"]["kernel"][:] = 1 / 204
  x = np.ones((64, 1, 1, 25), np.float32)

  def logits():
    return module.apply(
      values,
      x,
      True,
      method="classify",
      rngs={"dropout": jax.random.key(0, impl="unsafe_rbg")},
    )

  # The mean of 204 hidden features that are 0 or 2.
  y = logits()
  assert np.std(y) > 0.02
  assert np.all(np.abs(y - 1) < 0.5)
  # Dropout before the second hidden layer reaches the logits through it.
  head["dense1"]["kernel"][:] = 1 / 204
  assert np.std(logits()) > 1.5 * np.std(y)
