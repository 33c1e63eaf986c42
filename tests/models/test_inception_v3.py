"""Tests of InceptionV3: counts, maps, kernels, pooling."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from mn_jax.models import counting, registry, variables
from mn_jax.models.classifier import Classifier
from mn_jax.ops import padding as padding_lib
from mn_jax.ops import pooling

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


def _build(*, classes=3, width=1.0, head="own", **conventions) -> Classifier:
  usual = registry.get("inception_v3").conventions
  return registry.build(
    registry.describe(
      "inception_v3",
      num_classes=classes,
      width=width,
      head=head,
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


def test_counts_are_those_of_keras():
  module = _build(classes=1000)
  values = variables.shapes(module, 75)
  assert sum(counting.count_params(values)) == 23_851_784
  del values["params"]["head"]
  assert sum(counting.count_params(values)) == 21_802_784
  # torchvision says 5.713 G.
  assert counting.count_macs(module, 299) == 5_713_216_096


def test_counts_with_a_hidden_layer():
  values = variables.shapes(_build(classes=10, head="gap_1024"), 75)
  assert sum(counting.count_params(values)) == 23_911_210


def test_counts_with_factors_are_those_of_torchvision():
  """Without its auxiliary head of 3,326,696."""
  values = variables.shapes(_build(classes=1000, norm_scale=True), 75)
  assert counting.count_params(values) == (23_834_568, 34_432)


@pytest.mark.parametrize(
  ("size", "stem", "blocks"),
  [
    (299, (149, 147, 147, 73, 71), (35, 17, 8)),
    (75, (37, 35, 35, 17, 15), (7, 3, 1)),
    (74, (36, 34, 34, 16, 14), (6, 2, 0)),
  ],
)
def test_feature_maps(size, stem, blocks):
  """And 75 pixels are the least that leave one."""
  maps = _maps(_build(), size)
  pixels = [blocks[0]] * 3 + [blocks[1]] * 5 + [blocks[2]] * 3
  expected = dict(zip(_STEM, stem, strict=True))
  expected |= {f"mixed{i}": n for i, n in enumerate(pixels)}
  assert maps.pop("pooled").shape == (1, 2048)
  assert {k: x.shape[1:3] for k, x in maps.items()} == {
    k: (n, n) for k, n in expected.items()
  }
  channels = [maps[f"mixed{i}"].shape[-1] for i in range(11)]
  assert channels == list(_CHANNELS)


def test_width():
  maps = _maps(_build(width=0.25), 75)
  assert [maps[name].shape[-1] for name in _STEM] == [8, 8, 16, 20, 48]
  channels = [maps[f"mixed{i}"].shape[-1] for i in range(11)]
  assert channels == [n // 4 for n in _CHANNELS]


def test_smallest_resolution():
  assert registry.get("inception_v3").min_resolution == 75


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
  _maps(_build(padding=padding), 75)
  assert calls == " ".join(row for n, row in _WINDOWS for _ in range(n)).split()
  assert counted == [padding == "symmetric"] * 9


def test_units_have_the_names_of_torchvision():
  params = variables.shapes(_build(), 75)["params"]["backbone"]
  blocks = [set(params[f"mixed{i}"]) for i in range(11)]
  dbl = {f"branch3x3dbl_{i}" for i in (1, 2, 3)}
  ends = {"branch1x1", "branch_pool"}
  assert blocks[0] == blocks[2] == {"branch5x5_1", "branch5x5_2"} | dbl | ends
  assert blocks[3] == {"branch3x3"} | dbl
  sevens = {f"branch7x7_{i}" for i in (1, 2, 3)}
  sevens |= {f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)}
  assert blocks[4] == blocks[7] == sevens | ends
  sevens = {f"branch7x7x3_{i}" for i in (1, 2, 3, 4)}
  assert blocks[8] == {"branch3x3_1", "branch3x3_2"} | sevens
  threes = {f"branch3x3_{i}" for i in ("1", "2a", "2b")}
  threes |= {f"branch3x3dbl_{i}" for i in ("1", "2", "3a", "3b")}
  assert blocks[9] == blocks[10] == threes | ends


def test_batch_norm_has_no_factor_and_convolutions_no_bias():
  for module, names in (
    (_build(), {"bias"}),
    (_build(norm_scale=True), {"bias", "scale"}),
  ):
    stem = variables.shapes(module, 75)["params"]["backbone"]["stem"]
    assert set(stem["norm"]) == names
    assert set(stem["conv"]) == {"kernel"}
