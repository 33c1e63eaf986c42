"""Predicts the time of a training step from published rates.

A step takes as long as its arithmetic, its memory traffic or what the compiler
expects of its operations one after the other, whichever is the longest, and
then the collective operations that are not overlapped:

  max(FLOPs / peak, cycles / clock, bytes / bandwidth, overlapped links)
    + other links

Assumptions:

- Peaks and bandwidths are those of `accelerators`, fully achieved. So a
  prediction is the least time that a step can take, and its efficiency is a low
  one: whatever slows the chips down and not the links makes the links matter
  less. Peaks are those of the dtype, see `Accelerator.peak`.
- Cycles are the compiler's estimate (`costs.cycles`), for TPUs alone. They
  include the vector units, which keep these networks busy longer than matrix
  units and memory: without them, the step of MobileNetV1 at 224 pixels on v5e
  would be predicted 2.4 times as fast. GPUs have no such estimate, and no
  launch of a kernel costs time: there a prediction is a bound by bytes and
  products, and that of a small step far from what it takes.
- A collective of b bytes over n chips sends 2 (n - 1) / n b from each chip if
  it is an all-reduce, and half of that if it is a reduce-scatter or an
  all-gather. On a torus it uses all axes at once, each with a link in both
  directions where the axis is a ring, and as much as one link where it is a
  line. Its latency is that of the hops along one axis after the other: half a
  ring or a whole line, twice for an all-reduce.
- Between nodes of GPUs, an all-reduce is one within each node, and one between
  the nodes in which each GPU has its share of the array. Its latency is that of
  a tree.
- Batches are there when they are needed; compilation, evaluation and
  checkpoints are not counted.
"""

import dataclasses
import math

from mn_jax.parallel.accelerators import Accelerator, Nodes, Torus
from mn_jax.perf.program.costs import CollectiveTotal


@dataclasses.dataclass(frozen=True)
class Work:
  """What one step costs one chip.

  Attributes:
    flops: floating-point operations.
    cycles: that the compiler expects; 0 without an estimate.
    bytes: read from and written to its memory.
    collectives: with the other chips.
  """

  flops: float
  cycles: float
  bytes: float
  collectives: tuple[CollectiveTotal, ...]


@dataclasses.dataclass(frozen=True)
class Count:
  """What the count from layers says of a step on one GPU.

  Attributes:
    flops, bytes, memory_bytes, step_seconds: as in `PlanRow`.
  """

  flops: float
  bytes: float
  memory_bytes: int
  step_seconds: float


@dataclasses.dataclass(frozen=True)
class StepTime:
  """Predicted seconds of one step, by what they are spent on.

  Attributes:
    compute: arithmetic at the peak, or all operations as the compiler expects
      them if that is longer.
    memory: memory traffic at the bandwidth.
    exposed_links: collectives that the chip waits for.
    hidden_links: collectives that are overlapped with work.
  """

  compute: float
  memory: float
  exposed_links: float
  hidden_links: float

  @property
  def links(self) -> float:
    """All collectives, overlapped or not."""
    return self.exposed_links + self.hidden_links

  @property
  def total(self) -> float:
    """The whole step."""
    return (
      max(self.compute, self.memory, self.hidden_links) + self.exposed_links
    )

  @property
  def bound(self) -> str:
    """The largest of 'compute', 'memory' and 'links'."""
    return max(("compute", "memory", "links"), key=lambda n: getattr(self, n))


@dataclasses.dataclass(frozen=True)
class PlanRow:
  """The predicted training step on one number of chips, a row of plan.json.

  Undefined values are None: all that follows from a step that does not fit, or
  from a slice that does not exist.

  Attributes:
    chip: a name in `accelerators.ACCELERATORS`.
    count: number of chips.
    topology: of the slice, '4x4'; of GPUs nodes x GPUs in each.
    scaling: 'weak' or 'strong'.
    batch_per_chip, global_batch: images per step.
    fits: whether the step fits in memory.
    memory_limit: bytes that a chip has for a program.
    memory_bytes: that the step needs on each chip, also if it does not fit.
    flops, cycles, bytes, collectives: of a step on each chip, see `Work`.
    bound: what most of the step is spent on: 'compute', 'memory', 'links'.
    compute_seconds, memory_seconds, link_seconds: see `StepTime`.
    step_seconds, images_per_sec: predicted, the latter of all chips.
    efficiency: images/s per chip relative to the fewest chips of the plan.
    chip_hours_per_epoch: for as many images as the data set has.
    compiled: whether the program of this very row was compiled.
    counted: of a row from a compiled program, the count from layers that would
      stand in its place without a compiler; None for TPUs.
    note: remarks for the reader, or why there is no prediction.
  """

  chip: str
  count: int
  topology: str
  scaling: str
  batch_per_chip: int | None
  global_batch: int | None
  fits: bool
  memory_limit: int
  memory_bytes: int | None = None
  flops: float | None = None
  cycles: float | None = None
  bytes: float | None = None
  collectives: tuple[CollectiveTotal, ...] = ()
  bound: str | None = None
  compute_seconds: float | None = None
  memory_seconds: float | None = None
  link_seconds: float | None = None
  step_seconds: float | None = None
  images_per_sec: float | None = None
  efficiency: float | None = None
  chip_hours_per_epoch: float | None = None
  compiled: bool = False
  counted: Count | None = None
  note: str = ""


def step_time(
  work: Work, chip: Accelerator, count: int, *, dtype: str
) -> StepTime:
  """Predicts the time of a step.

  Args:
    work: of each chip.
    chip: the kind of accelerator.
    count: number of chips; of a torus, as many as one of its slices has.
    dtype: of products, 'float32' or 'bfloat16'.

  Raises:
    ValueError: if no slice has this number of chips.
  """

  def links(overlapped: bool) -> float:
    return sum(
      collective_seconds(total, chip, count)
      for total in work.collectives
      if total.overlapped == overlapped
    )

  compute = work.flops / chip.peak(dtype)
  if chip.cycles_per_sec is not None:
    compute = max(compute, work.cycles / chip.cycles_per_sec.value)
  return StepTime(
    compute=compute,
    memory=work.bytes / chip.memory_bytes_per_sec.value,
    exposed_links=links(False),
    hidden_links=links(True),
  )


def collective_seconds(
  total: CollectiveTotal, chip: Accelerator, count: int
) -> float:
  """Seconds of collective operations over `count` chips, one after the other.

  Raises:
    ValueError: if no slice has this number of chips.
  """
  if count == 1:
    return 0.0
  if isinstance(chip.layout, Nodes):
    return _over_nodes(total, chip, chip.layout, count)
  shape = chip.layout.shape(count)
  if shape is None:
    raise ValueError(f"{chip.name}: no slice of {count} chips")
  return _over_torus(total, chip, chip.layout, shape)


def _over_torus(
  total: CollectiveTotal,
  chip: Accelerator,
  torus: Torus,
  shape: tuple[int, ...],
) -> float:
  axes = [
    (length, ring)
    for length, ring in zip(shape, torus.rings(shape), strict=True)
    if length > 1
  ]
  link = chip.link_bytes_per_sec.value
  bandwidth = sum(2 * link if ring else link for _, ring in axes)
  hops = sum(length // 2 if ring else length - 1 for length, ring in axes)
  if total.kind in ("collective-permute", "all-to-all"):
    # Each byte goes its own way: on average a quarter of a ring, or a third of
    # a line, along every axis.
    sent = sum(length / 4 if ring else length / 3 for length, ring in axes)
    passes = 1
  else:
    passes = 2 if total.kind == "all-reduce" else 1
    sent = passes * _remote_share(math.prod(shape))
  latency = total.count * passes * hops * torus.hop_seconds.value
  return latency + total.bytes * sent / bandwidth


def _over_nodes(
  total: CollectiveTotal, chip: Accelerator, nodes: Nodes, count: int
) -> float:
  inside = min(count, nodes.size)
  outside = math.ceil(count / nodes.size)
  passes = 2 if total.kind == "all-reduce" else 1
  near = _remote_share(inside) / chip.link_bytes_per_sec.value
  far = _remote_share(outside) / chip.network_bytes_per_sec.value / inside
  latency = nodes.start_seconds.value + passes * (
    (inside - 1) * nodes.hop_seconds.value
    + math.log2(outside) * nodes.network_hop_seconds.value
  )
  return total.count * latency + total.bytes * passes * (near + far)


def _remote_share(count: int) -> float:
  """The share of an array that the other chips hold: (n - 1) / n."""
  return (count - 1) / count
