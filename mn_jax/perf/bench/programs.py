"""Reads the compiled program of a step: `tools.bench --of=program`.

The step is compiled for a chip that need not be there, and nothing is run: all
figures are of the program, none of them is a time.
"""

import dataclasses
import gzip
import json
import os
import pathlib
import re
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from mn_jax.config import Config
from mn_jax.config.experiment import train_resolution
from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.models import counting, variables
from mn_jax.parallel import accelerators
from mn_jax.parallel.accelerators import Nodes
from mn_jax.perf import abstract_step
from mn_jax.perf.bench import own_step, side_process
from mn_jax.perf.bench.peers import plain_jax
from mn_jax.perf.bench.side_process import Case
from mn_jax.perf.program import floors, registers, summary, targets

CPU = "cpu"
PEERS = ("plain-jax",)
# What only the text of a platform's programs has. A device's platform is 'cuda'
# or 'gpu' for GPUs.
_MARKS = {
  "cuda": '"operation_queue_id"',
  "gpu": '"operation_queue_id"',
  "tpu": '"estimated_cycles"',
}
_IMAGES = re.compile(r" = (u8\[\d+,\d+,\d+,\d+\])\S* parameter\(")


@dataclasses.dataclass(frozen=True)
class Reading:
  """What to compile and how much to say of it.

  Attributes:
    chip: CPU, or a name in `accelerators.ACCELERATORS`.
    peers: of PEERS.
    top: largest kernels to list.
    old: a report of `measure` to compare with.
    registers: whether to ask ptxas about the kernels of a GPU.
    keep: where to keep the program's text; compressed if it ends '.gz'.
    text: a kept text of the same step, to read instead of compiling.
  """

  chip: str
  peers: Sequence[str] = ()
  top: int = 0
  old: Mapping[str, Any] | None = None
  registers: bool = False
  keep: pathlib.Path | None = None
  text: pathlib.Path | None = None


def measure(case: Case, config: Config, reading: Reading) -> dict[str, Any]:
  """Compiles the step of a config and reads its program, as JSON.

  Args:
    case: the same as the config, for peers.
    config: of one run.
    reading: what to read.

  Returns:
    'ours' and 'peers' by name, as `summary.summarize` returns them, each with
    'memory' in bytes and 'compile_seconds', which are None of a kept text;
    'floors', bytes per image of `floors.bytes_per_image`; 'differences' of ours
    to each peer and to what was 'before', see `summary.differences`; the
    'case', 'chip' and 'versions'; and of the program before, which may be of
    another step, its 'case' and 'chip', as 'before'.

  Raises:
    InputError: if there is no compiler for the chip, a peer lacks the network
      or has another one of its name, the step cannot be made, or a kept text
      is of another step.
  """
  device = _device(reading.chip)
  if reading.text is not None and (reading.keep or reading.registers):
    raise InputError("--text: got it with --keep or --registers; valid: alone")
  if reading.keep is not None:
    _check_writable(reading.keep)
  if reading.registers and device.platform not in ("gpu", "cuda"):
    raise InputError(
      f"--registers: got it with --chip={reading.chip}; valid: with a GPU"
    )
  try:
    if reading.peers:
      side_process.check_network(case, "plain-jax", plain_jax.NETWORKS)
  except side_process.RefusedError as error:
    raise InputError(f"--peer: {error}") from None
  train = case.mode == "train"
  layers, params, image_shape = _network(config)
  if reading.peers:
    _check_same_network(case, params)
  start = time.perf_counter()
  if reading.text is not None:
    images = (case.batch, *image_shape)
    text = _kept_text(reading, images, train=train, platform=device.platform)
    ours = _read_text(reading, text, layers)
  else:
    lowered = own_step.lower(config, device, batch=case.batch, train=train)
    ours = _read(lowered, start, reading, layers=layers)
  peers = {}
  for name in reading.peers:
    start = time.perf_counter()
    lowered = plain_jax.lower(case, device)
    without = dataclasses.replace(reading, keep=None)
    peers[name] = _read(lowered, start, without)
  others = {name: {**peer, "batch": case.batch} for name, peer in peers.items()}
  before = None
  if reading.old is not None:
    before = {name: reading.old[name] for name in ("case", "chip")}
    others["before"] = {
      **reading.old["ours"],
      "batch": before["case"]["batch"],
    }
  return {
    "case": dataclasses.asdict(case),
    "chip": reading.chip,
    "ours": ours,
    "peers": peers,
    "differences": {
      name: summary.differences({**ours, "batch": case.batch}, other)
      for name, other in others.items()
    },
    "floors": floors.bytes_per_image(
      layers,
      params=params,
      batch=case.batch,
      train=train,
      dtype=case.dtype,
    ),
    "before": before,
    "versions": _versions(reading.chip),
  }


def _network(
  config: Config,
) -> tuple[list[counting.Layer], int, tuple[int, ...]]:
  """The layers of a config's network, its parameters, the shape of an image."""
  abstract = _smallest_step(config)
  resolution = train_resolution(config)
  params, _ = counting.count_params(
    variables.shapes(abstract.module, resolution)
  )
  layers = counting.list_layers(abstract.module, resolution)
  return layers, params, abstract.batch["image"].shape[1:]


def case_of(config: Config, case: Case) -> Case:
  """The case of an experiment, the rest being that of another case."""
  return dataclasses.replace(
    case,
    model=config.model.name,
    resolution=train_resolution(config),
    batch=config.train.batch_size,
    dtype=config.model.dtype,
    # Those of the data set, where the config leaves them to it.
    classes=_smallest_step(config).classes,
  )


def _smallest_step(config: Config) -> abstract_step.AbstractStep:
  """The step of a config, with an image for each micro-batch."""
  return abstract_step.make(
    config, global_batch=config.optim.accumulate, num_devices=1
  )


def _device(name: str) -> jax.Device:
  if name == CPU:
    return jax.devices("cpu")[0]
  chip = accelerators.ACCELERATORS[name]
  if isinstance(chip.layout, Nodes):
    return targets.devices(chip, (1, 1))[0]
  return targets.devices(chip, chip.layout.shape(1))[0]


def _versions(name: str) -> dict[str, str]:
  if name == CPU:
    return side_process.versions(("jax", "jaxlib", "flax", "optax"))
  return targets.versions(accelerators.ACCELERATORS[name])


def read_report(path: pathlib.Path) -> dict[str, Any]:
  """Reads a report that `--json` printed.

  Raises:
    InputError: if it is none of a program.
  """
  try:
    report = json.loads(path.read_bytes())
    if report["of"] == "program":
      # All that is read of it: a page's JSON file leaves out layers.
      tuple(report["ours"][rows] for rows in summary.ROWS)
      report["case"]["batch"], report["chip"]
      return report
    problem = f"is of {report['of']!r}"
  except (OSError, ValueError, KeyError, TypeError) as error:
    problem = f"cannot be read ({error!r})"
  raise InputError(
    f"--compare: got {str(path)!r}, which {problem}; valid: what "
    "--of=program --json printed"
  )


def _check_same_network(case: Case, params: int) -> None:
  """Raises an InputError if a config's network is not that of the peer."""
  expected = plain_jax.num_params(case)
  if params != expected:
    raise InputError(
      f"--peer: got plain-jax, whose {case.model} has {expected:,} parameters, "
      f"with a config whose network has {params:,}; valid: the same network, "
      "with model.width=1 and without other options"
    )


def _check_writable(path: pathlib.Path) -> None:
  """Raises an InputError before a step is compiled for nothing."""
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    writable = os.access(path.parent, os.W_OK) and not path.is_dir()
  except OSError:
    writable = False
  if not writable:
    raise InputError(
      f"--keep: got {str(path)!r}, which cannot be written; valid: a file in a "
      "folder you may create or write"
    )


def _kept_text(
  reading: Reading, images: tuple[int, ...], *, train: bool, platform: str
) -> str:
  """Reads a kept program, which must be one of the step that it stands for.

  Args:
    reading: with the path.
    images: shape of the step's batch.
    train: whether the step trains.
    platform: of the device that it is compiled for.

  Raises:
    InputError: if it cannot be read, or is the program of another batch, mode
      or platform: bytes per image and floors would be wrong.
  """
  path = reading.text
  try:
    content = path.read_bytes()
    if path.suffix == ".gz":
      content = gzip.decompress(content)
    text = content.decode()
  except (OSError, EOFError, ValueError) as error:
    raise _unreadable(path, error) from None
  marks = {mark: mark in text for mark in _MARKS.values()}
  _, entry, instructions = text.partition("\nENTRY ")
  if not entry:
    raise _unreadable(path, "it has no ENTRY computation")
  found = set(_IMAGES.findall(instructions.partition("\n}")[0]))
  expected = f"u8[{','.join(map(str, images))}]"
  problem = None
  if expected not in found:
    problem = f"takes {' and '.join(sorted(found)) or 'no images'}"
  elif ("jvp(" in text) != train:
    problem = "infers" if train else "trains"
  elif any(
    found_here != (mark == _MARKS.get(platform))
    for mark, found_here in marks.items()
  ):
    problem = "is of another platform"
  if problem:
    raise InputError(
      f"--text: got {str(path)!r}, a program that {problem}; valid: with the "
      f"flags it was kept with; these say {expected}, "
      f"{'train' if train else 'infer'}, {reading.chip}"
    )
  return text


def _read_text(
  reading: Reading, text: str, layers: Sequence[counting.Layer]
) -> dict[str, Any]:
  """Sums up a kept program."""
  try:
    found = summary.summarize(text, layers=layers, top=reading.top)
  except ValueError as error:
    raise _unreadable(reading.text, error) from None
  return {**found, "memory": None, "compile_seconds": None}


def _unreadable(path: pathlib.Path, problem: Exception | str) -> InputError:
  return InputError(
    f"--text: got {str(path)!r}, which cannot be read ({problem}); valid: what "
    "--keep kept"
  )


def _read(
  lowered: jax.stages.Lowered,
  start: float,
  reading: Reading,
  layers: Sequence[counting.Layer] = (),
) -> dict[str, Any]:
  """Compiles a step and sums up its program."""
  with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    ptxas = registers.find_ptxas() if reading.registers else None
    options = registers.compiler_options(folder) if ptxas else {}
    compiled = lowered.compile(compiler_options=options)
    seconds = time.perf_counter() - start
    resources = {"registers": registers.read(folder, ptxas)} if ptxas else {}
  text = compiled.as_text()
  if reading.keep is not None:
    content = text.encode()
    compressed = reading.keep.suffix == ".gz"
    atomic.write_bytes(
      reading.keep, gzip.compress(content, mtime=0) if compressed else content
    )
  sizes = compiled.memory_analysis()
  return {
    **summary.summarize(text, layers=layers, top=reading.top),
    **resources,
    "memory": {
      "arguments": sizes.argument_size_in_bytes,
      "results": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
      "temporaries": sizes.temp_size_in_bytes,
    },
    "compile_seconds": seconds,
  }
