"""A small case of the benchmark."""

from mn_jax.perf.bench.side_process import Case


def make(**fields) -> Case:
  """MobileNetV1's training step on eight images of 32 pixels, in float32."""
  usual = {
    "model": "mobilenet_v1",
    "resolution": 32,
    "batch": 8,
    "mode": "train",
    "dtype": "float32",
    "classes": 2,
    "threads": 1,
    "allocator": "glibc",
  }
  return Case(**usual | fields)
