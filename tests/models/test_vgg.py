"""Tests of VGG16."""

from mn_jax.models import registry, variables
from tests.models import networks


def _build(classes=3, width=0.05, **fields):
  return networks.build("vgg16", classes, width, **fields)


def test_feature_maps():
  """An odd row or column is lost, as in torchvision and Keras."""
  for size, sizes in ((79, [39, 19, 9, 4, 2]), (32, [16, 8, 4, 2, 1])):
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
