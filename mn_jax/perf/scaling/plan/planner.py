"""Predicts the training step of a config on each number of chips of a kind."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from mn_jax.config import Config
from mn_jax.data.datasets import registry
from mn_jax.parallel.accelerators import Accelerator, Nodes, Torus
from mn_jax.perf import abstract_step
from mn_jax.perf.program import targets
from mn_jax.perf.scaling.plan import layer_counts, prediction
from mn_jax.perf.scaling.plan.compiled import CompiledSteps
from mn_jax.perf.scaling.plan.prediction import PlanRow, Work

# Of GPUs without the extra that compiles for them.
_COUNTED = (
  "counted from layers, not compiled, as the extra 'cuda12' is missing: what "
  "memory and matrix units allow at best"
)

# Memory is all but linear in the batch: two sizes tell where to look.
_FIRST_BATCHES = (32, 128)
# Programs compiled after these. A larger batch is tried only for so much more.
_MAX_TRIALS = 4
_WORTHWHILE = 1.05
_MULTIPLE = 8


class _Step(NamedTuple):
  """A step on one of the chips: compiled, counted or taken from another row.

  Attributes:
    work, memory_bytes: what it costs each chip.
    compiled: whether its own program was compiled.
    note: remarks for the reader.
    counted: work and memory by the count from layers beside a program's.
  """

  work: Work | None
  memory_bytes: int
  compiled: bool
  note: str
  counted: tuple[Work, int] | None = None


@dataclasses.dataclass(frozen=True)
class Planner:
  """Makes the rows of a plan.

  Attributes:
    config: of one run.
    compiled_steps: of the config.
    scaling: 'weak' or 'strong'.
    compile_counts: numbers of chips whose programs are compiled; others take
      the program of the nearest one, but not that of a single chip. None: all.
  """

  config: Config
  compiled_steps: CompiledSteps
  scaling: str
  compile_counts: Sequence[int] | None

  def rows(
    self, chip: Accelerator, counts: Sequence[int], batch_per_chip: int | None
  ) -> list[PlanRow]:
    """Makes a row for each number of chips.

    Args:
      chip: the kind of accelerator.
      counts: numbers of chips, in rising order.
      batch_per_chip: images of each chip; None for the most that fit, in weak
        scaling. Strong scaling divides the config's batch.

    Raises:
      InputError: see `CompiledSteps.step`.
    """
    if self.scaling == "weak" and batch_per_chip is None:
      batch_per_chip = self._largest_batch(chip, counts)
      if batch_per_chip is None:
        note = "not even one image fits"
        return [self._unpredicted(chip, count, note) for count in counts]
    rows = [self._row(chip, count, batch_per_chip) for count in counts]
    base = next((row for row in rows if row.fits), None)
    return [_with_efficiency(row, base) if row.fits else row for row in rows]

  def _largest_batch(
    self, chip: Accelerator, counts: Sequence[int]
  ) -> int | None:
    """The largest batch per chip: the same for all numbers of chips."""
    # With collectives, which need memory too, where there are any.
    possible = [
      c for c in self.compile_counts or counts if _topology(chip, c)
    ] or [1]
    count = min((c for c in possible if c > 1), default=possible[0])
    micro_batches = self.config.optim.accumulate
    largest = largest_batch(
      lambda batch: self._step(chip, count, batch * micro_batches).memory_bytes,
      int(chip.memory_bytes.value),
    )
    return largest and largest * micro_batches

  def _row(
    self, chip: Accelerator, count: int, batch_per_chip: int | None
  ) -> PlanRow:
    if _topology(chip, count) is None:
      note = f"there are no {count}; valid: {_sizes(chip)}"
      return self._unpredicted(chip, count, note)
    if self.scaling == "strong":
      batch = self.config.train.batch_size
      if batch % (count * self.config.optim.accumulate):
        note = f"a batch of {batch} does not divide among them"
        return self._unpredicted(chip, count, note)
      batch_per_chip = batch // count
    step = self._step(chip, count, batch_per_chip)
    row = dataclasses.replace(
      self._unpredicted(chip, count, step.note),
      batch_per_chip=batch_per_chip,
      global_batch=batch_per_chip * count,
      memory_bytes=step.memory_bytes,
      compiled=step.compiled,
    )
    if step.work is None or step.memory_bytes > row.memory_limit:
      needs, limit = step.memory_bytes / 2**30, row.memory_limit / 2**30
      note = _join(f"needs {needs:.2f} GiB of {limit:.2f}", step.note)
      return dataclasses.replace(row, note=note)
    time = self._time(step.work, chip, count)
    images_per_sec = row.global_batch / time.total
    images = registry.get(self.config.data.name).images
    hours = images / images_per_sec * count / 3600
    return dataclasses.replace(
      row,
      fits=True,
      counted=self._count(step, chip, count),
      **vars(step.work),
      bound=time.bound,
      compute_seconds=time.compute,
      memory_seconds=time.memory,
      link_seconds=time.links,
      step_seconds=time.total,
      images_per_sec=images_per_sec,
      # A folder of the user's own has no published number of images.
      chip_hours_per_epoch=hours if images else None,
    )

  def _step(self, chip: Accelerator, count: int, batch_per_chip: int) -> _Step:
    resident = abstract_step.resident_bytes(self.config)
    counted = None
    if isinstance(chip.layout, Nodes):
      work, memory = layer_counts.count_step(
        self.config, batch_per_chip=batch_per_chip, count=count
      )
      counted = work, memory + resident
      if not targets.can_compile(chip):
        return _Step(*counted, False, _COUNTED)
    program_of = self._compiled_count(chip, count)
    compiled = self.compiled_steps.step(
      chip, _shape(chip, program_of), batch_per_chip=batch_per_chip
    )
    work, notes = compiled.work, []
    if program_of != count:
      notes.append(f"the program of {program_of} chips")
      if work is not None and count == 1:
        work = dataclasses.replace(work, collectives=())
    if (
      isinstance(chip.layout, Torus)
      and chip.layout.shape(count) not in chip.layout.shapes
    ):
      smallest = targets.topology(chip.layout.shapes[0])
      notes.append(f"one chip of {smallest}, the smallest slice")
    memory = compiled.memory_bytes + resident
    own = program_of == count
    return _Step(work, memory, own, _join(*notes), counted)

  def _time(
    self, work: Work, chip: Accelerator, count: int
  ) -> prediction.StepTime:
    dtype = self.config.model.dtype
    return prediction.step_time(work, chip, count, dtype=dtype)

  def _count(
    self, step: _Step, chip: Accelerator, count: int
  ) -> prediction.Count | None:
    if step.counted is None:
      return None
    work, memory = step.counted
    return prediction.Count(
      flops=work.flops,
      bytes=work.bytes,
      memory_bytes=memory,
      step_seconds=self._time(work, chip, count).total,
    )

  def _compiled_count(self, chip: Accelerator, count: int) -> int:
    """The number of chips whose program a row takes."""
    if self.compile_counts is None or count in self.compile_counts:
      return count
    # One with collectives: a program of one chip has none, and would let any
    # number of chips be as efficient as one.
    possible = [c for c in self.compile_counts if _topology(chip, c)]
    several = [c for c in possible if c > 1]
    if not several:
      return count
    return min(several, key=lambda c: abs(math.log(c / count)))

  def _unpredicted(self, chip: Accelerator, count: int, note: str) -> PlanRow:
    """A row without a prediction, whose note says why."""
    return PlanRow(
      chip=chip.name,
      count=count,
      topology=_topology(chip, count) or "",
      scaling=self.scaling,
      batch_per_chip=None,
      global_batch=None,
      fits=False,
      memory_limit=int(chip.memory_bytes.value),
      note=note,
    )


def largest_batch(memory_of: Callable[[int], int], limit: int) -> int | None:
  """The largest batch per chip whose memory is known to fit.

  Batches are multiples of 8 or, below, powers of two.

  Args:
    memory_of: batch per chip -> bytes that a step needs, also beyond the limit.
    limit: bytes of memory.

  Returns:
    Images per chip, or None if not even one fits.
  """
  known = {batch: memory_of(batch) for batch in _FIRST_BATCHES}
  for _ in range(_MAX_TRIALS):
    fitting = max((b for b in known if known[b] <= limit), default=0)
    batch = _interpolate(known, limit, fitting)
    if batch in known or batch < fitting * _WORTHWHILE:
      break
    known[batch] = memory_of(batch)
  return max((b for b in known if known[b] <= limit), default=None)


def _interpolate(known: dict[int, int], limit: int, fitting: int) -> int:
  """The batch that should just fit, by the line through the two nearest."""
  low, high = sorted(sorted(known, key=lambda b: abs(known[b] - limit))[:2])
  slope = (known[high] - known[low]) / (high - low)
  # Two that are padded to one size tell nothing.
  batch = 2 * high
  if slope > 0:
    batch = _round_down(int(low + (limit - known[low]) / slope))
  # Never again what did not fit, nor more.
  refused = min((b for b in known if known[b] > limit), default=None)
  if refused is not None and batch >= refused:
    batch = _round_down(refused - 1)
  return max(batch, fitting, 1)


def _round_down(batch: int) -> int:
  """To a multiple of 8, or to a power of two below."""
  if batch >= _MULTIPLE:
    return batch // _MULTIPLE * _MULTIPLE
  return 1 << max(batch, 1).bit_length() - 1


def _with_efficiency(row: PlanRow, base: PlanRow) -> PlanRow:
  """Adds the efficiency relative to the fewest chips on which the step fits."""
  per_chip = row.images_per_sec / row.count
  against = f"efficiency against {base.count} chips" if base.count > 1 else ""
  return dataclasses.replace(
    row,
    efficiency=per_chip / (base.images_per_sec / base.count),
    note=_join(row.note, against),
  )


def _topology(chip: Accelerator, count: int) -> str | None:
  """'4x4', or nodes x GPUs; None if there is no such slice."""
  shape = _shape(chip, count)
  return shape and targets.topology(shape)


def _shape(chip: Accelerator, count: int) -> tuple[int, ...] | None:
  """Of a slice, or (nodes, GPUs of each); None if there is none."""
  if isinstance(chip.layout, Torus):
    return chip.layout.shape(count)
  size = chip.layout.size
  if count > size and count % size:
    return None
  return max(1, count // size), min(count, size)


def _sizes(chip: Accelerator) -> str:
  """The numbers of chips for which there is a slice, in words."""
  if isinstance(chip.layout, Torus):
    sizes = {1, *(math.prod(shape) for shape in chip.layout.shapes)}
    return ", ".join(map(str, sorted(sizes)))
  return f"1 to {chip.layout.size}, or a multiple of it"


def _join(*notes: str) -> str:
  return "; ".join(filter(None, notes))
