"""Tests of the simple network."""

import numpy as np

from mn_jax.models import registry, variables
from tests.models import networks


def test_layers_at_160_pixels_with_8_classes():
  module = networks.build("simple_cnn", 8)
  layers = networks.layers(module, 160)
  assert networks.count(layers)[0] == 670_056
  assert [(x.path, x.kind, x.output) for x in layers] == [
    ("backbone/conv0", "conv 3x3", (160, 160, 64)),
    ("backbone/conv1", "conv 3x3", (80, 80, 64)),
    ("backbone/conv2", "conv 3x3", (40, 40, 128)),
    ("backbone/conv3", "conv 3x3", (20, 20, 128)),
    ("head/dense0", "dense", (32,)),
    ("head/logits", "dense", (8,)),
  ]
  head = variables.shapes(module, 160)["params"]["head"]
  assert head["dense0"]["kernel"].shape == (10 * 10 * 128, 32)


def test_convolution_bias_activation_and_pooling():
  """The first map, of a convolution with windows counted by hand."""
  module = networks.build("simple_cnn", width=0.05)
  values = variables.initial_values(module, 17, 0)
  conv = values["params"]["backbone"]["conv0"]
  conv["kernel"][:] = 1
  conv["bias"][:] = [-20, 1, -30]
  x = np.zeros((1, 17, 17, 3), np.float32)
  x[0, :4, :4] = 1
  x[0, 16] = 100  # an odd row is lost but for the windows that reach it
  _, features = module.apply(values, x, False)
  y = np.asarray(features["block0"])[0]
  assert y.shape == (8, 8, 3)
  # Of 2x2 windows with 9 ones each, three channels; at the border less.
  np.testing.assert_array_equal(
    y[:3, :3, 1], [[28, 28, 10]] * 2 + [[10, 10, 4]]
  )
  np.testing.assert_array_equal(y[:3, :3, 0], [[7, 7, 0]] * 2 + [[0, 0, 0]])
  assert np.all(y[..., 2][:7] == 0)
  assert np.all(y[3:7, :, 1] == 1)


def test_below_the_smallest_resolution_nothing_is_left():
  smallest = registry.get("simple_cnn").min_resolution
  module = networks.build("simple_cnn", head="plain")
  for size, left in ((smallest, 1), (smallest - 1, 0)):
    assert networks.maps(module, size)["block3"][:2] == (left, left)
