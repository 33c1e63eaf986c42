"""Compiled steps that are kept, so that a stopped plan goes on where it was."""

import dataclasses
import functools
import gzip
import hashlib
import json
import math
import pathlib
from typing import Any

import mn_jax
from mn_jax import config as config_lib
from mn_jax.config import Config
from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel.accelerators import Accelerator
from mn_jax.perf.scaling.planning import aot

_PROGRAM = ".hlo.gz"
# What decides on a step, besides its config and the versions of libraries.
_SOURCES = (
  "augment/*.py",
  "models/*.py",
  "ops/*.py",
  *(f"{name}.py" for name in ("initial", "losses", "mesh", "optim", "rules")),
  *(f"{name}.py" for name in ("state", "step")),
  "scaling/planning/aot.py",
  "scaling/shaped.py",
)


class Compiles:
  """The steps of a config, compiled or as they were kept in a folder."""

  def __init__(self, config: Config, folder: pathlib.Path, console: Console):
    """Keeps them in `folder`, which is made when it is needed."""
    self._config = config
    self._folder = folder
    self._console = console
    self._known: dict[str, aot.Compiled] = {}

  def step(
    self, chip: Accelerator, shape: tuple[int, ...], *, batch_per_chip: int
  ) -> aot.Compiled:
    """The step for all chips of a slice.

    Raises:
      InputError: see `aot.devices` and `shaped.describe`, or if what is kept
        cannot be read.
    """
    key = _key(self._config, chip, shape, batch_per_chip * math.prod(shape))
    name = (
      f"{chip.name}-{_topology(shape)}-batch{batch_per_chip}-{_digest(key)}"
    )
    if name not in self._known:
      self._known[name] = self._keep(name, key, chip, shape, batch_per_chip)
    return self._known[name]

  def _keep(
    self,
    name: str,
    key: dict[str, Any],
    chip: Accelerator,
    shape: tuple[int, ...],
    batch_per_chip: int,
  ) -> aot.Compiled:
    """The step of a name, from its files or into them."""
    path = self._folder / f"{name}.json"
    if path.exists():
      return _read(path)
    global_batch = batch_per_chip * math.prod(shape)
    topology = _topology(shape)
    compiled = aot.compile_step(
      self._config, aot.devices(chip, shape), global_batch=global_batch
    )
    self._console.line(_told(chip, topology, batch_per_chip, compiled))
    fields = dataclasses.asdict(compiled)
    text = fields.pop("text")
    if text is not None:
      # Before the other file, which says that all is there.
      program = gzip.compress(text.encode(), mtime=0)
      atomic.write_bytes(path.with_suffix(_PROGRAM), program)
    atomic.write_json(path, {"key": key, "compiled": fields})
    return compiled


def _topology(shape: tuple[int, ...]) -> str:
  return "x".join(map(str, shape))


@functools.cache
def _sources() -> str:
  """Digest of the code that makes a step."""
  digest = hashlib.sha256()
  package = pathlib.Path(mn_jax.__file__).parent
  for pattern in _SOURCES:
    for path in sorted(package.glob(pattern)):
      digest.update(path.read_bytes())
  return digest.hexdigest()


def _key(
  config: Config, chip: Accelerator, shape: tuple[int, ...], global_batch: int
) -> dict[str, Any]:
  """All that decides on a program."""
  fields = config_lib.result_fields(config)
  fields["train.batch_size"] = global_batch
  return {
    "config": fields,
    "chip": chip.name,
    "shape": list(shape),
    "versions": aot.versions(),
    "sources": _sources(),
  }


def _digest(key: dict[str, Any]) -> str:
  text = json.dumps(key, sort_keys=True)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _read(path: pathlib.Path) -> aot.Compiled:
  try:
    fields = json.loads(path.read_text())["compiled"]
    text = None
    if fields["memory"]:
      program = path.with_suffix(_PROGRAM).read_bytes()
      text = gzip.decompress(program).decode()
    return aot.Compiled(**fields, text=text)
  except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
    raise InputError(
      f"--output: got {str(path)!r}, which cannot be read ({error!r}); valid: "
      "what this program wrote, or no such file"
    ) from None


def _told(
  chip: Accelerator, topology: str, batch: int, compiled: aot.Compiled
) -> str:
  """One line for people."""
  limit = chip.memory_bytes.value / 2**30
  fits = "" if compiled.text else ", does not fit"
  return (
    f"{chip.name} {topology}, {batch} images per chip: "
    f"{compiled.memory_bytes / 2**30:.2f} of {limit:.2f} GiB{fits}, compiled "
    f"in {compiled.compile_seconds:.0f} s"
  )
