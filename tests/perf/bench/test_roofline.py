import math

import pytest

from mn_jax.models import counting, registry
from mn_jax.models.counting import Layer
from mn_jax.perf.bench import roofline
from tests.perf.bench import toy_case

LAYERS = [
  Layer(
    "stem/conv", "conv 3x3", (4, 4, 3), (2, 2, 8), {"kernel": (3, 3, 3, 8)}
  ),
  Layer("stem/norm", "norm", (2, 2, 8), (2, 2, 8), {}),
  Layer("block/conv", "conv 1x1", (2, 2, 8), (2, 2, 16), {"kernel": (8, 16)}),
  Layer("block/norm", "norm", (2, 2, 16), (2, 2, 16), {}),
  Layer("logits", "dense", (16,), (2,), {"kernel": (16, 2)}),
]
MACS = 4 * 3 * 3 * 3 * 8 + 4 * 8 * 16 + 16 * 2


def count(**options):
  return roofline.count_work(LAYERS, params=50, batch=10, **options)


def test_work_by_hand():
  work = count(train=False, dtype="float32")
  read, written = 48 + 32 + 16, 32 + 64 + 2
  assert work.bytes == 4 * (read + written) + 4 * 50 / 10
  assert work.flops == 2 * MACS
  work = count(train=True, dtype="bfloat16")
  # The first convolution has no input gradient to read and write for.
  convolutions = 2 * (48 + 32) + 3 * (32 + 64) + 3 * (16 + 2)
  norms = 8 * (32 + 64)
  assert work.bytes == 2 * (convolutions + norms) + 4 * 10 * 50 / 10
  assert work.flops == 3 * 2 * MACS
  peaks = roofline.Peaks(flops_per_sec=100.0, bytes_per_sec=10.0)
  assert roofline.Work(flops=50.0, bytes=20.0).seconds(peaks) == (0.5, 2.0)


def test_the_floor_of_a_network(monkeypatch):
  monkeypatch.setattr(
    roofline, "measure_peaks", lambda dtype: roofline.Peaks(1e9, 1e9)
  )
  case = toy_case.make(resolution=8)
  found = roofline.of_network(case)
  module = registry.build(registry.describe("mobilenet_v1", num_classes=2))
  macs = counting.count_macs(module, 8)
  assert found["mult_adds_per_image"] == macs
  assert found["flop_images_per_sec"] == pytest.approx(1e9 / (6 * macs))
  assert found["images_per_sec"] == pytest.approx(
    min(found["flop_images_per_sec"], found["byte_images_per_sec"])
  )


def test_peaks_are_measured(monkeypatch):
  monkeypatch.setattr(roofline, "_MATRIX", {"cpu": 16, "gpu": 16})
  monkeypatch.setattr(roofline, "_PATIENCE", 0.0)
  monkeypatch.setattr(roofline, "_COPIED", {"cpu": 1024, "gpu": 1024})
  for dtype in ("float32", "bfloat16"):
    found = roofline.measure_peaks(dtype)
    assert 0 < found.flops_per_sec < math.inf
    assert 0 < found.bytes_per_sec < math.inf
