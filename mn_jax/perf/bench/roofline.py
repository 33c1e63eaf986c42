"""The roofline floor of a step: its FLOPs and bytes at the machine's peaks.

Mult-adds are those of `models.counting`; one is two FLOPs, and training costs
three forward passes. Bytes are those of `program.floors` for a compiler that
fuses as XLA does: elementwise work into what reads or writes it, but not into
convolutions. Nothing stays in a cache from one operation to the next; where
much does, as on a CPU with a small batch, a step may be faster than this floor.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from mn_jax.models import counting, registry, variables
from mn_jax.perf.bench.side_process import Case
from mn_jax.perf.program import floors

# For each peak: the fewest trials, and seconds for more of them.
_TRIALS, _PATIENCE = 5, 1.0
# Bytes to copy: more than any CPU's cache holds.
_COPIED = {"cpu": 256 << 20, "gpu": 4 << 30}
_MATRIX = {"cpu": 2048, "gpu": 8192}


@dataclasses.dataclass(frozen=True)
class Peaks:
  """Measured peak rates of the device.

  Attributes:
    flops_per_sec: of a large matrix product in the dtype of the case.
    bytes_per_sec: read and written by a copy into an existing buffer.
  """

  flops_per_sec: float
  bytes_per_sec: float


@dataclasses.dataclass(frozen=True)
class Work:
  """The work of a step, or of one image of it.

  Attributes:
    flops: two per mult-add.
    bytes: read and written, counted as this module says.
  """

  flops: float
  bytes: float

  def seconds(self, peaks: Peaks) -> tuple[float, float]:
    """The least time for arithmetic, and for memory traffic."""
    return self.flops / peaks.flops_per_sec, self.bytes / peaks.bytes_per_sec


def count_work(
  layers: list[counting.Layer],
  *,
  params: int,
  batch: int,
  train: bool,
  dtype: str,
) -> Work:
  """Counts the work of one image of a network.

  Args:
    layers: from `counting.list_layers`.
    params: number of trainable parameters.
    batch: images per step.
    train: whether it trains; otherwise it infers.
    dtype: 'float32' or 'bfloat16'.
  """
  moved = floors.bytes_per_image(
    layers, params=params, batch=batch, train=train, dtype=dtype
  )
  return Work(
    flops=counting.image_flops(
      sum(layer.macs for layer in layers), backward=train
    ),
    bytes=moved[floors.XLA],
  )


def of_network(case: Case) -> dict[str, Any]:
  """Counts, measured peaks and the images/s that they allow, as JSON."""
  network = registry.describe(case.model, num_classes=case.classes)
  module = registry.build(network, dtype=case.dtype)
  params, _ = counting.count_params(variables.shapes(module, case.resolution))
  layers = counting.list_layers(module, case.resolution)
  work = count_work(
    layers,
    params=params,
    batch=case.batch,
    train=case.mode == "train",
    dtype=case.dtype,
  )
  peaks = measure_peaks(case.dtype)
  arithmetic, memory = work.seconds(peaks)
  return {
    "mult_adds_per_image": sum(layer.macs for layer in layers),
    "flops_per_image": work.flops,
    "bytes_per_image": work.bytes,
    "matmul_flops_per_sec": peaks.flops_per_sec,
    "copy_bytes_per_sec": peaks.bytes_per_sec,
    "flop_images_per_sec": 1 / arithmetic,
    "byte_images_per_sec": 1 / memory,
    "images_per_sec": 1 / max(arithmetic, memory),
  }


def measure_peaks(dtype: str) -> Peaks:
  """Measures the best of some matrix products and of some copies."""
  platform = "cpu" if jax.default_backend() == "cpu" else "gpu"
  size = _MATRIX[platform]
  matrix = jnp.ones((size, size), dtype)
  product = jax.jit(lambda a, b: a @ b)
  multiply = _fastest(lambda: product(matrix, matrix))

  source = jnp.zeros(_COPIED[platform] // 4, jnp.float32)
  target = jnp.zeros_like(source)
  # The old target's memory takes the new one: no page is touched first.
  add_one = jax.jit(lambda x, y: x + 1, donate_argnums=1, keep_unused=True)

  def copy() -> jax.Array:
    nonlocal target
    target = add_one(source, target)
    return target

  return Peaks(
    flops_per_sec=2 * size**3 / multiply,
    bytes_per_sec=2 * source.nbytes / _fastest(copy),
  )


def _fastest(run: Callable[[], jax.Array]) -> float:
  """Seconds of the fastest of some runs, after one to warm up."""
  jax.block_until_ready(run())
  seconds: list[float] = []
  while len(seconds) < _TRIALS or sum(seconds) < _PATIENCE:
    start = time.perf_counter()
    jax.block_until_ready(run())
    seconds.append(time.perf_counter() - start)
  return min(seconds)
