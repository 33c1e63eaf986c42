"""Tests of Inception-ResNet-v2: counts, maps, residuals."""

import dataclasses

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import counting, inception_resnet_v2, registry, variables
from mn_jax.models.classifier import Classifier
from mn_jax.ops import pooling

# Residual blocks after each of the other three, and their scales.
_STAGES = {
  "mixed_5b": ("block35", 10, 0.17, 320),
  "mixed_6a": ("block17", 20, 0.1, 1088),
  "mixed_7a": ("block8", 10, 0.2, 2080),
}


def _build(*, classes=3, width=1.0, **conventions) -> Classifier:
  usual = registry.get("inception_resnet_v2").conventions
  return registry.build(
    registry.describe(
      "inception_resnet_v2",
      num_classes=classes,
      width=width,
      conventions=dataclasses.replace(usual, **conventions),
    )
  )


def _maps(module: Classifier, size: int) -> dict:
  """Shapes of the named feature maps of one image."""
  x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  (_, maps), _ = jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, False), x
  )
  return maps


@pytest.fixture(scope="module")
def published():
  """The layers of the network as it was published."""
  return counting.list_layers(_build(classes=1000), 299)


def test_counts_are_those_of_keras(published):
  of_head = [layer for layer in published if layer.path.startswith("head/")]
  total, head = (
    sum(layer.params + layer.stats for layer in layers)
    for layers in (published, of_head)
  )
  assert total == 55_873_736
  assert total - head == 54_336_736
  # timm says 13.2 G.
  assert sum(layer.macs for layer in published) == 13_155_794_016


@pytest.mark.parametrize(
  ("width", "size", "pixels"),
  [(1.0, 299, (35, 17, 8)), (0.25, 75, (7, 3, 1)), (1.0, 74, (6, 2, 0))],
)
def test_feature_maps(width, size, pixels):
  """And 75 pixels are the least that leave one."""
  maps = _maps(_build(width=width), size)
  expected = {}
  for n, (mixed, stage) in zip(pixels, _STAGES.items(), strict=True):
    block, repeats, _, channels = stage
    shape = (1, n, n, int(channels * width))
    expected[mixed] = shape
    expected |= {f"{block}_{i}": shape for i in range(1, repeats + 1)}
  expected["top"] = (1, pixels[-1], pixels[-1], int(1536 * width))
  names = {"stem", "conv_2a", "conv_2b", "conv_3b", "conv_4a", "pooled"}
  assert {k: x.shape for k, x in maps.items() if k not in names} == expected
  assert names < set(maps)
  assert maps["pooled"].shape == (1, int(1536 * width))


def test_smallest_resolution():
  assert registry.get("inception_resnet_v2").min_resolution == 75


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


def test_what_has_a_bias_and_what_batch_norm():
  params = variables.shapes(_build(), 75)["params"]["backbone"]
  for name, block in params.items():
    if name.startswith("block"):
      assert set(block.pop("up")) == {"kernel", "bias"}
  rest = flax.traverse_util.flatten_dict(params)
  assert {path[-2:] for path in rest} == {("conv", "kernel"), ("norm", "bias")}
  assert len(rest) == 2 * 204


def test_residuals_are_scaled_and_added_before_relu():
  """But for the last: neither scale nor ReLU."""
  module, rng = _build(width=0.125), np.random.default_rng(0)
  values = variables.initial_values(module, 75, 0)
  for name, block in values["params"]["backbone"].items():
    if name.startswith("block"):
      block["up"]["bias"][:] = rng.normal(size=block["up"]["bias"].shape)
  x = rng.normal(size=(1, 75, 75, 3)).astype(np.float32)

  def wanted(child, _):
    return child.name == "up" or child.name in _STAGES or is_block(child)

  def is_block(child):
    return isinstance(child, inception_resnet_v2.ResidualBlock)

  _, kept = jax.jit(
    lambda v, x: module.apply(
      v, x, False, capture_intermediates=wanted, mutable=["intermediates"]
    )
  )(values, x)
  flat = flax.traverse_util.flatten_dict(kept["intermediates"]["backbone"])
  maps = {"/".join(path[:-1]): np.asarray(x) for path, (x,) in flat.items()}
  for mixed, (block, repeats, scale, _) in _STAGES.items():
    before = maps[mixed]
    for i in range(1, repeats + 1):
      name = f"{block}_{i}"
      last = name == "block8_10"
      up = maps[f"{name}/up"]
      assert up.min() < -0.1
      expected = before + (1 if last else scale) * up
      if not last:
        expected = np.maximum(expected, 0)
      np.testing.assert_allclose(
        maps[name], expected, rtol=1e-5, atol=1e-6, err_msg=name
      )
      before = maps[name]
  assert before.min() < 0


@pytest.mark.parametrize("padding", ["same", "symmetric"])
def test_averages_never_count_padding(padding, monkeypatch):
  avg_pool, counted = pooling.avg_pool, []

  def record(x, window, *, stride, padding, count_padding):
    counted.append(count_padding)
    return avg_pool(
      x, window, stride=stride, padding=padding, count_padding=count_padding
    )

  monkeypatch.setattr(pooling, "avg_pool", record)
  _maps(_build(padding=padding), 75)
  assert counted == [False]


def test_every_norm_is_told_of_training():
  told = []

  class Norm(nn.Module):
    def __call__(self, x, train, activation=None):
      told.append(train)
      return x

  backbone = inception_resnet_v2.InceptionResNetV2(
    width=0.125, norm=Norm, padding="same", dtype=jnp.float32
  )
  x = jax.ShapeDtypeStruct((1, 75, 75, 3), jnp.float32)
  for train in (True, False):
    told.clear()
    jax.eval_shape(
      lambda x, train=train: backbone.init(jax.random.key(0), x, train), x
    )
    assert told == [train] * 204
