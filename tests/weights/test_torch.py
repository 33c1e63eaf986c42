"""Files with the names and shapes of timm and torchvision, and their logits.

`golden.py` says how the logits were made; nothing of torch is needed here.
"""

import jax
import numpy as np
import pytest
import safetensors.numpy

from mn_jax.models import registry, variables
from mn_jax.weights import pretrained
from tests.weights.golden import FILES, image, read, tensor

# Both libraries, and each kind of block.
FAST = (
  "timm_mobilenetv1_100-64",
  "timm_mobilenetv4_conv_small-64",
  "torchvision_mobilenet_v3_small-64",
  "timm_resnet18-64",
)
# Both libraries name and compute these alike, so one file of each is enough;
# the others are the largest.
LONG = (
  "torchvision_inception_v3",
  "torchvision_resnet18",
  "torchvision_resnet34",
  "torchvision_resnet50",
  "timm_resnet152",
  "torchvision_resnet152",
  "timm_vgg16",
  "torchvision_vgg16",
)
# MobileNetV3 large's logits reach 15; float64 differs from float32 by 1e-4.
TOLERANCES = {
  "timm_mobilenetv3_large_100": 1e-3,
  "torchvision_mobilenet_v3_large": 1e-3,
}


def cases():
  """Each file at its first size, which shows every wrong padding."""
  for path in FILES:
    for i, resolution in enumerate(read(path)[1]["logits"]):
      name = f"{path.stem}-{resolution}"
      marks = [] if name in FAST else [pytest.mark.extended]
      if i > 0 or path.stem in LONG:
        marks = [pytest.mark.slow]
      yield pytest.param(path, int(resolution), id=name, marks=marks)


def state_dict(golden):
  return {n: tensor(n, tuple(s)) for n, s in golden["tensors"].items()}


def write(folder, tensors):
  path = folder / "model.safetensors"
  safetensors.numpy.save_file(tensors, path)
  return str(path)


@pytest.mark.parametrize(("path", "resolution"), list(cases()))
def test_logits_are_those_of_the_original(path, resolution, tmp_path):
  name, golden = read(path)
  wanted = registry.describe(name, num_classes=1000)
  loaded = pretrained.load(write(tmp_path, state_dict(golden)), wanted)
  module = registry.build(loaded.network)
  values = pretrained.insert(
    loaded, variables.initial_values(module, resolution, 0)
  )
  apply = jax.jit(lambda v, x: module.apply(v, x, False)[0])
  np.testing.assert_allclose(
    apply(values, image(resolution))[0, :10],
    golden["logits"][str(resolution)],
    rtol=0,
    atol=TOLERANCES.get(path.stem, 2e-4),
  )
