"""How fast a step could be: what it must do, and what the machine can.

Mult-adds are those of `models.counting`; one is two FLOPs, and training costs
three forward passes. Bytes are counted for a compiler that fuses elementwise
work into what reads or writes it, but not into convolutions. Of a convolution
with an input of I and an output of O values,

- inference reads I and writes O: BatchNorm and activation cost nothing;
- training reads I and writes O; the backward pass reads the gradient O and
  writes I, and reads I and O again for the weights: 3 I + 3 O. A BatchNorm
  behind it reads O for its statistics, reads and writes it to normalise, and
  backward reads two arrays for its sums and two for its gradient, which it
  writes: 8 O more. The first convolution has no gradient to write.

Parameters are read once in inference. Training reads them forward and backward
and writes the gradient; Adam reads gradient, parameters and two moments and
writes the last three: ten times float32. They are shared by the batch. Nothing
stays in a cache from one operation to the next; where much does, as on a CPU
with a small batch, a step may be faster than this floor.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.models import counting, registry, variables
from mn_jax.perf.bench import shapes, worker

# Of each ceiling: the fewest trials, and seconds for more of them.
_TRIALS, _PATIENCE = 5, 1.0
# Large enough that nothing stays in a CPU's cache.
_COPIED = {"cpu": 256 << 20, "gpu": 4 << 30}
_MATRIX = {"cpu": 2048, "gpu": 8192}


@dataclasses.dataclass(frozen=True)
class Work:
  """What one image of a step costs.

  Attributes:
    flops: two per mult-add.
    bytes: read and written, as counted in this file's docstring.
  """

  flops: float
  bytes: float

  def seconds(self, ceilings: "Ceilings") -> tuple[float, float]:
    """What arithmetic and what memory need at least."""
    return (
      self.flops / ceilings.flops_per_sec,
      self.bytes / ceilings.bytes_per_sec,
    )


@dataclasses.dataclass(frozen=True)
class Ceilings:
  """What the device can do, measured.

  Attributes:
    flops_per_sec: of a large matrix product in the type of the case.
    bytes_per_sec: read and written by a copy into a buffer that is kept.
  """

  flops_per_sec: float
  bytes_per_sec: float


def count(
  calls: list[shapes.Call], *, macs: int, params: int, case: worker.Case
) -> Work:
  """The work of one image of a network.

  Args:
    calls: of its layers.
    macs: mult-adds of a forward pass.
    params: number of trainable parameters.
    case: the batch, the mode and the type.
  """
  normed = {
    c.path.removesuffix("norm") + "conv" for c in calls if c.kind == "norm"
  }
  train = case.mode == "train"
  values = 0
  convolutions = [c for c in calls if c.kind != "norm"]
  for i, call in enumerate(convolutions):
    given, out = int(np.prod(call.input)), int(np.prod(call.output))
    if not train:
      values += given + out
      continue
    values += 3 * given + 3 * out
    if i == 0:
      values -= given + out
    if call.path in normed:
      values += 8 * out
  item = 2 if case.dtype == "bfloat16" else 4
  touched = 10 if train else 1
  return Work(
    flops=counting.image_flops(macs, backward=train),
    bytes=item * values + 4 * touched * params / case.batch,
  )


def of_network(case: worker.Case) -> dict[str, Any]:
  """Counts, ceilings and the images/s that they allow, as JSON."""
  network = registry.describe(case.model, num_classes=case.classes)
  module = registry.build(network, dtype=case.dtype)
  params, _ = counting.count_params(variables.shapes(module, case.resolution))
  macs = counting.count_macs(module, case.resolution)
  work = count(
    shapes.list_calls(module, case.resolution),
    macs=macs,
    params=params,
    case=case,
  )
  ceilings = measure_ceilings(case.dtype)
  arithmetic, memory = work.seconds(ceilings)
  return {
    "mult_adds_per_image": macs,
    "flops_per_image": work.flops,
    "bytes_per_image": work.bytes,
    "matmul_flops_per_sec": ceilings.flops_per_sec,
    "copy_bytes_per_sec": ceilings.bytes_per_sec,
    "flop_images_per_sec": 1 / arithmetic,
    "byte_images_per_sec": 1 / memory,
    "images_per_sec": 1 / max(arithmetic, memory),
  }


def measure_ceilings(dtype: str) -> Ceilings:
  """The best of some matrix products and some copies."""
  platform = "cpu" if jax.default_backend() == "cpu" else "gpu"
  size = _MATRIX[platform]
  matrix = jnp.ones((size, size), dtype)
  product = jax.jit(lambda a, b: a @ b)
  multiply = _best(lambda: product(matrix, matrix))

  source = jnp.zeros(_COPIED[platform] // 4, jnp.float32)
  target = jnp.zeros_like(source)
  # The old target's memory takes the new one: no page is touched first.
  copy = jax.jit(lambda x, y: x + 1, donate_argnums=1, keep_unused=True)

  def copied() -> jax.Array:
    nonlocal target
    target = copy(source, target)
    return target

  return Ceilings(
    flops_per_sec=2 * size**3 / multiply,
    bytes_per_sec=2 * source.nbytes / _best(copied),
  )


def device_peak(device: jax.Device) -> int | None:
  """The most memory in bytes used on a device; None where it is the host's."""
  stats = device.memory_stats()
  return stats["peak_bytes_in_use"] if stats else None


def _best(run: Callable[[], jax.Array]) -> float:
  """Seconds of the fastest of some runs, after one to warm up."""
  jax.block_until_ready(run())
  seconds: list[float] = []
  while len(seconds) < _TRIALS or sum(seconds) < _PATIENCE:
    start = time.perf_counter()
    jax.block_until_ready(run())
    seconds.append(time.perf_counter() - start)
  return min(seconds)
