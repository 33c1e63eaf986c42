"""Trains an experiment: `python -m mn_jax.main --config=NAME --workdir=DIR`.

Exit codes: 0 done; 2 something given cannot be used; 130 stopped by Ctrl-C and
143 by SIGTERM, with all training saved; others are failures. Whatever stopped
it, the same command resumes.
"""

import faulthandler
import itertools
import os
import sys
import traceback
from collections.abc import Callable, Sequence

from absl import logging

from mn_jax.commandline import program, signals
from mn_jax.commandline.parser import Parser, command, file_path, number
from mn_jax.config import files
from mn_jax.parallel import allocator, cluster


def _parser() -> Parser:
  parser = Parser(
    command("train"),
    description="Train an experiment. An interrupted run resumes when the same "
    "command is given again.",
    example="--config=idc_v1:sample --workdir=runs/sample",
  )
  parser.add_config()
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    type=file_path,
    required=True,
    help="folder of the run",
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


def _stop_requested() -> Callable[[int, bool], bool]:
  """What the training loop asks; of several processes the same of all.

  These leave SIGTERM to JAX, which lets all of them agree on a call to stop at.
  """
  import jax
  from jax.experimental import multihost_utils

  if jax.process_count() == 1:
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
  config = files.load_config(args.config, args.overrides)
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
  compile_cache.keep(config.data.cache_dir)

  from mn_jax.parallel import watchdog

  with watchdog.watched(args.stall_timeout) as reached:
    cluster.connect_devices()

    from mn_jax.observe.console import Console
    from mn_jax.run import training

    summaries = training.train_and_evaluate(
      config,
      args.workdir,
      # Ctrl-C ends the `tee` of a pipe first, and there is training to save.
      console=Console(quiet=jax.process_index() > 0, needs_reader=False),
      stop_requested=_stop_requested(),
      reached=reached,
    )
  return 0 if summaries is not None else signals.exit_code()


def _one_of_several() -> bool:
  # An error before JAX is imported is reported without importing it.
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


if __name__ == "__main__":
  sys.exit(main())
