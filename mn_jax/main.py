"""Trains an experiment: `python -m mn_jax.main --config=NAME --workdir=DIR`.

Or on a folder, an archive or a table of images, with settings that are chosen
for them: `python -m mn_jax.main --data=PATH`.

Exit codes: 0 done; 2 something given cannot be used; 130 stopped by Ctrl-C and
143 by SIGTERM, with all training saved; others are failures. Whatever stopped
it, the same command resumes.
"""

import argparse
import faulthandler
import itertools
import os
import pathlib
import shlex
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from absl import logging

from mn_jax.commandline import network_arguments, program, signals
from mn_jax.commandline.parser import Parser, command, file_path, number
from mn_jax.config import Config, checks, files, overrides, own_data
from mn_jax.errors import InputError
from mn_jax.parallel import allocator, cluster


def _parser() -> Parser:
  parser = Parser(
    command("train"),
    description="Train on your own images, with settings that are chosen for "
    "them and printed, or an experiment, --config. An interrupted run resumes "
    "when the same command is given again.",
    example="--data=photos --workdir=runs/photos",
  )
  parser.add_argument(
    "--data",
    metavar="PATH",
    help="images of yours: a folder or archive with a folder for each class, "
    "or a table (.csv, .tsv, .parquet); with --config, in place of its data",
  )
  network_arguments.add(parser)
  parser.add_config(required=False)
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    type=file_path,
    help="folder of the run (default with --data: runs/NAME of the images)",
  )
  parser.add_argument(
    "--distributed",
    choices=("auto", "off"),
    default="auto",
    help="auto: the processes of a scheduler train together, if it has started "
    "several (default: auto)",
  )
  parser.option(
    "--coordinator",
    "HOST:PORT",
    "address of process 0, for runs of several processes",
  )
  parser.option(
    "--num-processes", "N", "number of processes", type=int, default=1
  )
  parser.option(
    "--process-id", "I", "index of this process, from 0", type=int, default=0
  )
  parser.option(
    "--start-timeout",
    "SECONDS",
    "limit of the wait for all processes",
    type=number(int, 1),
    default=300,
  )
  parser.option(
    "--stall-timeout",
    "SECONDS",
    "several processes end after this long without progress; 0: never",
    type=number(float, 0),
    default=600.0,
  )
  parser.option(
    "--cpu-devices",
    "N",
    "devices to split the CPU of this process into",
    type=number(int, 1),
  )
  parser.add_overrides()
  return parser


def _workdir(args: argparse.Namespace) -> pathlib.Path:
  """Returns the folder of the run.

  Raises:
    InputError: if the arguments name nothing to train, or no folder.
  """
  if args.config is None and args.data is None:
    raise InputError(
      "--data: got nothing to train; valid: --data=PATH, images of yours, or "
      "--config=NAME, an experiment"
    )
  if args.workdir is not None:
    return args.workdir
  if args.data is None:
    raise InputError(
      "--workdir: got nothing; valid: with --config, the folder of the run"
    )
  return own_data.default_workdir(args.data)


def _experiment(args: argparse.Namespace, given: Mapping[str, Any]) -> Config:
  """Reads the config that is named, on the user's own images if there are any.

  Raises:
    InputError: for whatever is wrong with one of its fields.
  """
  values = files.read_config(args.config)
  changes = own_data.over_experiment(
    values, given, data=args.data, fine_tune=args.weights is not None
  )
  for path, value in changes.items():
    overrides.put(values, path, value)
  return checks.from_config_dict(values)


def _stop_requested() -> Callable[[int, bool], bool]:
  """What the training loop asks; of several processes the same of all.

  These leave SIGTERM to JAX, which lets all of them agree on a call to stop at.
  """
  from jax.experimental import multihost_utils

  if cluster.is_one_process():
    return lambda step, saved: signals.hold(not saved)
  signals.hold(True, pass_on=True)
  # A resumed run counts from 0 as a new one does.
  calls = itertools.count(1)
  return lambda step, saved: multihost_utils.reached_preemption_sync_point(
    next(calls)
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Trains an experiment; returns the exit code."""
  try:
    code = program.run(
      "mn_jax", _train, argv, hint=program.RESUMES, unwinds=False
    )
  except Exception:
    if not _one_of_several():
      raise
    traceback.print_exc()
    code = 1
  if code in (1, 2) and _one_of_several():
    # It does not wait for the others, which would wait for it in turn.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  return code


def _train(argv: Sequence[str] | None) -> int:
  """Trains; returns the exit code."""
  args = _parser().parse(argv)
  processes = (
    args.distributed,
    args.coordinator,
    args.num_processes,
    args.process_id,
  )
  cluster.check_flags(*processes)
  given, workdir = network_arguments.given(args), _workdir(args)
  config = _experiment(args, given) if args.config else None
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  faulthandler.enable()
  logging.set_verbosity(logging.WARNING)
  allocator.keep_freed_memory()
  # Slow imports come last: a wrong argument is answered at once.
  import jax

  from mn_jax.parallel import compile_cache

  if args.cpu_devices is not None:
    jax.config.update("jax_num_cpu_devices", args.cpu_devices)
  cluster.connect(*processes, timeout=args.start_timeout)

  from mn_jax.parallel import watchdog

  with watchdog.watched(args.stall_timeout) as reached:
    cluster.connect_devices()

    from mn_jax.observe.console import Console
    from mn_jax.own_images import settings
    from mn_jax.run import training

    # Ctrl-C ends the `tee` of a pipe first, and there is training to save.
    quiet = not cluster.is_one_process() and jax.process_index() > 0
    console = Console(quiet=quiet, needs_reader=False)
    if config is None:
      config = settings.config(args.data, workdir, given, console)
    compile_cache.keep(config.data.cache_dir)
    summaries = training.train_and_evaluate(
      config,
      workdir,
      console=console,
      stop_requested=_stop_requested(),
      reached=reached,
    )
    if summaries is not None and len(summaries) == 1:
      for line in _next_steps(workdir):
        console.line(line)
  return 0 if summaries is not None else signals.exit_code()


def _next_steps(workdir: pathlib.Path) -> tuple[str, ...]:
  """Returns lines with what can be done with a run that has ended."""
  folder = shlex.quote(str(workdir))
  return (
    f"Report:   {command('report')} {folder}",
    f"Predict:  {command('predict')} --workdir={folder} IMAGE ...",
  )


def _one_of_several() -> bool:
  # An error before JAX is imported is reported without importing it.
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


if __name__ == "__main__":
  sys.exit(main())
