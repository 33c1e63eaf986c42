"""The least bytes of a step: by hand, and of the published networks."""

import pytest

from mn_jax.models import counting, registry, variables
from mn_jax.models.counting import Layer
from mn_jax.perf.program import floors

LAYERS = [
  Layer("stem/conv", "conv 3x3", (4, 4, 3), (2, 2, 8), {}),
  Layer("stem/norm", "norm", (2, 2, 8), (2, 2, 8), {}),
  Layer("block/conv", "conv 1x1", (2, 2, 8), (2, 2, 16), {}),
  Layer("block/norm", "norm", (2, 2, 16), (2, 2, 16), {}),
  Layer("logits", "dense", (16,), (2,), {}),
]


def count(layers=LAYERS, **options):
  options = {"params": 50, "batch": 10, "dtype": "float32", **options}
  return floors.bytes_per_image(layers, **options)


def test_by_hand():
  norms = 32 + 64
  # Input and output of three layers; the first has no gradient of its input.
  plain = 2 * (48 + 32) + 3 * (32 + 64) + 3 * (16 + 2)
  shared = 10 * 4 * 50 / 10
  assert count(train=True) == {
    "nothing fused": 4 * (plain + (8 + 5) * norms) + shared,
    "as XLA fuses": 4 * (plain + 8 * norms) + shared,
    # Its kernel's gradient needs its output, too, for BatchNorm.
    "perfectly fused": 4 * (plain + 32) + shared,
  }
  plain = (48 + 32) + (32 + 64) + (16 + 2)
  shared = 4 * 50 / 10
  assert count(train=False, dtype="bfloat16") == {
    "nothing fused": 2 * (plain + 4 * norms) + shared,
    "as XLA fuses": 2 * plain + shared,
    "perfectly fused": 2 * plain + shared,
  }


def test_without_norms_there_is_nothing_to_fuse_into_convolutions():
  layers = [layer for layer in LAYERS if layer.kind != "norm"]
  found = count(layers, train=True)
  assert len(set(found.values())) == 1


@pytest.mark.parametrize(
  ("name", "nothing", "xla", "perfect"),
  [("mobilenet_v1", 191.8, 141.4, 61.5), ("mobilenet_v2", 253.8, 187.0, 80.9)],
)
def test_of_the_networks_at_224_pixels(name, nothing, xla, perfect):
  module = registry.build(registry.describe(name, num_classes=1000))
  params, _ = counting.count_params(variables.shapes(module, 224))
  found = count(
    counting.list_layers(module, 224),
    params=params,
    batch=256,
    train=True,
    dtype="bfloat16",
  )
  # Of V1: 10.09 M outputs of 2 bytes, read or written 19, 14 and 6 times.
  megabytes = [value / 1e6 for value in found.values()]
  assert megabytes == pytest.approx([nothing, xla, perfect], abs=0.06)
