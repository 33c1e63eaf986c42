"""Compiles the training step for chips that are not there.

libtpu compiles for every TPU slice on any host. It says what memory a program
needs and what FLOPs it has. Bytes (`traffic`), cycles (`cycles`) and
collectives are in the program's text. What does not fit into the chip's memory
is refused, with the size that it would have had. The compiler's estimate of a
step's time, 'optimal_seconds', is of no use: for these networks it is negative.
"""

import dataclasses
import functools
import importlib.metadata
import importlib.util
import os
import re
import time
from collections.abc import Sequence
from typing import Any

import jax
from jax.experimental import topologies

import mn_jax
from mn_jax.config import Config
from mn_jax.errors import InputError
from mn_jax.parallel import mesh
from mn_jax.parallel.accelerators import Accelerator
from mn_jax.perf.scaling import shaped
from mn_jax.perf.scaling.planning import collectives, cycles, hlo, traffic
from mn_jax.perf.scaling.planning.predict import Work

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
_NEEDED = re.compile(r"required for HLO temporaries \(([\d.]+)([KMGT]?)\)")
_UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


@dataclasses.dataclass(frozen=True)
class Compiled:
  """What the compiler says of a step on one of its devices.

  Attributes:
    devices: that share a batch.
    text: the program; None if it does not fit.
    flops: that it does; 0 if it does not fit.
    memory_bytes: what it needs at once: arguments, results, temporary arrays
      and code, what shares memory counted once.
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
    found = collectives.read(program, self.devices)
    return Work(
      flops=self.flops,
      cycles=cycles.count(program),
      bytes=traffic.count(program),
      collectives=collectives.totals(found),
    )


def devices(chip: Accelerator, shape: tuple[int, ...]) -> Sequence[jax.Device]:
  """The chips of a slice, as far as a compiler needs them.

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
    topology_name=f"{chip.name}:{'x'.join(map(str, shape))}",
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
    InputError: see `shaped.describe`.
  """
  start = time.perf_counter()
  step = shaped.describe(
    config, global_batch=global_batch, num_devices=len(devices)
  )
  lowered = step.lower(mesh.make_mesh(devices))
  try:
    compiled = lowered.compile()
  except jax.errors.JaxRuntimeError as error:
    needed = _refused(str(error))
    if needed is None:
      raise
    needed += shaped.num_bytes(step.state)
    needed += shaped.num_bytes(step.batch) // len(devices)
    return Compiled(
      devices=len(devices),
      text=None,
      flops=0.0,
      memory_bytes=needed,
      memory={},
      compile_seconds=time.perf_counter() - start,
    )
  seconds = time.perf_counter() - start
  memory = _memory(compiled.memory_analysis())
  return Compiled(
    devices=len(devices),
    text=compiled.as_text(),
    flops=compiled.cost_analysis()["flops"],
    memory_bytes=sum(memory.values()),
    memory=memory,
    compile_seconds=seconds,
  )


def versions() -> dict[str, str | None]:
  """Of everything that decides on a compiled program; None without libtpu."""
  found: dict[str, str | None] = {"mn_jax": mn_jax.__version__}
  for name in _PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      found[name] = None
  return found


def _memory(sizes: Any) -> dict[str, int]:
  return {
    "arguments": sizes.argument_size_in_bytes,
    # What takes the place of arguments needs none of its own.
    "results": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
    "temporaries": sizes.temp_size_in_bytes,
    "code": sizes.generated_code_size_in_bytes,
  }


def _refused(message: str) -> int | None:
  """Temporary bytes of a program that does not fit; None for other errors."""
  needed = _NEEDED.search(message)
  return needed and round(float(needed[1]) * 1024 ** _UNITS[needed[2]])
