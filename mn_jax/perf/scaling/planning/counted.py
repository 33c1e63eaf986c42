"""What a step costs a GPU, counted from the network's shapes.

No compiler for GPUs runs where there is none. FLOPs and bytes are those of the
benchmark's floors, so nothing is counted but the network and its optimizer. A
GPU keeps the training state, the gradient, the images, and of every convolution
its input and its output until the backward pass has used them. All gradients
are summed over the GPUs in one operation, in the type that the network computes
in. BatchNorm over the whole batch takes two more for each of its layers, with
two numbers per channel: its statistics, and the two sums of its gradient.
Nothing of that is overlapped.
"""

import dataclasses
import functools

import numpy as np

from mn_jax.config import Config
from mn_jax.models import counting, variables
from mn_jax.perf.bench import floors, shapes, worker
from mn_jax.perf.scaling import shaped
from mn_jax.perf.scaling.planning.collectives import Total
from mn_jax.perf.scaling.planning.predict import Work

_FLOAT32, _BFLOAT16 = 4, 2


@dataclasses.dataclass(frozen=True)
class _Counts:
  """What one GPU does and keeps, however many there are."""

  flops: float
  bytes: float
  memory_bytes: int
  trained: int
  norm_channels: tuple[int, ...]


def step(
  config: Config, *, batch_per_chip: int, count: int
) -> tuple[Work, int]:
  """Counts a step.

  Args:
    config: of one run.
    batch_per_chip: images of each GPU.
    count: number of GPUs.

  Returns:
    What it costs each GPU, and the memory in bytes that it needs there.

  Raises:
    InputError: see `shaped.describe`.
  """
  found = _count(config, batch_per_chip)
  norms = found.norm_channels
  times = 2 * config.optim.accumulate
  total = Total(
    kind="all-reduce",
    count=1 + times * len(norms),
    bytes=_item(config) * found.trained + times * 2 * _FLOAT32 * sum(norms),
    overlapped=False,
  )
  work = Work(
    flops=found.flops,
    cycles=0,
    bytes=found.bytes,
    collectives=(total,) if count > 1 else (),
  )
  return work, found.memory_bytes


@functools.lru_cache(maxsize=8)
def _count(config: Config, batch: int) -> _Counts:
  """Counts of one GPU with so many images."""
  step = shaped.describe(config, global_batch=batch, num_devices=1)
  model = config.model
  resolution = model.resolution or config.data.image_size
  calls = shapes.list_calls(step.module, resolution)
  params, _ = counting.count_params(variables.shapes(step.module, resolution))
  # A frozen backbone has no backward pass, and its BatchNorm no statistics.
  frozen = model.transfer == "frozen"
  work = floors.count(
    calls,
    macs=counting.count_macs(step.module, resolution),
    params=params,
    case=worker.Case(
      model=model.name,
      resolution=resolution,
      batch=batch,
      mode="infer" if frozen else "train",
      dtype=model.dtype,
      classes=step.classes,
      threads=1,
      allocator="glibc",
    ),
  )
  kept = [
    int(np.prod(call.input)) + int(np.prod(call.output))
    for call in calls
    if call.kind != "norm"
  ]
  # One after the other, where there is no backward pass.
  values = max(kept) if frozen else sum(kept)
  trained, _ = step.rules.split(step.state.params)
  gradient = shaped.num_bytes(trained)
  apart = frozen or model.norm_over != "batch"
  return _Counts(
    flops=work.flops * batch,
    bytes=work.bytes * batch,
    memory_bytes=shaped.num_bytes(step.state)
    + gradient
    + shaped.num_bytes(step.batch)
    + _item(config) * values * (batch // config.optim.accumulate),
    trained=gradient // _FLOAT32,
    norm_channels=tuple(
      call.output[-1] for call in calls if call.kind == "norm" and not apart
    ),
  )


def _item(config: Config) -> int:
  """Bytes of a number in the type that the network computes in."""
  return _BFLOAT16 if config.model.dtype == "bfloat16" else _FLOAT32
