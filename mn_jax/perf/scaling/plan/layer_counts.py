"""Counts what a training step costs a GPU from the network's layers.

Nothing is compiled here, although XLA can compile for a GPU without having one.
FLOPs and bytes are those of the benchmark's roofline floor, so nothing is
counted but the network and its optimizer. A GPU keeps the training state, the
gradient, the images, and of every convolution its input and its output until
the backward pass has used them. All gradients are summed over the GPUs in one
operation, in the dtype that the network computes in. BatchNorm over the whole
batch takes two more for each of its layers, with two numbers per channel: its
statistics, and the two sums of its gradient. Nothing of that is overlapped.
"""

import dataclasses
import functools
import math

from mn_jax.config import Config
from mn_jax.models import counting
from mn_jax.perf.bench import roofline
from mn_jax.perf.scaling import abstract_step
from mn_jax.perf.scaling.plan.prediction import CollectiveTotal, Work

_FLOAT32, _BFLOAT16 = 4, 2


@dataclasses.dataclass(frozen=True)
class _Counts:
  """What a step costs one GPU, whatever their number."""

  flops: float
  bytes: float
  memory_bytes: int
  trained_params: int
  norm_channels: tuple[int, ...]


def count_step(
  config: Config, *, batch_per_chip: int, count: int
) -> tuple[Work, int]:
  """Counts the work and the memory of a step on GPUs.

  Args:
    config: of one run.
    batch_per_chip: images of each GPU.
    count: number of GPUs.

  Returns:
    What a step costs each GPU, and the memory in bytes that it needs there.

  Raises:
    InputError: see `abstract_step.make`.
  """
  counts = _count(config, batch_per_chip)
  norms = counts.norm_channels
  times = 2 * config.optim.accumulate
  gradients = _item_bytes(config) * counts.trained_params
  total = CollectiveTotal(
    kind="all-reduce",
    count=1 + times * len(norms),
    bytes=gradients + times * 2 * _FLOAT32 * sum(norms),
    overlapped=False,
  )
  work = Work(
    flops=counts.flops,
    cycles=0,
    bytes=counts.bytes,
    collectives=(total,) if count > 1 else (),
  )
  return work, counts.memory_bytes


@functools.lru_cache(maxsize=8)
def _count(config: Config, batch: int) -> _Counts:
  """Counts of one GPU with `batch` images."""
  step = abstract_step.make(config, global_batch=batch, num_devices=1)
  resolution = abstract_step.resolution(config)
  layers = counting.list_layers(step.module, resolution)
  norms = [layer.output[-1] for layer in layers if layer.kind == "norm"]
  # A frozen backbone has no backward pass, and its BatchNorm no statistics.
  frozen = config.model.transfer == "frozen"
  work = roofline.count_work(
    layers,
    params=abstract_step.num_bytes(step.state.params) // _FLOAT32,
    batch=batch,
    train=not frozen,
    dtype=config.model.dtype,
  )
  activations = [
    math.prod(layer.input) + layer.outputs
    for layer in layers
    if layer.kind != "norm"
  ]
  # One after the other, where there is no backward pass.
  values = max(activations) if frozen else sum(activations)
  trained, _ = step.rules.split(step.state.params)
  gradient = abstract_step.num_bytes(trained)
  summed = not frozen and config.model.norm_over == "batch"
  return _Counts(
    flops=work.flops * batch,
    bytes=work.bytes * batch,
    memory_bytes=abstract_step.num_bytes(step.state)
    + gradient
    + abstract_step.num_bytes(step.batch)
    + _item_bytes(config) * values * (batch // config.optim.accumulate),
    trained_params=gradient // _FLOAT32,
    norm_channels=tuple(norms) if summed else (),
  )


def _item_bytes(config: Config) -> int:
  """Bytes of a number in the dtype that the network computes in."""
  return _BFLOAT16 if config.model.dtype == "bfloat16" else _FLOAT32
