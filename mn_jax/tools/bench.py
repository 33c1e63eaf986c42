"""Measures speed: `python -m mn_jax.tools.bench --of=model|ops|input|run`.

model  a whole network's step, interleaved with those of peers (`--peer`) in
       processes of their own: images/s, ratios with intervals, percent of
       the machine's roofline, compile time, memory
ops    every formulation of depthwise and pointwise convolution and of
       BatchNorm, forward and gradients, at the network's own shapes
input  the input path of `--config=FILE` stage by stage, on one core
run    a training run of `--config=FILE` from its start to its end

`--table=docs/benchmarks/cpu.md` runs a list of these and writes the page.
Peers live in an environment of their own: see docs/benchmarks/README.md. Exit
codes: 0 done, 1 a side process failed, 2 a mistake in what was given, 130
stopped by Ctrl-C.
"""

import json
import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from mn_jax.commandline import flags as commandline
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator
from mn_jax.perf import machine
from mn_jax.perf.bench import (
  comparison,
  interleaved,
  side_process,
  suite,
  terminal,
)

_OF = flags.DEFINE_enum(
  "of", "model", ["model", "ops", "input", "run"], "what is measured"
)
_MODEL = flags.DEFINE_enum(
  "model", "mobilenet_v1", list(registry.MODELS), "network"
)
_RESOLUTION = flags.DEFINE_integer(
  "resolution", 50, "input size in pixels", lower_bound=1
)
_BATCH = flags.DEFINE_integer("batch", 32, "images per step", lower_bound=1)
_MODE = flags.DEFINE_enum(
  "mode", "train", ["train", "infer"], "training step, or inference"
)
_DTYPE = flags.DEFINE_enum(
  "dtype", "float32", ["float32", "bfloat16"], "what products are computed in"
)
_CLASSES = flags.DEFINE_integer("classes", 2, "number of logits", lower_bound=2)
_PEER = flags.DEFINE_list(
  "peer", [], f"one or more of {', '.join(comparison.PEERS)}"
)
_PEER_PYTHON = flags.DEFINE_string(
  "peer_python",
  "",
  "interpreter of all peers; empty: $MN_JAX_PEER_PYTHON for those with torch, "
  "this one for the others",
)
_SKIP = flags.DEFINE_bool(
  "skip_missing", False, "go on without peers that cannot be started"
)
_ALLOCATOR = flags.DEFINE_enum(
  "allocator",
  "glibc-keep",
  list(side_process.ALLOCATORS),
  "of all sides: glibc told to keep freed memory, glibc as it is, or jemalloc",
)
_CHANNELS_LAST = flags.DEFINE_enum(
  "channels_last",
  "auto",
  list(comparison.LAYOUTS),
  "torch's layout of images; auto: on for GPUs, the faster one on CPUs",
)
_REPEATS = flags.DEFINE_integer(
  "repeats",
  0,
  "timed turns; 0: 11 of networks, 7 of operations, 3 of the input path",
  lower_bound=0,
)
_STEPS = flags.DEFINE_integer(
  "steps_per_turn", 1, "steps that a side takes in a turn", lower_bound=1
)
_TIMEOUT = flags.DEFINE_float(
  "timeout", 1800, "seconds after which a silent side is given up"
)
_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "experiment file with an optional argument: FILE.py[:sample]"
)
_IMAGES = flags.DEFINE_integer(
  "images", 1000, "images that are decoded, --of=input", lower_bound=1
)
_GATHERED = flags.DEFINE_integer(
  "gathered",
  200_000,
  "images that are gathered into batches, --of=input",
  lower_bound=1,
)
_TABLE = flags.DEFINE_string(
  "table", "", "page to write, with all of --cases that are not measured yet"
)
_CASES = flags.DEFINE_enum(
  "cases", "cpu", list(suite.CASES), "what the page of --table reports"
)
_ONLY = flags.DEFINE_string(
  "only", "", "measure cases with this in their flags; none: the page alone"
)
_JSON = flags.DEFINE_bool("json", False, "print JSON instead of tables")


def _case() -> side_process.Case:
  return side_process.Case(
    model=_MODEL.value,
    resolution=_RESOLUTION.value,
    batch=_BATCH.value,
    mode=_MODE.value,
    dtype=_DTYPE.value,
    classes=_CLASSES.value,
    threads=machine.cores(),
    allocator=_ALLOCATOR.value,
  )


def _model() -> dict:
  for name in _PEER.value:
    if name not in comparison.PEERS:
      raise InputError(
        f"--peer: got {name!r}; valid: {', '.join(comparison.PEERS)}"
      )
  interleaved.check_allocator(_ALLOCATOR.value)
  torch_python = os.environ.get("MN_JAX_PEER_PYTHON") or sys.executable

  def python_of(peer: comparison.Peer) -> str:
    default = torch_python if peer.needs_torch else sys.executable
    return _PEER_PYTHON.value or default

  return comparison.measure(
    _case(),
    _PEER.value,
    repeats=_REPEATS.value or 11,
    steps=_STEPS.value,
    timeout=_TIMEOUT.value,
    channels_last=_CHANNELS_LAST.value,
    python_of=python_of,
    skip_missing=_SKIP.value,
  )


def _ops() -> dict:
  from mn_jax.perf.bench import operations

  _keep_memory()
  return operations.measure(_case(), repeats=_REPEATS.value or 7)


def _input() -> dict:
  from mn_jax.config import checks
  from mn_jax.perf.bench import input_path

  config = checks.from_config_dict(_CONFIG.value)
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  return input_path.measure(
    config,
    images=_IMAGES.value,
    gathered=_GATHERED.value,
    repeats=_REPEATS.value or 3,
  )


def _whole_run() -> dict:
  from mn_jax.config import checks
  from mn_jax.perf.bench import whole_run

  _keep_memory()
  return whole_run.measure(checks.from_config_dict(_CONFIG.value))


def _keep_memory() -> None:
  """What `--allocator` asks of this process."""
  if _ALLOCATOR.value == "jemalloc":
    raise InputError(
      "--allocator: got 'jemalloc', which only side processes can be given; "
      "valid: glibc-keep, glibc, or --of=model"
    )
  if _ALLOCATOR.value == "glibc-keep":
    allocator.keep_freed_memory()


def _write_page() -> None:
  """Measures what `--table` lacks; flags that are given reach every case."""
  rest = [
    f"--{flag.name}={flag.value}"
    for flag in (_PEER_PYTHON, _ALLOCATOR, _REPEATS, _TIMEOUT)
    if flag.present
  ]
  suite.run(
    pathlib.Path(_TABLE.value),
    _CASES.value,
    Console(),
    only=_ONLY.value,
    rest=rest,
  )


_MEASURES = {"model": _model, "ops": _ops, "input": _input, "run": _whole_run}


def main(argv: Sequence[str]) -> int:
  """Measures and prints; returns the exit code."""
  if len(argv) > 1:
    raise InputError(f"got {argv[1]!r}; valid: flags of the form --name=value")
  if _TABLE.value:
    _write_page()
    return 0
  report = {
    "of": _OF.value,
    **_MEASURES[_OF.value](),
    "machine": machine.describe(),
  }
  if _JSON.value:
    print(json.dumps(report))
  else:
    terminal.show(Console(), report)
  return 0


def _parse(argv: Sequence[str]) -> list[str]:
  """All flags; `--config` and its overrides where there is a config."""
  if any(arg.lstrip("-").startswith("config") for arg in argv[1:]):
    return commandline.parse(argv)
  try:
    rest = flags.FLAGS(argv)
    if _OF.value in ("input", "run"):
      raise InputError(
        f"--config: got nothing with --of={_OF.value}; valid: "
        "--config=FILE.py[:ARG]"
      )
  except (flags.Error, InputError) as error:
    commandline.report(error)
    sys.exit(2)
  return rest


def _run(argv: Sequence[str]) -> None:
  # Side processes end with this one, however it is asked to.
  signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
  try:
    sys.exit(main(argv))
  except (InputError, interleaved.SideError) as error:
    commandline.report(error)
    sys.exit(2 if isinstance(error, InputError) else 1)
  except KeyboardInterrupt:
    print("mn_jax: stopped", file=sys.stderr)
    sys.exit(130)


if __name__ == "__main__":
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  logging.set_verbosity(logging.WARNING)
  app.run(_run, flags_parser=_parse)
