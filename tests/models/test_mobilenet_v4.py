"""Tests of MobileNetV4's convolutional networks: counts, maps, kernels."""

import pytest

from mn_jax.models import variables
from tests.models import networks

_SMALL, _MEDIUM = "mobilenet_v4_conv_small", "mobilenet_v4_conv_medium"
# Width, trainable parameters, and mult-adds at 224 pixels of Conv-Small: timm,
# where these widths have names of their own.
_TIMM_COUNTS = [
  (0.5, 2_238_952, 64_741_408),
  (0.35, 1_905_384, 47_723_040),
]
# Kernel and stride of all convolutions but the 1x1, block by block after the
# stem; an empty block is a feed-forward one or a 1x1 convolution.
_WINDOWS = {
  _SMALL: [
    *([(3, 2)], [], [(3, 2)], []),
    *([(5, 1), (5, 2)], [(3, 1)], [(3, 1)], [(3, 1)], [(3, 1)], [(3, 1)]),
    *([(3, 1), (3, 2)], [(5, 1), (5, 1)], [(5, 1)], [(5, 1)]),
    *([(3, 1)], [(3, 1)]),
  ],
  _MEDIUM: [
    [(3, 2)],
    *([(3, 1), (5, 2)], [(3, 1), (3, 1)]),
    *([(3, 1), (5, 2)], [(3, 1), (3, 1)], [(3, 1), (3, 1)]),
    *([(3, 1), (5, 1)], [(3, 1), (3, 1)], [(3, 1)], [], [(3, 1)]),
    *([(5, 1), (5, 2)], [(5, 1), (5, 1)], [(3, 1), (5, 1)]),
    *([(3, 1), (5, 1)], [], [(3, 1)], [(3, 1), (5, 1)], [(5, 1), (5, 1)]),
    *([], [], [(5, 1)]),
  ],
}

_each = pytest.mark.parametrize("name", [_SMALL, _MEDIUM])


def test_counts_are_those_of_timm():
  for width, *expected in _TIMM_COUNTS:
    rows = networks.layers(networks.build(_SMALL, 1000, width), 224)
    assert [networks.count(rows)[0], networks.macs(rows)] == expected, width


def test_feature_maps():
  name, size = _SMALL, 50  # even and odd maps
  maps = dict(networks.maps(networks.build(name), size))
  pixels = -(-size // 2)
  expected = {"stem": pixels}
  for i, windows in enumerate(_WINDOWS[name]):
    for _, stride in windows:
      pixels = -(-pixels // stride)
    expected[f"block{i}"] = pixels
  expected["top"] = pixels
  pooled = maps.pop("pooled")
  assert {key: shape[:2] for key, shape in maps.items()} == {
    key: (n, n) for key, n in expected.items()
  }
  assert pixels == -(-size // 32)
  assert maps["top"][-1] == pooled[-1] == 960


def test_width():
  """The stem only grows; all others are multiples of 8."""
  for width, *expected in (
    (0.35, 32, 16, 16, 32, 24, 32, 48, 336),
    (1.5, 48, 48, 48, 144, 96, 144, 192, 1440),
  ):
    maps = networks.maps(networks.build(_SMALL, width=width), 32)
    blocks = [f"block{i}" for i in (0, 1, 2, 3, 4, 10)]
    assert [maps[key][-1] for key in ("stem", *blocks, "top")] == expected


@_each
def test_kernels_and_strides_are_those_of_the_tables(name, monkeypatch):
  """And every one of them is padded by the network's rule."""
  calls = networks.record_padding(monkeypatch)
  variables.shapes(networks.build(name, padding="symmetric"), 32)
  assert calls == [
    ("symmetric", (window, window), stride)
    for windows in ([(3, 2)], *_WINDOWS[name])
    for window, stride in windows
  ]
