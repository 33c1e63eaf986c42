"""Counts what a training step costs a GPU from the network's layers.

This stands in for a compiled program where the package that compiles for GPUs
is missing; beside one it shows how far off a count is. FLOPs and bytes are
those of the benchmark's roofline floor, so nothing is counted but the network
and its optimizer. A GPU keeps the training state, the gradient, the images, and
of every convolution its input and its output until the backward pass has used
them. All gradients are summed over the GPUs in one operation, in the dtype that
the network computes in. BatchNorm over the whole batch takes two more for each
of its layers, with two numbers per channel: its statistics, and the two sums of
its gradient. Nothing of that is overlapped.
"""

import dataclasses
import functools
import math

from mn_jax.config import Config
from mn_jax.config.experiment import train_resolution
from mn_jax.models import counting
from mn_jax.perf import abstract_step
from mn_jax.perf.bench import roofline
from mn_jax.perf.program import floors
from mn_jax.perf.program.costs import CollectiveTotal
from mn_jax.perf.scaling.plan.prediction import Work

_FLOAT32 = 4  # bytes


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
  work, memory = _count(config, batch_per_chip)
  return (
    work if count > 1 else dataclasses.replace(work, collectives=())
  ), memory


@functools.lru_cache(maxsize=8)
def _count(config: Config, batch: int) -> tuple[Work, int]:
  """Counts for one of several GPUs with `batch` images each."""
  step = abstract_step.make(config, global_batch=batch, num_devices=1)
  layers = counting.list_layers(step.module, train_resolution(config))
  item = floors.item_bytes(config.model.dtype)
  micro_batches = config.optim.accumulate
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
  channels = []
  if not frozen and config.model.norm_over == "batch":
    channels = [layer.output[-1] for layer in layers if layer.kind == "norm"]
  total = CollectiveTotal(
    kind="all-reduce",
    count=1 + 2 * micro_batches * len(channels),
    bytes=item * (gradient // _FLOAT32)
    + 2 * micro_batches * 2 * _FLOAT32 * sum(channels),
    overlapped=False,
  )
  memory = (
    abstract_step.num_bytes((step.state, step.batch))
    + gradient
    + item * values * (batch // micro_batches)
  )
  return Work(work.flops * batch, 0, work.bytes * batch, (total,)), memory
