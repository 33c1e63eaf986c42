"""Tests of Inception-ResNet-v2: maps, kernels, biases, pooling."""

import pytest

from mn_jax.models import (
  registry,
  variables,
)
from mn_jax.ops import pooling
from tests.models import networks

# Residual blocks after each of the other three, and their scales.
_STAGES = {
  "mixed_5b": ("block35", 10, 0.17, 320),
  "mixed_6a": ("block17", 20, 0.1, 1088),
  "mixed_7a": ("block8", 10, 0.2, 2080),
}


def _build(classes=3, width=1.0, **fields):
  return networks.build("inception_resnet_v2", classes, width, **fields)


@pytest.fixture(scope="module")
def published():
  """The layers of the network as it was published."""
  return networks.layers(_build(1000), 299)


def test_feature_maps():
  """One pixel less than the smallest image leaves nothing."""
  smallest = registry.get("inception_resnet_v2").min_resolution
  maps = networks.maps(_build(width=0.25), smallest - 1)
  expected = {}
  for n, (mixed, stage) in zip((6, 2, 0), _STAGES.items(), strict=True):
    block, repeats, _, channels = stage
    shape = (n, n, channels // 4)
    expected[mixed] = shape
    expected |= {f"{block}_{i}": shape for i in range(1, repeats + 1)}
  expected |= {"top": (0, 0, 1536 // 4), "pooled": (1536 // 4,)}
  names = {"stem", "conv_2a", "conv_2b", "conv_3b", "conv_4a"}
  assert {k: x for k, x in maps.items() if k not in names} == expected
  assert names < set(maps)


def test_kernels(published):
  """Height, width and channels of one block of each kind, in order."""
  kernels = {
    "block35_1": "1x1/32 1x1/32 3x3/32 1x1/32 3x3/48 3x3/64 1x1/320",
    "mixed_6a": "3x3/384 1x1/256 3x3/256 3x3/384",
    "block17_20": "1x1/192 1x1/128 1x7/160 7x1/192 1x1/1088",
    "mixed_7a": "1x1/256 3x3/384 1x1/256 3x3/288 1x1/256 3x3/288 3x3/320",
    "block8_10": "1x1/192 1x1/192 1x3/224 3x1/256 1x1/2080",
  }
  found = {block: [] for block in kernels}
  for layer in published:
    block = layer.path.split("/")[1]
    if block in kernels and layer.kind != "norm":
      window = layer.kind.removeprefix("conv ")
      found[block].append(f"{window}/{layer.output[-1]}")
  assert {block: " ".join(rows) for block, rows in found.items()} == kernels


def test_biases_and_batch_norms(published):
  norms = [layer for layer in published if layer.kind == "norm"]
  assert len(norms) == 204
  assert all(layer.params == layer.output[-1] for layer in norms)  # no scale
  for layer in published:
    if layer.kind.startswith("conv"):
      bias = layer.output[-1] if layer.path.endswith("/up") else 0
      assert layer.params == layer.kernel + bias, layer.path
  assert sum(layer.path.endswith("/up") for layer in published) == 40


def test_averages_never_count_padding(monkeypatch):
  avg_pool, counted = pooling.avg_pool, []

  def record(x, window, *, stride, padding, count_padding):
    counted.append(count_padding)
    return avg_pool(
      x, window, stride=stride, padding=padding, count_padding=count_padding
    )

  monkeypatch.setattr(pooling, "avg_pool", record)
  variables.shapes(_build(padding="symmetric"), 75)
  assert counted == [False]
