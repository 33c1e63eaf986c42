"""Tests of MobileNetV3: counts, tables, blocks, head."""

import numpy as np
import pytest

from mn_jax.models import mobilenet_v3, variables
from tests.models import networks

# Name, width, minimalistic; parameters with running means and variances, with
# and without the top; mult-adds at 224 pixels: Keras Applications. TF-slim's
# README has the same of Large in millions, 217, 155 and 209; its 66 for Small
# are not those of its code, 56.5.
_KERAS_COUNTS = [
  ("mobilenet_v3_large", 1.0, True, 3_948_688, 1_437_608, 209_136_704),
  ("mobilenet_v3_small", 0.75, False, 2_051_552, 583_160, 43_399_344),
  ("mobilenet_v3_small", 1.0, True, 2_056_848, 441_000, 52_288_448),
]
# Bottlenecks of tables 1 and 2: height and width of the kernels, strides.
_KERNELS = {
  "mobilenet_v3_large": (3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5),
  "mobilenet_v3_small": (3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5),
}
_STRIDES = {
  "mobilenet_v3_large": (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1),
  "mobilenet_v3_small": (2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1),
}


def test_counts_are_those_of_keras():
  for name, width, minimalistic, *expected in _KERAS_COUNTS:
    module = networks.build(name, 1000, width, minimalistic=minimalistic)
    rows = networks.layers(module, 224)
    counts = [
      sum(networks.count(rows)),
      sum(networks.count(rows, "backbone/")),
      networks.macs(rows),
    ]
    assert counts == expected, (name, width, minimalistic)


def test_feature_maps():
  name, size = "mobilenet_v3_small", 50  # even and odd maps
  maps = dict(networks.maps(networks.build(name), size))
  expected, pixels = {"stem": -(-size // 2)}, -(-size // 2)
  for i, stride in enumerate(_STRIDES[name]):
    pixels = -(-pixels // stride)
    expected[f"block{i}"] = pixels
  expected["top"] = pixels
  pooled = maps.pop("pooled")
  assert {key: shape[:2] for key, shape in maps.items()} == {
    key: (n, n) for key, n in expected.items()
  }
  assert pixels == -(-size // 32)
  assert maps["top"][-1] == pooled[-1] == 576


def test_width_leaves_the_stem():
  """Ratios of expansion stay: 72 / 24 of 24 channels is 72 at 0.75."""
  module = networks.build("mobilenet_v3_large", width=0.75)
  maps = networks.maps(module, 32)
  channels = [maps[name][-1] for name in ("stem", "block3", "top")]
  assert channels == [16, 32, 720]
  expand = networks.parameters(module, 32)["block3"]["expand"]["conv"]["kernel"]
  assert expand.shape == (1, 1, 24, 72)


@pytest.mark.parametrize("name", _KERNELS)
@pytest.mark.parametrize("minimalistic", [False, True])
def test_kernels_and_strides_are_those_of_the_tables(
  name, minimalistic, monkeypatch
):
  """And every one of them is padded by the network's rule."""
  calls = networks.record_padding(monkeypatch)
  module = networks.build(name, minimalistic=minimalistic, padding="symmetric")
  variables.shapes(module, 32)
  kernels = _KERNELS[name]
  if minimalistic:
    kernels = (3,) * len(kernels)
  assert calls == [
    ("symmetric", (kernel, kernel), stride)
    for kernel, stride in zip((3, *kernels), (2, *_STRIDES[name]), strict=True)
  ]


def test_head_of_the_minimalistic_network():
  """Hidden layer with bias and ReLU; then the logits."""
  name = "mobilenet_v3_small"
  module = networks.build(name, width=0.25, minimalistic=True)
  values = variables.initial_values(module, 32, 0)
  head = values["params"]["head"]
  rng = np.random.default_rng(0)
  pooled = rng.normal(size=(2, len(head["dense0"]["kernel"])))
  pooled = pooled.astype(np.float32)
  head["dense0"]["bias"][:] = rng.normal(size=1024)
  logits = module.apply(values, pooled, False, method="classify")
  x = pooled @ head["dense0"]["kernel"] + head["dense0"]["bias"]
  expected = np.maximum(x, 0) @ head["logits"]["kernel"]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_hidden_layer_only_grows():
  """As in Keras: `alpha` above 1 alone scales the last point convolution."""
  for width, hidden in ((0.5, 1024), (1.0, 1024), (1.25, 1280)):
    assert mobilenet_v3.head(1024, width, False).hidden == (hidden,)
