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
from collections.abc import Sequence

from mn_jax.commandline import bench_arguments, program
from mn_jax.config import Config, files
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator
from mn_jax.perf import machine
from mn_jax.perf.bench import comparison, interleaved, suite, terminal

_parser = bench_arguments.parser


def _model(args: argparse.Namespace) -> dict:
  interleaved.check_allocator(args.allocator)
  torch_python = os.environ.get("MN_JAX_PEER_PYTHON") or sys.executable

  def python_of(peer: interleaved.Library) -> str:
    needs_torch = "torch" in peer.packages
    return args.peer_python or (torch_python if needs_torch else sys.executable)

  return comparison.measure(
    bench_arguments.case(args),
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
  return operations.measure(
    bench_arguments.case(args), repeats=args.repeats or 7
  )


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

  case = bench_arguments.case(args)
  if args.config is None:
    config = own_step.config_of(case)
  else:
    for flag in bench_arguments.network(args):
      field = bench_arguments.NETWORK_FIELDS[flag]
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
      registers=args.registers,
      old=args.compare and programs.read_report(args.compare),
      keep=args.keep,
      text=args.text,
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
  suite.run(
    args.table,
    args.cases,
    Console(),
    only=args.only,
    rest=bench_arguments.for_every_case(args),
    before=args.before,
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
