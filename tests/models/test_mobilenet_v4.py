"""Tests of MobileNetV4's convolutional networks: counts, blocks, head."""

import numpy as np
import pytest

from mn_jax.models import layers, mobilenet_v4, variables
from tests.models import networks

_SMALL, _MEDIUM = "mobilenet_v4_conv_small", "mobilenet_v4_conv_medium"
# Name, width, trainable parameters, and mult-adds by resolution: timm, where
# widths 0.35 and 0.5 of Conv-Small have names of their own.
_TIMM_COUNTS = [
  (_SMALL, 0.5, 2_238_952, {224: 64_741_408}),
  (_SMALL, 0.35, 1_905_384, {224: 47_723_040}),
  (_MEDIUM, 1.0, 9_715_512, {224: 827_649_984}),
  (_MEDIUM, 0.5, 3_803_488, {}),
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
# Blocks that begin with a depthwise convolution, and that have one between the
# 1x1 convolutions.
_START = {
  _SMALL: {4, 9, 10, 11},
  _MEDIUM: {1, 2, 3, 4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 16, 17, 18, 21},
}
_MIDDLE = {
  _SMALL: {4, 5, 6, 7, 8, 10, 11, 12, 13, 14, 15},
  _MEDIUM: {1, 2, 3, 4, 5, 6, 7, 11, 12, 13, 14, 17, 18},
}
_RESIDUAL = {
  _SMALL: {5, 6, 7, 8, 9, 11, 12, 13, 14, 15},
  _MEDIUM: {2, *range(4, 11), *range(12, 22)},
}

_each = pytest.mark.parametrize("name", [_SMALL, _MEDIUM])


def _outputs(module, values: dict) -> dict:
  """What every unit and block of the backbone returns, by its path."""
  kinds = (layers.ConvBN, mobilenet_v4.UniversalBottleneck)
  x = networks.images(2, 32, 32, 3)
  return networks.outputs(module, values, x, kinds)[1]


def test_counts_are_those_of_timm():
  for name, width, params, macs in _TIMM_COUNTS:
    module = networks.build(name, 1000, width)
    for size in macs or [32]:
      rows = networks.layers(module, size)
      assert networks.count(rows)[0] == params, (name, width)
      assert not macs or networks.macs(rows) == macs[size], (name, size)


@pytest.mark.parametrize(
  ("name", "total", "headless"),
  [(_SMALL, 3_799_112, 1_284_192), (_MEDIUM, 9_783_416, 7_268_496)],
)
def test_parameters_with_running_statistics(name, total, headless):
  """The head is 960 x 1280, four vectors of its norm, 1280 x 1000 + 1000."""
  rows = networks.layers(networks.build(name, 1000), 224)
  assert sum(networks.count(rows)) == total
  assert sum(networks.count(rows, "backbone/")) == headless


@_each
def test_feature_maps(name):
  size = 50  # even and odd maps
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
  for width, stem, channels in (
    (0.35, 32, (16, 16, 32, 24, 32, 48, 336)),
    (0.5, 32, (16, 16, 48, 32, 48, 64, 480)),
    (1.5, 48, (48, 48, 144, 96, 144, 192, 1440)),
  ):
    maps = networks.maps(networks.build(_SMALL, width=width), 32)
    assert maps["stem"][-1] == stem
    names = [f"block{i}" for i in (0, 1, 2, 3, 4, 10)] + ["top"]
    assert tuple(maps[key][-1] for key in names) == channels


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


@pytest.mark.parametrize(
  "name", [_SMALL, pytest.param(_MEDIUM, marks=pytest.mark.extended)]
)
def test_blocks_are_those_of_the_tables(name):
  module = networks.build(name, width=0.5)
  outputs = _outputs(module, variables.initial_values(module, 32, 0))
  blocks = range(len(_WINDOWS[name]))
  residual, before = set(), outputs["stem"]
  for i in blocks:
    project = outputs.get(f"block{i}/project")
    # Neither a convolution nor a fused bottleneck has a shortcut.
    out = outputs.get(f"block{i}", project)
    if project is not None and not np.array_equal(out, project):
      residual.add(i)
      np.testing.assert_allclose(out, project + before, rtol=1e-5, atol=1e-6)
    before = out
  assert residual == _RESIDUAL[name]

  # ReLU follows all units but the first depthwise and the projection.
  linear = ("start_depthwise", "project")
  units = [path for path in outputs if "/" in path] + ["stem", "top"]
  if name == _SMALL:
    units += [f"block{i}" for i in range(4)]
  for path in units:
    assert (outputs[path].min() < 0) == path.endswith(linear), path
    assert outputs[path].max() > 0, path


@_each
def test_depthwise_convolutions_are_those_of_the_tables(name):
  params = networks.parameters(networks.build(name), 32)
  for units, unit in ((_START, "start_depthwise"), (_MIDDLE, "depthwise")):
    blocks = {
      i for i in range(len(_WINDOWS[name])) if unit in params[f"block{i}"]
    }
    assert blocks == units[name], unit


def test_the_only_fused_bottleneck_expands_four_times():
  fused = networks.parameters(networks.build(_MEDIUM), 32)["block0"]
  assert fused["expand"]["conv"]["kernel"].shape == (3, 3, 32, 128)
  assert fused["project"]["conv"]["kernel"].shape == (1, 1, 128, 48)


@_each
def test_head(name):
  """Hidden layer without bias, BatchNorm, ReLU; then the logits."""
  module, rng = networks.build(name, width=0.25), np.random.default_rng(0)
  values = variables.initial_values(module, 32, 0)
  head, stats = values["params"]["head"], values["batch_stats"]["head"]["norm0"]
  assert set(head["dense0"]) == {"kernel"}
  assert head["logits"]["kernel"].shape == (1280, 3)
  pooled = rng.normal(size=(2, len(head["dense0"]["kernel"])))
  pooled = pooled.astype(np.float32)
  for x in (head["norm0"]["scale"], head["norm0"]["bias"], stats["mean"]):
    x[:] = rng.normal(size=1280)
  stats["var"][:] = rng.uniform(0.5, 2, 1280)

  logits = module.apply(values, pooled, False, method="classify")
  x = pooled @ head["dense0"]["kernel"] - stats["mean"]
  x = x / np.sqrt(stats["var"] + np.float32(1e-3)) * head["norm0"]["scale"]
  x = np.maximum(x + head["norm0"]["bias"], 0)
  expected = x @ head["logits"]["kernel"]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
