"""Files with the names and shapes of timm and torchvision, and their logits.

`golden.py` says how the logits were made; nothing of torch is needed here.
"""

import json
import pathlib

import jax
import numpy as np
import pytest
import safetensors.numpy
from golden import image, tensor

from mn_jax.models import registry, variables
from mn_jax.weights import pretrained

FILES = sorted((pathlib.Path(__file__).parent / "torch").glob("*.json"))
NAMES = {
  "mobilenetv1_100": "mobilenet_v1",
  "mobilenetv2_100": "mobilenet_v2",
  "mobilenetv3_large_100": "mobilenet_v3_large",
  "mobilenetv3_small_100": "mobilenet_v3_small",
  "mobilenetv4_conv_small": "mobilenet_v4_conv_small",
  "mobilenetv4_conv_medium": "mobilenet_v4_conv_medium",
}


def read(path):
  """(our name, the golden file's content)."""
  golden = json.loads(path.read_text())
  network = golden["network"]
  return NAMES.get(network, network), golden


def state_dict(golden):
  return {n: tensor(n, tuple(s)) for n, s in golden["tensors"].items()}


def write(folder, tensors):
  path = folder / "model.safetensors"
  safetensors.numpy.save_file(tensors, path)
  return str(path)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_logits_are_those_of_the_original(path, tmp_path):
  name, golden = read(path)
  wanted = registry.describe(name, num_classes=1000)
  loaded = pretrained.load(write(tmp_path, state_dict(golden)), wanted)
  module = registry.build(loaded.network)
  for resolution, expected in golden["logits"].items():
    values = pretrained.insert(
      loaded, variables.initial_values(module, int(resolution), 0)
    )
    apply = jax.jit(lambda v, x: module.apply(v, x, False)[0])
    logits = apply(values, image(int(resolution)))[0, :10]
    scale = np.std(expected)
    np.testing.assert_allclose(logits, expected, atol=2e-4 * max(scale, 1))
