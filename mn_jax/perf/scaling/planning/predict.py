"""How long a step should take on chips that nobody has: pure arithmetic.

A step takes as long as its arithmetic, its memory traffic or what the compiler
expects of its operations one after the other, whichever is the longest, and
then the collective operations that are not overlapped:

  max(FLOPs / peak, cycles / clock, bytes / bandwidth, overlapped links)
    + other links

What it assumes:

- Peaks and bandwidths are those of `accelerators`, times the share of them that
  is achieved: 1 unless `Shares` says otherwise. So a prediction is the least
  time that a step can take, and its efficiency is a low one: whatever slows the
  chips down and not the links makes the links matter less. Peaks are those of
  bfloat16, which is also what TPUs multiply float32 in by default.
- Cycles are the compiler's (`cycles`), for TPUs alone. They know of vector
  units, which keep these networks longer than matrix units and memory: without
  them, the step of MobileNetV1 at 224 pixels on v5e would be predicted 2.4
  times as fast. For GPUs nothing takes their place.
- A collective of b bytes over n chips sends 2 (n - 1) / n b from each chip if
  it is an all-reduce, and half of that if it is a reduce-scatter or an
  all-gather. On a torus it uses all axes at once, each with a link in both
  directions where the axis is a ring, and as much as one link where it is a
  line. Its latency is that of the hops along one axis after the other: half a
  ring or a whole line, twice for an all-reduce.
- Between nodes of GPUs, an all-reduce is one within each node, and one between
  the nodes in which each GPU has its share of the array. Its latency is that of
  a tree.
- Data is there when it is needed, and compilation, evaluation and checkpoints
  are not counted.
"""

import dataclasses
import math
from collections.abc import Sequence

from mn_jax.parallel.accelerators import Accelerator, Nodes, Torus
from mn_jax.perf.scaling.planning.collectives import Total


@dataclasses.dataclass(frozen=True)
class Work:
  """What one step costs one chip.

  Attributes:
    flops: floating-point operations.
    cycles: that the compiler expects; 0 where none says.
    bytes: read from and written to its memory.
    collectives: with the other chips.
  """

  flops: float
  cycles: float
  bytes: float
  collectives: tuple[Total, ...]


@dataclasses.dataclass(frozen=True)
class Shares:
  """What is achieved of the published rates, each above 0 and up to 1."""

  flops: float = 1.0
  memory: float = 1.0
  links: float = 1.0


@dataclasses.dataclass(frozen=True)
class Prediction:
  """Seconds of one step, by what they are spent on.

  Attributes:
    compute: arithmetic at the peak, or all operations as the compiler expects
      them if that is longer.
    memory: memory traffic at the bandwidth.
    links: collectives that the chip waits for.
    hidden_links: collectives that are overlapped with work.
  """

  compute: float
  memory: float
  links: float
  hidden_links: float

  @property
  def step_seconds(self) -> float:
    """The whole step."""
    return max(self.compute, self.memory, self.hidden_links) + self.links

  @property
  def bound(self) -> str:
    """The largest of 'compute', 'memory' and 'links'."""
    terms = {
      "compute": self.compute,
      "memory": self.memory,
      "links": self.links + self.hidden_links,
    }
    return max(terms, key=lambda name: terms[name])


def step(
  work: Work, chip: Accelerator, count: int, *, shares: Shares | None = None
) -> Prediction:
  """Predicts a step.

  Args:
    work: of each chip.
    chip: which.
    count: how many; of a torus, as many as one of its slices has.
    shares: of the rates; None for all of them.

  Raises:
    ValueError: if there is no slice of so many chips.
  """
  shares = shares or Shares()

  def links(overlapped: bool) -> float:
    return sum(
      collective_seconds(total, chip, count, share=shares.links)
      for total in work.collectives
      if total.overlapped == overlapped
    )

  arithmetic = work.flops / (chip.flops_per_sec.value * shares.flops)
  if chip.cycles_per_sec is not None:
    arithmetic = max(arithmetic, work.cycles / chip.cycles_per_sec.value)
  return Prediction(
    compute=arithmetic,
    memory=work.bytes / (chip.memory_bytes_per_sec.value * shares.memory),
    links=links(False),
    hidden_links=links(True),
  )


def collective_seconds(
  total: Total, chip: Accelerator, count: int, *, share: float = 1.0
) -> float:
  """Seconds of some collectives, one after the other.

  Args:
    total: their number and bytes.
    chip: which.
    count: how many take part.
    share: of the links' bandwidth.

  Raises:
    ValueError: if there is no slice of so many chips.
  """
  if count == 1:
    return 0.0
  if isinstance(chip.layout, Nodes):
    return _over_nodes(total, chip, chip.layout, count, share)
  shape = chip.layout.shape(count)
  if shape is None:
    raise ValueError(f"{chip.name}: no slice of {count} chips")
  return _over_torus(total, chip, chip.layout, shape, share)


def _over_torus(
  total: Total,
  chip: Accelerator,
  torus: Torus,
  shape: tuple[int, ...],
  share: float,
) -> float:
  axes = [
    (length, ring)
    for length, ring in zip(shape, torus.rings(shape), strict=True)
    if length > 1
  ]
  link = chip.link_bytes_per_sec.value * share
  bandwidth = sum(2 * link if ring else link for _, ring in axes)
  hops = sum(length // 2 if ring else length - 1 for length, ring in axes)
  if total.kind in ("collective-permute", "all-to-all"):
    # Each byte goes its own way: on average a quarter of a ring, or a third of
    # a line, along every axis.
    sent = sum(length / 4 if ring else length / 3 for length, ring in axes)
    passes = 1
  else:
    passes = 2 if total.kind == "all-reduce" else 1
    sent = passes * _others(math.prod(shape))
  latency = total.count * passes * hops * torus.hop_seconds.value
  return latency + total.bytes * sent / bandwidth


def _over_nodes(
  total: Total, chip: Accelerator, nodes: Nodes, count: int, share: float
) -> float:
  inside = min(count, nodes.size)
  outside = math.ceil(count / nodes.size)
  passes = 2 if total.kind == "all-reduce" else 1
  near = _others(inside) / (chip.link_bytes_per_sec.value * share)
  far = _others(outside) / (chip.network_bytes_per_sec.value * share) / inside
  latency = nodes.start_seconds.value + passes * (
    (inside - 1) * nodes.hop_seconds.value
    + math.log2(outside) * nodes.network_hop_seconds.value
  )
  return total.count * latency + total.bytes * passes * (near + far)


def _others(count: int) -> float:
  """The share of an array that is with others: (n - 1) / n."""
  return (count - 1) / count


def efficiency(
  rates: Sequence[float], counts: Sequence[int]
) -> tuple[float, ...]:
  """Images/s per chip, relative to the first of several numbers of chips.

  In weak scaling it is that of equal batches per chip, in strong scaling that
  of equal global batches.
  """
  return tuple(
    (rate / count) / (rates[0] / counts[0])
    for rate, count in zip(rates, counts, strict=True)
  )


def chip_hours(images: int, images_per_sec: float, count: int) -> float:
  """Hours of all chips together for so many images."""
  return images / images_per_sec * count / 3600


def error(predicted: float, measured: float) -> float:
  """By what share a prediction is above (or, negative, below) a measurement."""
  return predicted / measured - 1
