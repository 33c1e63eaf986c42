"""Compiles the training step ahead of time for TPUs, on any machine.

libtpu compiles for every TPU slice on any host. It says what memory a program
needs and how many FLOPs it has; `costs` reads bytes, cycles and collectives off
the program's text. A program that does not fit into the chip's memory is
refused, with the size that it would have had. The compiler's estimate of a
step's time, 'optimal_seconds', is of no use: for these networks it is negative.

Compiled steps are kept in a folder, so that a stopped plan resumes where it
was.
"""

import dataclasses
import functools
import gzip
import hashlib
import importlib.util
import json
import math
import os
import pathlib
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

import mn_jax
from mn_jax.config import Config
from mn_jax.config.experiment import result_fields
from mn_jax.data import atomic, checksums
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import mesh
from mn_jax.parallel.accelerators import Accelerator
from mn_jax.perf import abstract_step
from mn_jax.perf.bench import side_process
from mn_jax.perf.program import costs, hlo
from mn_jax.perf.scaling.plan.prediction import Work

# libtpu looks for chips and asks Google's metadata server about them, unless it
# is told not to; and two plans may be made at a time.
_ENVIRONMENT = {
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_WORKER_HOSTNAMES": "localhost",
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
}
# Of v4 and v5p: chips that are linked along three axes have two cores.
_MEGACORE_AXES = 3
_PACKAGES = ("jax", "jaxlib", "libtpu", "flax", "optax")
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
  "parallel/mesh.py",
  "run/network.py",
  "perf/abstract_step.py",
  "perf/scaling/plan/compiled.py",
)


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler says of a step on one of its devices.

  Attributes:
    devices: that share a batch.
    text: the program; None if it does not fit.
    flops: of the program; 0 if it does not fit.
    memory_bytes: what it needs at once: arguments, results, temporary arrays
      and code; memory that several of them share counts once.
    memory: these by name; empty if it does not fit.
    compile_seconds: what compiling took here, lowering included.
  """

  devices: int
  text: str | None
  flops: float
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
    return Work(
      flops=self.flops,
      cycles=costs.cycles(program),
      bytes=costs.memory_traffic(program),
      collectives=costs.totals(collectives),
    )


def devices(chip: Accelerator, shape: tuple[int, ...]) -> Sequence[jax.Device]:
  """The chips of a slice, as descriptions for the compiler.

  Raises:
    InputError: without libtpu.
  """
  if importlib.util.find_spec("libtpu") is None:
    raise InputError(
      f"--chips: got {chip.name}, for which only libtpu can compile; valid: "
      "with the extra 'tpu' (pip install 'mn_jax[tpu]'), or GPUs alone"
    )
  for name, value in _ENVIRONMENT.items():
    os.environ.setdefault(name, value)
  # The two cores of such a chip act as one device, which v4's else do not.
  megacore = len(shape) == _MEGACORE_AXES
  topology = topologies.get_topology_desc(
    platform="tpu",
    topology_name=f"{chip.name}:{_topology(shape)}",
    **({"chip_config_name": "megacore"} if megacore else {}),
  )
  return topology.devices


def compile_step(
  config: Config, devices: Sequence[jax.Device], *, global_batch: int
) -> Compiled:
  """Compiles the training step of a config.

  Args:
    config: of one run.
    devices: that share a batch: from `devices`, or some of this host.
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
    return Compiled(len(devices), None, 0.0, needed, {}, seconds)
  sizes = compiled.memory_analysis()
  memory = {
    "arguments": sizes.argument_size_in_bytes,
    # What takes the place of arguments needs no memory itself.
    "results": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
    "temporaries": sizes.temp_size_in_bytes,
    "code": sizes.generated_code_size_in_bytes,
  }
  return Compiled(
    devices=len(devices),
    text=compiled.as_text(),
    flops=compiled.cost_analysis()["flops"],
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


def versions() -> dict[str, str | None]:
  """Versions that decide on a compiled program; None for what is missing."""
  installed = side_process.versions(_PACKAGES)
  return {
    "mn_jax": mn_jax.__version__,
    **{name: installed.get(name) for name in _PACKAGES},
  }


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
      InputError: see `devices` and `abstract_step.make`, or if a kept file
        cannot be read.
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
      "versions": versions(),
      "sources": _sources_sha256(),
    }
    unique = checksums.of_json(key)[:16]
    name = f"{chip.name}-{_topology(shape)}-batch{batch_per_chip}-{unique}"
    path = self._folder / f"{name}.json"
    if name in self._known:
      return self._known[name]
    if path.exists():
      compiled = _read(path)
    else:
      compiled = compile_step(
        self._config, devices(chip, shape), global_batch=global_batch
      )
      limit = chip.memory_bytes.value / 2**30
      fits = "" if compiled.text else ", does not fit"
      self._console.line(
        f"{chip.name} {_topology(shape)}, {batch_per_chip} images per chip: "
        f"{compiled.memory_bytes / 2**30:.2f} of {limit:.2f} GiB{fits}, "
        f"compiled in {compiled.compile_seconds:.0f} s"
      )
      _write(path, key, compiled)
    self._known[name] = compiled
    return compiled


def _topology(shape: tuple[int, ...]) -> str:
  return "x".join(map(str, shape))


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
