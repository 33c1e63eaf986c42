"""Compiles the training step ahead of time for TPUs and GPUs, on any machine.

The compiler says what memory a program needs; `perf.program` reads bytes,
cycles and collectives off the program's text. FLOPs are libtpu's count, and for
GPUs, where there is none, those of the products in the text. libtpu refuses a
program that does not fit into the chip's memory, with the size that it would
have had; for GPUs it is compiled all the same. libtpu's estimate of a step's
time, 'optimal_seconds', is of no use: for these networks it is negative.

Compiled steps are kept in a folder, so that a stopped plan resumes where it
was.
"""

import dataclasses
import functools
import gzip
import hashlib
import json
import math
import pathlib
import re
import time
from collections.abc import Sequence
from typing import Any

import jax

import mn_jax
from mn_jax.config import Config
from mn_jax.config.experiment import result_fields
from mn_jax.data import atomic, checksums
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import mesh
from mn_jax.parallel.accelerators import Accelerator
from mn_jax.perf import abstract_step
from mn_jax.perf.program import costs, flops, hlo, targets
from mn_jax.perf.scaling.plan.prediction import Work

_REFUSED = re.compile(r"required for HLO temporaries \(([\d.]+)([KMGT]?)\)")
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_PROGRAM_SUFFIX = ".hlo.gz"
# The code that makes a step, which decides on its program besides the config
# and the versions of libraries.
SOURCES = (
  "augment/**/*.py",
  "models/**/*.py",
  "ops/**/*.py",
  "train/**/*.py",
  "parallel/image_groups.py",
  "parallel/mesh.py",
  "run/network.py",
  "perf/abstract_step.py",
  "perf/program/targets.py",
  "perf/scaling/plan/compiled.py",
)


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler says of a step on one of its devices.

  Attributes:
    devices: that share a batch.
    text: the program; None if it does not fit.
    flops: as the compiler counts them; None where it does not, and for a
      program that does not fit.
    memory_bytes: what it needs at once: arguments, results, temporary arrays
      and code; memory that several of them share counts once.
    memory: these by name; empty if it does not fit.
    compile_seconds: what compiling took here, lowering included.
  """

  devices: int
  text: str | None
  flops: float | None
  memory_bytes: int
  memory: dict[str, int]
  compile_seconds: float

  @functools.cached_property
  def work(self) -> Work | None:
    """What the program does; None if it does not fit."""
    if self.text is None:
      return None
    program = hlo.parse(self.text)
    collectives = costs.collective_operations(program, self.devices)
    counted = flops.products(program) if self.flops is None else self.flops
    return Work(
      flops=counted,
      cycles=costs.cycles(program),
      bytes=costs.memory_traffic(program),
      collectives=costs.totals(collectives),
    )


def compile_step(
  config: Config, devices: Sequence[jax.Device], *, global_batch: int
) -> Compiled:
  """Compiles the training step of a config.

  Args:
    config: of one run.
    devices: that share a batch: from `targets.devices`, or of this host.
    global_batch: images per step over all of them.

  Raises:
    InputError: see `abstract_step.make`.
  """
  start = time.perf_counter()
  step = abstract_step.make(
    config, global_batch=global_batch, num_devices=len(devices)
  )
  lowered = step.lower(mesh.make_mesh(devices))
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    temporaries = refused_bytes(str(error))
    if temporaries is None:
      raise
    compiled = None
  seconds = time.perf_counter() - start
  if compiled is None:
    share = abstract_step.num_bytes(step.batch) // len(devices)
    needed = temporaries + abstract_step.num_bytes(step.state) + share
    return Compiled(len(devices), None, None, needed, {}, seconds)
  sizes = compiled.memory_analysis()
  memory = {
    "arguments": sizes.argument_size_in_bytes,
    # What takes the place of arguments needs no memory itself.
    "results": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
    "temporaries": sizes.temp_size_in_bytes,
    "code": sizes.generated_code_size_in_bytes,
  }
  # None for GPUs.
  costs_by_name = compiled.cost_analysis()
  return Compiled(
    devices=len(devices),
    text=compiled.as_text(),
    flops=costs_by_name and costs_by_name["flops"],
    memory_bytes=sum(memory.values()),
    memory=memory,
    compile_seconds=seconds,
  )


def refused_bytes(message: str) -> int | None:
  """Temporary bytes of a program that does not fit, from the compiler's error.

  None for other errors.
  """
  needed = _REFUSED.search(message)
  return needed and round(float(needed[1]) * 1024 ** _UNITS[needed[2]])


def versions(chips: Sequence[Accelerator]) -> dict[str, str]:
  """Versions that decide on the programs of some kinds of chips."""
  found = {"mn_jax": mn_jax.__version__}
  for chip in chips:
    found |= targets.versions(chip)
  return found


class CompiledSteps:
  """The compiled training steps of a config, kept in a folder."""

  def __init__(self, config: Config, folder: pathlib.Path, console: Console):
    """Keeps them in `folder`, which is made when it is needed."""
    self._config, self._folder, self._console = config, folder, console
    self._known: dict[str, Compiled] = {}

  def step(
    self, chip: Accelerator, shape: tuple[int, ...], *, batch_per_chip: int
  ) -> Compiled:
    """The step for all chips of a slice, compiled if it is not kept yet.

    Raises:
      InputError: see `targets.devices` and `abstract_step.make`, or if a kept
        file cannot be read.
    """
    global_batch = batch_per_chip * math.prod(shape)
    # All that decides on the program.
    key = {
      "config": {
        **result_fields(self._config),
        "train.batch_size": global_batch,
      },
      "chip": chip.name,
      "shape": list(shape),
      "target": targets.description(chip),
      "versions": versions([chip]),
      "flags": targets.flags(),
      "sources": _sources_sha256(),
    }
    unique = checksums.of_json(key)[:16]
    topology = targets.topology(shape)
    name = f"{chip.name}-{topology}-batch{batch_per_chip}-{unique}"
    path = self._folder / f"{name}.json"
    if name in self._known:
      return self._known[name]
    if path.exists():
      compiled = _read(path)
    else:
      compiled = compile_step(
        self._config,
        targets.devices(chip, shape),
        global_batch=global_batch,
      )
      limit = chip.memory_bytes.value / 2**30
      fits = "" if compiled.text else ", does not fit"
      self._console.line(
        f"{chip.name} {topology}, {batch_per_chip} images per chip: "
        f"{compiled.memory_bytes / 2**30:.2f} of {limit:.2f} GiB{fits}, "
        f"compiled in {compiled.compile_seconds:.0f} s"
      )
      _write(path, key, compiled)
    self._known[name] = compiled
    return compiled


@functools.cache
def _sources_sha256() -> str:
  sources = hashlib.sha256()
  package = pathlib.Path(mn_jax.__file__).parent
  for pattern in SOURCES:
    for path in sorted(package.glob(pattern)):
      sources.update(path.read_bytes())
  return sources.hexdigest()


def _write(path: pathlib.Path, key: dict[str, Any], compiled: Compiled) -> None:
  """Writes the program and, last, the JSON file, which tells it is complete."""
  fields = dataclasses.asdict(compiled)
  text = fields.pop("text")
  if text is not None:
    program = gzip.compress(text.encode(), mtime=0)
    atomic.write_bytes(path.with_suffix(_PROGRAM_SUFFIX), program)
  atomic.write_json(path, {"key": key, "compiled": fields})


def _read(path: pathlib.Path) -> Compiled:
  try:
    fields = json.loads(path.read_bytes())["compiled"]
    text = None
    if fields["memory"]:
      program = path.with_suffix(_PROGRAM_SUFFIX).read_bytes()
      text = gzip.decompress(program).decode()
    return Compiled(**fields, text=text)
  except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
    raise InputError(
      f"--output: got {str(path)!r}, which cannot be read ({error!r}); valid: "
      "what this program wrote, or no such file"
    ) from None
