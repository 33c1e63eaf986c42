"""Published specifications of accelerators, each figure with its source.

Rates are per second and per chip, sizes in bytes. The bandwidth of a link is
that of one direction. Where sources disagree, the manufacturer's page counts,
and the figure's note has what the other source says. NVIDIA's pages, and the
page on the TPUs' matrix units, are cited as others quote them; they were not
opened.
"""

import dataclasses
import math

_BOOK = "Austin et al. 2025, How to Scale Your Model, jax-ml.github.io"
_TPU = "cloud.google.com/tpu/docs/"
_GPU = "nvidia.com/en-us/data-center/"
_NCCL = "NCCL 2.28, src/graph/tuning.cc: a tree's latencies, protocol LL"
_COMPILER = "libtpu 0.0.51: what its compiler grants a program"


@dataclasses.dataclass(frozen=True)
class Figure:
  """A published number.

  Attributes:
    value: in bytes, FLOP/s, bytes/s, cycles/s or seconds.
    source: where it is published.
    note: how it was derived, or which source disagrees.
  """

  value: float
  source: str
  note: str = ""


@dataclasses.dataclass(frozen=True)
class Torus:
  """Chips that are linked to their neighbours, and rented as slices.

  Attributes:
    shapes: chips of each slice along each axis, small slices first.
    ring: length from which on an axis is a ring; a shorter one is a line.
    all_or_none: whether a single shorter axis leaves all axes of a slice open.
    hop_seconds: latency of a message to a neighbour.
    source: source of shapes and rings.
  """

  shapes: tuple[tuple[int, ...], ...]
  ring: int
  all_or_none: bool
  hop_seconds: Figure
  source: str

  def shape(self, count: int) -> tuple[int, ...] | None:
    """Returns the shape of a slice of so many chips; None if there is none.

    A single chip always has one: it may be part of a larger slice.
    """
    if count == 1:
      return (1,) * len(self.shapes[0])
    return next((s for s in self.shapes if math.prod(s) == count), None)

  def rings(self, shape: tuple[int, ...]) -> tuple[bool, ...]:
    """Returns whether each axis of a slice is a ring."""
    if self.all_or_none:
      return (min(shape) >= self.ring,) * len(shape)
    return tuple(length >= self.ring for length in shape)


@dataclasses.dataclass(frozen=True)
class Nodes:
  """GPUs that are connected by switches within a node, and nodes by a network.

  Attributes:
    size: GPUs of a node.
    start_seconds: time to start a collective operation.
    hop_seconds: latency of a message to a GPU of the same node.
    network_hop_seconds: latency of a message to another node.
  """

  size: int
  start_seconds: Figure
  hop_seconds: Figure
  network_hop_seconds: Figure


@dataclasses.dataclass(frozen=True)
class Accelerator:
  """One kind of chip.

  Attributes:
    name: 'v5e', 'H100'.
    device_kind: prefix of JAX's names for it.
    flops_per_sec: peak of dense bfloat16 products.
    cycles_per_sec: clock rate; None where no compiler counts cycles.
    memory_bytes: memory that a program may use.
    memory_bytes_per_sec: bandwidth between the chip and its memory.
    link_bytes_per_sec: one way, of one link of a torus, or of all links of a
      GPU within its node.
    network_bytes_per_sec: one way and per chip, between slices or nodes.
    layout: how chips are connected.
  """

  name: str
  device_kind: str
  flops_per_sec: Figure
  cycles_per_sec: Figure | None
  memory_bytes: Figure
  memory_bytes_per_sec: Figure
  link_bytes_per_sec: Figure
  network_bytes_per_sec: Figure
  layout: Torus | Nodes

  def peak(self, dtype: str) -> float:
    """FLOP/s of dense products of a dtype, 'bfloat16' or 'float32'.

    TPUs multiply float32 in bfloat16 by default, and GPUs in TF32, which their
    datasheets give half the rate of bfloat16.
    """
    halved = isinstance(self.layout, Nodes) and dtype == "float32"
    return self.flops_per_sec.value / (2 if halved else 1)

  def figures(self) -> dict[str, Figure]:
    """Returns all figures by name, those of the layout included."""
    return {
      field.name: value
      for part in (self, self.layout)
      for field in dataclasses.fields(part)
      if isinstance(value := getattr(part, field.name), Figure)
    }


def _clock(flops_per_sec: float, flops_per_cycle: int, units: str) -> Figure:
  """Derives a clock rate from the peak and the number of matrix units."""
  return Figure(
    flops_per_sec / flops_per_cycle,
    f"{_TPU}system-architecture-tpu-vm",
    f"the peak over 2 FLOPs per cycle of each cell of {units}",
  )


_HOP = Figure(1e-6, f"{_BOOK}/scaling-book/sharding", "'typically around 1us'")
_SQUARES = Torus(
  shapes=((1, 1), (2, 2), (2, 4), (4, 4), (4, 8), (8, 8), (8, 16), (16, 16)),
  ring=16,
  all_or_none=False,
  hop_seconds=_HOP,
  source=f"{_TPU}v5e, v6e; rings: {_BOOK}/scaling-book/tpus",
)
_CUBES = Torus(
  shapes=(
    (2, 2, 1),
    (2, 2, 2),
    (2, 2, 4),
    (2, 4, 4),
    (4, 4, 4),
    (4, 4, 8),
    (4, 8, 8),
  ),
  ring=4,
  all_or_none=True,
  hop_seconds=_HOP,
  source=f"{_TPU}v4, v5p: 4x4x4 and larger are full tori",
)
_EIGHT = Nodes(
  size=8,
  start_seconds=Figure(6.8e-6, _NCCL),
  hop_seconds=Figure(0.6e-6, _NCCL),
  network_hop_seconds=Figure(5.0e-6, _NCCL),
)
_SHARE = "JAX's default share, 75 %"
_SPARSE = "half of the 1,979 TFLOPS with sparsity"
_HALF_DUPLEX = "half of the {} GB/s of both directions"
_PORTS = "of {} GB/s per chip, both directions, over {} links; the book has {}"

_ALL = (
  Accelerator(
    name="v4",
    device_kind="TPU v4",
    flops_per_sec=Figure(275e12, f"{_TPU}v4"),
    cycles_per_sec=_clock(275e12, 262144, "8 units of 128x128"),
    memory_bytes=Figure(30.75 * 2**30, _COMPILER, "32 GiB in all"),
    memory_bytes_per_sec=Figure(1200e9, f"{_TPU}v4"),
    link_bytes_per_sec=Figure(
      45e9, f"{_BOOK}/scaling-book/tpus", "Google's page has no figure"
    ),
    network_bytes_per_sec=Figure(6.25e9, f"{_BOOK}/scaling-book/tpus"),
    layout=_CUBES,
  ),
  Accelerator(
    name="v5e",
    device_kind="TPU v5 lite",
    flops_per_sec=Figure(197e12, f"{_TPU}v5e"),
    cycles_per_sec=_clock(197e12, 131072, "4 units of 128x128"),
    memory_bytes=Figure(15.75 * 2**30, _COMPILER, "16 GB in all"),
    memory_bytes_per_sec=Figure(
      819e9, f"{_TPU}v5e", "another edition of the page: 800 GiB/s (859e9)"
    ),
    link_bytes_per_sec=Figure(
      50e9, f"{_TPU}v5e", _PORTS.format(400, 4, "45e9")
    ),
    network_bytes_per_sec=Figure(
      3.125e9, f"{_TPU}v5e", "6.4 Tbit/s per pod of 256"
    ),
    layout=_SQUARES,
  ),
  Accelerator(
    name="v5p",
    device_kind="TPU v5",
    flops_per_sec=Figure(459e12, f"{_TPU}v5p"),
    cycles_per_sec=_clock(459e12, 262144, "8 units of 128x128"),
    memory_bytes=Figure(95.73 * 2**30, _COMPILER, "96 GiB in all"),
    memory_bytes_per_sec=Figure(2765e9, f"{_TPU}v5p"),
    link_bytes_per_sec=Figure(
      100e9, f"{_TPU}v5p", _PORTS.format(1200, 6, "90e9")
    ),
    network_bytes_per_sec=Figure(6.25e9, f"{_TPU}v5p", "50 Gbit/s per chip"),
    layout=_CUBES,
  ),
  Accelerator(
    name="v6e",
    device_kind="TPU v6 lite",
    flops_per_sec=Figure(918e12, f"{_TPU}v6e"),
    # The page says 2 units of 256x256, but its compiler multiplies large
    # matrices at 369,000 FLOPs per cycle, more than two units could.
    cycles_per_sec=_clock(918e12, 524288, "4 units of 256x256, see the code"),
    memory_bytes=Figure(31.24 * 2**30, _COMPILER, "32 GB in all"),
    memory_bytes_per_sec=Figure(1638e9, f"{_TPU}v6e"),
    link_bytes_per_sec=Figure(
      100e9, f"{_TPU}v6e", _PORTS.format(800, 4, "90e9")
    ),
    network_bytes_per_sec=Figure(12.5e9, f"{_BOOK}/scaling-book/tpus"),
    layout=_SQUARES,
  ),
  Accelerator(
    name="A100",
    device_kind="NVIDIA A100",
    flops_per_sec=Figure(312e12, f"{_GPU}a100"),
    cycles_per_sec=None,
    memory_bytes=Figure(60e9, f"{_GPU}a100", f"{_SHARE} of the SXM's 80 GB"),
    memory_bytes_per_sec=Figure(2039e9, f"{_GPU}a100", "SXM, 80 GB"),
    link_bytes_per_sec=Figure(300e9, f"{_GPU}a100", _HALF_DUPLEX.format(600)),
    network_bytes_per_sec=Figure(
      25e9, "docs.nvidia.com/dgx/dgxa100-user-guide", "HDR, 200 Gbit/s per GPU"
    ),
    layout=_EIGHT,
  ),
  Accelerator(
    name="H100",
    device_kind="NVIDIA H100",
    flops_per_sec=Figure(989e12, f"{_GPU}h100", f"SXM; {_SPARSE}"),
    cycles_per_sec=None,
    memory_bytes=Figure(60e9, f"{_GPU}h100", f"{_SHARE} of 80 GB"),
    memory_bytes_per_sec=Figure(3350e9, f"{_GPU}h100"),
    link_bytes_per_sec=Figure(
      450e9,
      f"{_GPU}h100",
      f"{_HALF_DUPLEX.format(900)}; the book measured 370e9",
    ),
    network_bytes_per_sec=Figure(
      50e9, "docs.nvidia.com/dgx-basepod", "NDR, 400 Gbit/s per GPU"
    ),
    layout=_EIGHT,
  ),
  Accelerator(
    name="H200",
    device_kind="NVIDIA H200",
    flops_per_sec=Figure(989e12, f"{_GPU}h200", f"SXM; {_SPARSE}"),
    cycles_per_sec=None,
    memory_bytes=Figure(105.75e9, f"{_GPU}h200", f"{_SHARE} of 141 GB"),
    memory_bytes_per_sec=Figure(4800e9, f"{_GPU}h200"),
    link_bytes_per_sec=Figure(450e9, f"{_GPU}h200", _HALF_DUPLEX.format(900)),
    network_bytes_per_sec=Figure(
      50e9, "docs.nvidia.com/dgx-basepod", "NDR, 400 Gbit/s per GPU"
    ),
    layout=_EIGHT,
  ),
  Accelerator(
    name="B200",
    device_kind="NVIDIA B200",
    flops_per_sec=Figure(
      2250e12, f"{_GPU}hgx", "half of the 4.5 PFLOPS with sparsity"
    ),
    cycles_per_sec=None,
    memory_bytes=Figure(
      135e9, f"{_GPU}dgx-b200", f"{_SHARE} of 1,440 GB over 8 GPUs"
    ),
    memory_bytes_per_sec=Figure(
      8000e9,
      f"{_GPU}dgx-b200",
      "64 TB/s over 8 GPUs; XLA's target description has 7,672e9",
    ),
    link_bytes_per_sec=Figure(
      900e9, f"{_GPU}hgx", _HALF_DUPLEX.format("1,800")
    ),
    network_bytes_per_sec=Figure(
      50e9, "docs.nvidia.com/dgx/dgxb200-user-guide", "400 Gbit/s per GPU"
    ),
    layout=_EIGHT,
  ),
)

ACCELERATORS = {accelerator.name: accelerator for accelerator in _ALL}


def of_device_kind(kind: str) -> Accelerator | None:
  """Returns the accelerator that JAX calls so; None if it is unknown."""
  matches = [a for a in _ALL if kind.startswith(a.device_kind)]
  # 'TPU v5' is v5p; 'TPU v5 lite', which starts with it, is v5e.
  return max(matches, key=lambda a: len(a.device_kind), default=None)
