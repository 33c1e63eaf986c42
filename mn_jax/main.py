"""Trains an experiment: `python -m mn_jax.main --config=NAME --workdir=DIR`.

Exit codes: 0 done; 2 something given cannot be used; 130 stopped by Ctrl-C and
143 by SIGTERM, in both cases saved; others are failures. What ends with 143 or
a failure resumes when the same command is given again.
"""

import argparse
import faulthandler
import os
import signal
import sys
import traceback
from collections.abc import Sequence

from absl import logging

from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command, file_path, number
from mn_jax.config import files
from mn_jax.errors import InputError, RunError
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


class _Stop:
  """Remembers a signal that asks the run to stop."""

  def __init__(self):
    self.signal: int | None = None
    self._alone = True
    self._asked = 0

  def install(self) -> None:
    """Takes over Ctrl-C and SIGTERM.

    With several processes SIGTERM stays with JAX, which lets all of them agree
    on a step to stop at.
    """
    import jax

    self._alone = jax.process_count() == 1
    signal.signal(signal.SIGINT, self._handle)
    if self._alone:
      signal.signal(signal.SIGTERM, self._handle)

  def _handle(self, number: int, _) -> None:
    self.signal = number
    if number == signal.SIGINT:
      # A second Ctrl-C ends the run at once.
      signal.signal(signal.SIGINT, signal.default_int_handler)
      if not self._alone:
        signal.raise_signal(signal.SIGTERM)
    if self._alone and not self._asked:
      # Before the loop there is nothing to save but decoded images, which are.
      raise SystemExit(self.exit_code())

  def requested(self, step: int) -> bool:
    """Whether to stop; in runs of several processes, the same for all."""
    del step
    from jax.experimental import multihost_utils

    # JAX agrees on a number of calls yet to come, so a resumed run must count
    # from 0 as a new one does.
    self._asked += 1
    if self._alone:
      return self.signal is not None
    return multihost_utils.reached_preemption_sync_point(self._asked)

  def exit_code(self) -> int:
    """Returns the exit code of a run that a signal has stopped."""
    return 130 if self.signal == signal.SIGINT else 143


def main(argv: Sequence[str] | None = None) -> int:
  """Trains an experiment; returns the exit code."""
  try:
    return _train(_parser().parse(argv))
  except (InputError, RunError) as error:
    program.report("mn_jax", error)
    return _leave(2 if isinstance(error, InputError) else 1)
  except KeyboardInterrupt:
    return _leave(130)
  except Exception:
    if not _one_of_several():
      raise
    traceback.print_exc()
    return _leave(1)


def _train(args: argparse.Namespace) -> int:
  """Trains; returns the exit code."""
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

    stop = _Stop()
    stop.install()
    summaries = training.train_and_evaluate(
      config,
      args.workdir,
      console=Console(quiet=jax.process_index() > 0),
      stop_requested=stop.requested,
      reached=reached,
    )
  return 0 if summaries is not None else stop.exit_code()


def _one_of_several() -> bool:
  # An error before JAX is imported is reported without importing it.
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def _leave(code: int) -> int:
  """Returns an exit code; of several processes, ends this one with it.

  It does not wait for the others, which would wait for it in turn.
  """
  if _one_of_several():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  return code


if __name__ == "__main__":
  sys.exit(main())
