"""Tests of Xception: maps, width, padding."""

import pytest

from mn_jax.models import variables
from tests.models import networks

# Output channels of 'block2' to 'block13': figure 5.
_CHANNELS = (128, 256, *(728,) * 9, 1024)


def _build(classes=3, width=1.0, **fields):
  return networks.build("xception", classes, width, **fields)


@pytest.mark.parametrize(
  ("size", "padding", "pixels"),
  [
    (72, "same", (35, 33, 17, 9, 5, 3)),
    (7, "symmetric", (3, 1, 1, 1, 1, 1)),
  ],
)
def test_feature_maps(size, padding, pixels):
  maps = networks.maps(_build(padding=padding), size)
  stem, conv2, *entry, last = pixels
  expected = {"stem": (stem, stem, 32), "conv2": (conv2, conv2, 64)}
  rows = (*entry, *(entry[-1],) * 8, last)
  for i, (n, channels) in enumerate(zip(rows, _CHANNELS, strict=True)):
    expected[f"block{i + 2}"] = (n, n, channels)
  expected |= {
    "top1": (last, last, 1536),
    "top2": (last, last, 2048),
    "pooled": (2048,),
  }
  assert maps == expected


def test_width_rounds_channels_down():
  maps = networks.maps(_build(width=0.3), 32)
  names = ("stem", "conv2", "block2", "block12", "block13", "top2")
  channels = [maps[name][-1] for name in names]
  assert channels == [9, 19, 38, 218, 307, 614]


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_only_max_pooling_uses_the_padding_rule(padding, monkeypatch):
  calls = networks.record_padding(monkeypatch)
  variables.shapes(_build(padding=padding), 33)
  depthwise = ("same", (3, 3), 1)
  pool = (padding, (3, 3), 2)
  assert calls == [
    ("valid", (3, 3), 2),
    ("valid", (3, 3), 1),
    *((depthwise, depthwise, pool) * 3),
    *((depthwise,) * 24),
    *(depthwise, depthwise, pool),
    *((depthwise,) * 2),
  ]
