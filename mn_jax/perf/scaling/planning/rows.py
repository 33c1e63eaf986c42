"""The rows of a plan: one for each number of chips of one kind."""

import dataclasses
import math
from collections.abc import Sequence

from mn_jax.config import Config
from mn_jax.data.datasets import registry
from mn_jax.parallel.accelerators import Accelerator, Nodes, Torus
from mn_jax.perf.scaling import shaped
from mn_jax.perf.scaling.planning import batches, counted, predict
from mn_jax.perf.scaling.planning.collectives import Total
from mn_jax.perf.scaling.planning.compiles import Compiles
from mn_jax.perf.scaling.planning.predict import Work

# Nothing knows how long a GPU's other units take.
_COUNTED = "counted, not compiled: what memory and matrix units allow at best"


@dataclasses.dataclass(frozen=True)
class PlanRow:
  """What so many chips would give.

  What is not defined is None: all that follows from a step that does not fit,
  or from a slice that there is not.

  Attributes:
    chip: a name in `accelerators.ACCELERATORS`.
    count: of chips.
    topology: of the slice, '4x4'; of GPUs nodes x GPUs in each.
    scaling: 'weak' or 'strong'.
    batch_per_chip, global_batch: images per step.
    fits: whether such a step can be taken.
    memory_bytes: that it needs on each chip, also if it does not fit.
    memory_limit: bytes that there are.
    flops, cycles, bytes: of a step on each chip, see `predict.Work`.
    collectives: of a step.
    bound: what most of the step is spent on: 'compute', 'memory', 'links'.
    compute_seconds, memory_seconds: see `predict.Prediction`.
    link_seconds: of all collectives, overlapped or not.
    step_seconds, images_per_sec: predicted, the latter of all chips.
    efficiency: images/s per chip relative to the fewest chips of the plan.
    chip_hours_per_epoch: for as many images as the data set has.
    compiled: whether the program of this very row was compiled.
    note: what else one should know.
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
  collectives: tuple[Total, ...] = ()
  bound: str | None = None
  compute_seconds: float | None = None
  memory_seconds: float | None = None
  link_seconds: float | None = None
  step_seconds: float | None = None
  images_per_sec: float | None = None
  efficiency: float | None = None
  chip_hours_per_epoch: float | None = None
  compiled: bool = False
  note: str = ""


@dataclasses.dataclass(frozen=True)
class _Step:
  """A step on one of the chips: compiled, counted or taken from another row."""

  work: Work | None
  memory_bytes: int
  compiled: bool
  note: str


class Planner:
  """Makes rows of one config."""

  def __init__(
    self,
    config: Config,
    compiles: Compiles,
    *,
    scaling: str,
    compile_counts: Sequence[int] | None,
  ):
    """Prepares.

    Args:
      config: of one run.
      compiles: the compiled steps.
      scaling: 'weak' or 'strong'.
      compile_counts: numbers of chips whose programs are compiled; others take
        the program of the nearest one. None: all.
    """
    self._config = config
    self._compiles = compiles
    self._scaling = scaling
    self._compile_counts = compile_counts
    self._resident = shaped.resident_bytes(config)

  def rows(
    self, chip: Accelerator, counts: Sequence[int], batch_per_chip: int | None
  ) -> list[PlanRow]:
    """A row for each number of chips.

    Args:
      chip: which.
      counts: of chips, in rising order.
      batch_per_chip: images of each chip; None for the most that fit, in weak
        scaling. Strong scaling divides the config's batch.

    Raises:
      InputError: see `Compiles.step`.
    """
    if self._scaling == "weak" and batch_per_chip is None:
      batch_per_chip = self._largest(chip, counts)
      if batch_per_chip is None:
        return [
          self._none(chip, count, "not even one image fits") for count in counts
        ]
    rows = [self._row(chip, count, batch_per_chip) for count in counts]
    return _with_efficiency(rows)

  def _largest(self, chip: Accelerator, counts: Sequence[int]) -> int | None:
    """The largest batch per chip: the same for all numbers of chips."""
    # With collectives, which need memory too, where there are any.
    possible = [
      c for c in self._compile_counts or counts if _topology(chip, c)
    ] or [1]
    count = min((c for c in possible if c > 1), default=possible[0])
    parts = self._config.optim.accumulate
    found = batches.largest(
      lambda batch: self._step(chip, count, batch * parts).memory_bytes,
      self._limit(chip),
    )
    return found and found * parts

  def _limit(self, chip: Accelerator) -> int:
    return int(chip.memory_bytes.value)

  def _row(
    self, chip: Accelerator, count: int, batch_per_chip: int | None
  ) -> PlanRow:
    topology = _topology(chip, count)
    if topology is None:
      return self._none(
        chip, count, f"there are no {count}; valid: {_sizes(chip)}"
      )
    if self._scaling == "strong":
      global_batch = self._config.train.batch_size
      if global_batch % (count * self._config.optim.accumulate):
        return self._none(
          chip, count, f"a batch of {global_batch} does not divide among them"
        )
      batch_per_chip = global_batch // count
    step = self._step(chip, count, batch_per_chip)
    limit = self._limit(chip)
    row = dataclasses.replace(
      self._none(chip, count, step.note),
      topology=topology,
      batch_per_chip=batch_per_chip,
      global_batch=batch_per_chip * count,
      memory_bytes=step.memory_bytes,
      compiled=step.compiled,
    )
    if step.work is None or step.memory_bytes > limit:
      needs = (
        f"needs {step.memory_bytes / 2**30:.2f} GiB of {limit / 2**30:.2f}"
      )
      return dataclasses.replace(row, note=_join(needs, step.note))
    return self._predicted(row, chip, step)

  def _predicted(self, row: PlanRow, chip: Accelerator, step: _Step) -> PlanRow:
    found = predict.step(step.work, chip, row.count)
    rate = row.global_batch / found.step_seconds
    images = registry.get(self._config.data.name).images
    return dataclasses.replace(
      row,
      fits=True,
      flops=step.work.flops,
      cycles=step.work.cycles,
      bytes=step.work.bytes,
      collectives=step.work.collectives,
      bound=found.bound,
      compute_seconds=found.compute,
      memory_seconds=found.memory,
      link_seconds=found.links + found.hidden_links,
      step_seconds=found.step_seconds,
      images_per_sec=rate,
      # A folder of the user's own has no published number of images.
      chip_hours_per_epoch=(
        predict.chip_hours(images, rate, row.count) if images else None
      ),
    )

  def _step(self, chip: Accelerator, count: int, batch_per_chip: int) -> _Step:
    if isinstance(chip.layout, Nodes):
      work, memory = counted.step(
        self._config, batch_per_chip=batch_per_chip, count=count
      )
      return _Step(work, memory + self._resident, False, _COUNTED)
    at = self._compiled_at(chip, count)
    shape = chip.layout.shape(at)
    found = self._compiles.step(chip, shape, batch_per_chip=batch_per_chip)
    work, notes = found.work, []
    if at != count:
      notes.append(f"the program of {at} chips")
      if work is not None and count == 1:
        work = dataclasses.replace(work, collectives=())
    if chip.layout.shape(count) not in chip.layout.shapes:
      smallest = "x".join(map(str, chip.layout.shapes[0]))
      notes.append(f"one chip of {smallest}, the smallest slice")
    return _Step(
      work=work,
      memory_bytes=found.memory_bytes + self._resident,
      compiled=at == count,
      note=_join(*notes),
    )

  def _compiled_at(self, chip: Accelerator, count: int) -> int:
    """The number of chips whose program a row takes."""
    if self._compile_counts is None or count in self._compile_counts:
      return count
    # Rather one with collectives than without.
    possible = [c for c in self._compile_counts if _topology(chip, c)]
    several = [c for c in possible if c > 1] or possible or [count]
    return min(several, key=lambda c: abs(math.log(c / count)))

  def _none(self, chip: Accelerator, count: int, note: str) -> PlanRow:
    """A row that says no more than why."""
    return PlanRow(
      chip=chip.name,
      count=count,
      topology=_topology(chip, count) or "",
      scaling=self._scaling,
      batch_per_chip=None,
      global_batch=None,
      fits=False,
      memory_limit=self._limit(chip),
      note=note,
    )


def _with_efficiency(rows: list[PlanRow]) -> list[PlanRow]:
  """Relative to the fewest chips on which the step fits."""
  fitting = [row for row in rows if row.fits]
  shares = predict.efficiency(
    [row.images_per_sec for row in fitting], [row.count for row in fitting]
  )
  found = dict(zip((row.count for row in fitting), shares, strict=True))
  rows = [
    dataclasses.replace(row, efficiency=found.get(row.count)) for row in rows
  ]
  if not fitting or fitting[0].count == 1:
    return rows
  against = f"efficiency against {fitting[0].count} chips"
  return [
    dataclasses.replace(row, note=_join(row.note, against)) if row.fits else row
    for row in rows
  ]


def _topology(chip: Accelerator, count: int) -> str | None:
  """'4x4', or nodes x GPUs; None if there is no such slice."""
  if isinstance(chip.layout, Torus):
    shape = chip.layout.shape(count)
    return shape and "x".join(map(str, shape))
  size = chip.layout.size
  if count > size and count % size:
    return None
  return f"{max(1, count // size)}x{min(count, size)}"


def _sizes(chip: Accelerator) -> str:
  """Numbers of chips that can be had."""
  if isinstance(chip.layout, Torus):
    sizes = {1, *(math.prod(shape) for shape in chip.layout.shapes)}
    return ", ".join(map(str, sorted(sizes)))
  return f"1 to {chip.layout.size}, or a multiple of it"


def _join(*notes: str) -> str:
  return "; ".join(filter(None, notes))
