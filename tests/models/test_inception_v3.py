"""Tests of InceptionV3: counts, maps, kernels, pooling."""

import pytest

from mn_jax.models import registry, variables
from mn_jax.ops import padding as padding_lib
from mn_jax.ops import pooling
from tests.models import networks

# Channels of 'mixed0' to 'mixed10': Keras's comments on its own blocks.
_CHANNELS = (256, 288, 288, *(768,) * 5, 1280, 2048, 2048)
_STEM = ("stem", "conv_2a", "conv_2b", "conv_3b", "conv_4a")
# How often each kind of block comes, and its windows in the order of calls;
# 1x1 convolutions never ask for padding. Those with '/2' have stride 2, those
# without '+' no padding; 'avg' is 3x3.
_WINDOWS = (
  (1, "3x3/2 3x3 3x3+ 3x3/2 3x3 3x3/2"),
  (3, "5x5+ 3x3+ 3x3+ avg"),
  (1, "3x3/2 3x3+ 3x3/2 3x3/2"),
  (4, "1x7+ 7x1+ 7x1+ 1x7+ 7x1+ 1x7+ avg"),
  (1, "3x3/2 1x7+ 7x1+ 3x3/2 3x3/2"),
  (2, "1x3+ 3x1+ 3x3+ 1x3+ 3x1+ avg"),
)


def _build(classes=3, width=1.0, **fields):
  return networks.build("inception_v3", classes, width, **fields)


def test_counts_with_scales_are_those_of_torchvision():
  """Without its auxiliary head of 3,326,696."""
  layers = networks.layers(_build(1000, norm_scale=True), 75)
  assert networks.count(layers) == (23_834_568, 34_432)


def test_feature_maps():
  """One pixel less than the smallest image leaves nothing."""
  smallest = registry.get("inception_v3").min_resolution
  maps = networks.maps(_build(), smallest - 1)
  stem, blocks = (36, 34, 34, 16, 14), (6, 2, 0)
  pixels = [blocks[0]] * 3 + [blocks[1]] * 5 + [blocks[2]] * 3
  expected = dict(zip(_STEM, stem, strict=True))
  expected |= {f"mixed{i}": n for i, n in enumerate(pixels)}
  assert {k: shape[:2] for k, shape in maps.items()} == {
    k: (n, n) for k, n in expected.items()
  } | {"pooled": (2048,)}
  channels = [maps[f"mixed{i}"][-1] for i in range(11)]
  assert channels == list(_CHANNELS)


def test_width():
  maps = networks.maps(_build(width=0.25), 75)
  assert [maps[name][-1] for name in _STEM] == [8, 8, 16, 20, 48]
  channels = [maps[f"mixed{i}"][-1] for i in range(11)]
  assert channels == [n // 4 for n in _CHANNELS]


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_windows_strides_and_padding(padding, monkeypatch):
  """Averages count their padding as in torch; nothing else depends on it."""
  resolve, avg_pool = padding_lib.resolve, pooling.avg_pool
  calls, counted = [], []

  def record(rule, size, window, stride):
    suffix = {("same", 1): "+", ("valid", 1): "", ("valid", 2): "/2"}
    calls.append(f"{window[0]}x{window[1]}{suffix[rule, stride]}")
    return resolve(rule, size, window, stride)

  def record_average(x, window, *, stride, padding, count_padding):
    counted.append(count_padding)
    out = avg_pool(
      x, window, stride=stride, padding=padding, count_padding=count_padding
    )
    assert calls.pop() == "3x3+"
    calls.append("avg")
    return out

  monkeypatch.setattr(padding_lib, "resolve", record)
  monkeypatch.setattr(pooling, "avg_pool", record_average)
  variables.shapes(_build(padding=padding), 75)
  assert calls == " ".join(row for n, row in _WINDOWS for _ in range(n)).split()
  assert counted == [padding == "symmetric"] * 9
