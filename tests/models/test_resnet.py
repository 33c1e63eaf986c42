"""Tests of the ResNets."""

import numpy as np
import pytest

from mn_jax.models import resnet
from tests.models import networks


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_feature_maps(name):
  size = 65  # even and odd maps
  maps = networks.maps(networks.build(name, width=0.25), size)
  stages = resnet.STAGES[int(name.removeprefix("resnet"))]
  assert set(maps) == {
    "stem",
    *(f"block{i}" for i in range(sum(stages))),
    "pooled",
  }
  halved = [-(-size // 2**i) for i in range(1, 6)]
  assert maps["stem"] == (halved[0], halved[0], 16)
  factor = 4 if name == "resnet50" else 1
  for stage, i in enumerate(np.cumsum(stages) - 1):
    n = halved[stage + 1]
    assert maps[f"block{i}"] == (n, n, 16 * 2**stage * factor)


@pytest.mark.parametrize("stride_in_1x1", [False, True])
def test_place_of_a_bottlenecks_stride(stride_in_1x1):
  module = networks.build("resnet50", stride_in_1x1=stride_in_1x1)
  outputs = {x.path: x.output[0] for x in networks.layers(module, 64)}
  # At 64 pixels the first stage has 16, the second 8.
  for block, before, after in ((0, 16, 16), (3, 16, 8), (4, 8, 8), (7, 8, 4)):
    path = f"backbone/block{block}"
    first = after if stride_in_1x1 else before
    sizes = [outputs[f"{path}/conv{i}/conv"] for i in range(3)]
    assert sizes == [first, after, after]
