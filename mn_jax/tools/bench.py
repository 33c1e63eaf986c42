"""Measures speed, and reads compiled programs: `python -m mn_jax.tools.bench`.

model  a whole network's step, interleaved with those of peers (`--peer`) in
       processes of their own: images/s, ratios with intervals, percent of
       the machine's roofline, compile time, memory
ops    every formulation of depthwise and pointwise convolution and of
       BatchNorm, forward and gradients, at the shapes of the network
input  the input path of `--config=NAME` stage by stage, on one core
run    a training run of `--config=NAME` from start to end
program what a step compiles to for a chip that need not be there: kernels by
       kind, bytes read and written per image, the layers they belong to, beside
       the least bytes; nothing is run, and nothing timed

`--table=docs/benchmarks/cpu.md` runs a list of these and writes the page.
Peers live in an environment of their own: see docs/benchmarks/README.md. Exit
codes: 0 done, 1 a side process failed, 2 a wrong argument, 130 stopped by
Ctrl-C.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command, file_path, names, number
from mn_jax.config import Config, files
from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.observe.console import Console
from mn_jax.parallel import accelerators, allocator
from mn_jax.perf import machine
from mn_jax.perf.bench import (
  comparison,
  interleaved,
  side_process,
  suite,
  terminal,
)

_ALLOCATOR = "glibc-keep"
_TIMEOUT = 1800  # seconds
# What a network is without --config, and the fields of an experiment's.
_NETWORK = {
  "--model": "mobilenet_v1",
  "--resolution": 50,
  "--batch-size": 32,
  "--dtype": "float32",
  "--classes": 2,
}
_NETWORK_FIELDS = {
  "--model": "model.name",
  "--resolution": "data.image_size",
  "--batch-size": "train.batch_size",
  "--dtype": "model.dtype",
  "--classes": "data.classes",
}
# What --of=program compiles for.
_CHIPS = ("cpu", *accelerators.ACCELERATORS)

# Flag, name of its value, least value, default, help.
_COUNTS = (
  ("--steps-per-repeat", "COUNT", 1, 1, "steps between two waits"),
  ("--images", "COUNT", 1, 1000, "--of=input: images to decode"),
  ("--gathered", "COUNT", 1, 200_000, "--of=input: images to gather"),
)


def _parser() -> Parser:
  parser = Parser(
    command("bench"),
    description="Measure the speed of a network, its operations, the input "
    "path, or a whole run; or read a compiled program.",
    example="--model=mobilenet_v2 --peer=timm-eager",
  )

  def choice(flag: str, choices: Iterable[str], text: str, **more: str) -> None:
    default = more.setdefault("default", next(iter(choices)))
    text = f"{text} (default: {default})"
    parser.add_argument(flag, choices=tuple(choices), help=text, **more)

  choice("--of", _MEASURES, "what to measure")
  _add_network(parser)
  choice("--mode", ("train", "infer"), "training step or inference")
  for flag, metavar, least, default, text in _COUNTS:
    parser.option(flag, metavar, text, type=number(int, least), default=default)
  peers = ", ".join(comparison.PEERS)
  parser.option(
    "--peer", "NAMES", f"one or more of {peers}", type=names(comparison.PEERS)
  )
  parser.option(
    "--peer-python",
    "FILE",
    "interpreter of all peers (default: $MN_JAX_PEER_PYTHON for those with "
    "torch, this one for the others)",
    default="",
  )
  parser.flag("--skip-missing", "continue without peers that cannot be started")
  choice(
    "--allocator",
    side_process.ALLOCATORS,
    "memory allocator of all libraries: glibc keeping freed memory, glibc as "
    "it is, or jemalloc",
  )
  choice(
    "--channels-last",
    comparison.LAYOUTS,
    "layout of images in torch; auto: on for GPUs, the faster one on CPUs",
  )
  parser.option(
    "--timeout",
    "SECONDS",
    "limit of a side process that does not answer",
    type=number(float, 1),
    default=_TIMEOUT,
  )
  parser.option(
    "--repeats",
    "COUNT",
    "timed repeats (default: 11 of networks, 7 of operations, 3 of the input "
    "path)",
    type=number(int, 0),
  )
  parser.option(
    "--config",
    "NAME[:ARG]",
    "experiment of --of=input, --of=run, --of=program",
  )
  _add_program(parser)
  _add_page(parser)
  parser.flag("--json", "print JSON instead of tables")
  parser.add_overrides()
  return parser


def _add_network(parser: Parser) -> None:
  """Adds the flags of a network, which an experiment has, too: no defaults."""
  choices = {
    "--model": (registry.MODELS, "network"),
    "--dtype": (("float32", "bfloat16"), "dtype of computation"),
  }
  counts = {
    "--resolution": ("PIXELS", 1, "input height and width"),
    "--batch-size": ("SIZE", 1, "images per step"),
    "--classes": ("COUNT", 2, "number of logits"),
  }
  for flag, (values, text) in choices.items():
    text = f"{text} (default: {_NETWORK[flag]})"
    parser.add_argument(flag, choices=tuple(values), help=text, metavar="NAME")
  for flag, (metavar, least, text) in counts.items():
    text = f"{text} (default: {_NETWORK[flag]})"
    parser.option(flag, metavar, text, type=number(int, least))


def _add_program(parser: Parser) -> None:
  """Adds the flags of --of=program."""
  parser.add_argument(
    "--chip",
    choices=_CHIPS,
    default=_CHIPS[0],
    metavar="NAME",
    help=f"--of=program: compile for one of {', '.join(_CHIPS)} (default: "
    f"{_CHIPS[0]}); no chip needs to be there",
  )
  parser.option(
    "--top",
    "COUNT",
    "--of=program: list the kernels that move most",
    type=number(int, 0),
    default=0,
  )
  parser.flag("--layers", "--of=program: list every layer")
  parser.option(
    "--keep",
    "FILE",
    "--of=program: keep the compiled text; compressed if it ends .gz",
    type=file_path,
  )
  parser.option(
    "--compare",
    "FILE.json",
    "--of=program: compare with what --json printed",
    type=file_path,
  )


def _add_page(parser: Parser) -> None:
  """Adds the flags of a page of many cases."""
  parser.option(
    "--table",
    "FILE.md",
    "page to write, with all of --cases that are not measured yet",
    type=file_path,
  )
  default = next(iter(suite.CASES))
  parser.add_argument(
    "--cases",
    choices=tuple(suite.CASES),
    default=default,
    help=f"what the page of --table reports (default: {default})",
  )
  parser.option(
    "--only",
    "TEXT",
    "measure cases with this in their flags; none: only write the page",
    default="",
  )


def _case(args: argparse.Namespace) -> side_process.Case:
  def network(flag: str) -> Any:
    value = _network_flag(args, flag)
    return _NETWORK[flag] if value is None else value

  return side_process.Case(
    model=network("--model"),
    resolution=network("--resolution"),
    batch=network("--batch-size"),
    mode=args.mode,
    dtype=network("--dtype"),
    classes=network("--classes"),
    threads=machine.cores(),
    allocator=args.allocator,
  )


def _network_flag(args: argparse.Namespace, flag: str) -> Any:
  """The value of a flag of `_add_network`; None if it was not given."""
  return getattr(args, flag[2:].replace("-", "_"))


def _model(args: argparse.Namespace) -> dict:
  interleaved.check_allocator(args.allocator)
  torch_python = os.environ.get("MN_JAX_PEER_PYTHON") or sys.executable

  def python_of(peer: interleaved.Library) -> str:
    needs_torch = "torch" in peer.packages
    return args.peer_python or (torch_python if needs_torch else sys.executable)

  return comparison.measure(
    _case(args),
    args.peer or (),
    repeats=args.repeats or 11,
    steps=args.steps_per_repeat,
    timeout=args.timeout,
    channels_last=args.channels_last,
    python_of=python_of,
    skip_missing=args.skip_missing,
  )


def _ops(args: argparse.Namespace) -> dict:
  from mn_jax.perf.bench import operations

  _keep_memory(args)
  return operations.measure(_case(args), repeats=args.repeats or 7)


def _input(args: argparse.Namespace) -> dict:
  from mn_jax.perf.bench import input_path

  config = _config(args)
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  return input_path.measure(
    config,
    images=args.images,
    gathered=args.gathered,
    repeats=args.repeats or 3,
  )


def _program(args: argparse.Namespace) -> dict:
  from mn_jax.perf.bench import own_step, programs

  case = _case(args)
  if args.config is None:
    config = own_step.config_of(case)
  else:
    for flag, field in _NETWORK_FIELDS.items():
      if _network_flag(args, flag) is not None:
        raise InputError(f"{flag}: got it with --config; valid: {field}=VALUE")
    config = _config(args)
    case = programs.case_of(config, case)
  for peer in args.peer or ():
    if peer not in programs.PEERS:
      raise InputError(
        f"--peer: got {peer!r} with --of=program; valid: "
        f"{', '.join(programs.PEERS)}"
      )
  return programs.measure(
    case,
    config,
    programs.Reading(
      chip=args.chip,
      peers=args.peer or (),
      top=args.top,
      old=args.compare and programs.read_report(args.compare),
      keep=args.keep,
    ),
  )


def _whole_run(args: argparse.Namespace) -> dict:
  from mn_jax.perf.bench import whole_run

  config = _config(args)
  _keep_memory(args)
  return whole_run.measure(config)


def _config(args: argparse.Namespace) -> Config:
  """Returns the experiment of `--config`.

  Raises:
    InputError: if there is none.
  """
  if args.config is None:
    raise InputError(
      f"--config: got nothing with --of={args.of}; valid: --config=NAME[:ARG]"
    )
  return files.load_config(args.config, args.overrides)


def _keep_memory(args: argparse.Namespace) -> None:
  """Applies `--allocator` to this process.

  Raises:
    InputError: if it cannot be applied to a running process.
  """
  if args.allocator == "jemalloc":
    raise InputError(
      "--allocator: got 'jemalloc', which only side processes can use; "
      "valid: glibc-keep, glibc, or --of=model"
    )
  if args.allocator == "glibc-keep":
    allocator.keep_freed_memory()


def _write_page(args: argparse.Namespace) -> None:
  """Measures what `--table` lacks; some flags apply to every case."""
  flags = {
    "--peer-python": (args.peer_python, ""),
    "--allocator": (args.allocator, _ALLOCATOR),
    "--repeats": (args.repeats, None),
    "--timeout": (args.timeout, _TIMEOUT),
  }
  suite.run(
    args.table,
    args.cases,
    Console(),
    only=args.only,
    rest=[
      f"{flag}={value}"
      for flag, (value, default) in flags.items()
      if value != default
    ],
  )


_MEASURES = {
  "model": _model,
  "ops": _ops,
  "input": _input,
  "run": _whole_run,
  "program": _program,
}


def _bench(argv: Sequence[str] | None) -> int:
  """Measures and prints; returns the exit code."""
  args = _parser().parse(argv)
  if args.table:
    _write_page(args)
    return 0
  try:
    measured = _MEASURES[args.of](args)
  except interleaved.SideError as error:
    program.report("bench", error)
    return 1
  report = {"of": args.of, **measured, "machine": machine.describe()}
  if args.json:
    print(json.dumps(report))
  else:
    terminal.show(Console(), report, layers=args.layers)
  return 0


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  return program.run("bench", _bench, argv)


if __name__ == "__main__":
  sys.exit(main())
