"""Trains an experiment: `python -m mn_jax.main --config=FILE --workdir=DIR`.

Exit codes: 0 done; 2 something given cannot be used; 130 stopped by Ctrl-C and
143 by SIGTERM, in both cases saved; others are failures. What ends with 143 or
a failure goes on when the same command is given again.
"""

import os
import pathlib
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from mn_jax.commandline import flags as commandline
from mn_jax.errors import InputError
from mn_jax.parallel import allocator, cluster

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "experiment file with an optional argument: FILE.py[:sample]"
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "folder of the run; an interrupted run continues in it"
)
_DISTRIBUTED = flags.DEFINE_enum(
  "distributed",
  "auto",
  ("auto", "off"),
  "auto: a scheduler's processes train together, if it has started several",
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "HOST:PORT of process 0, for runs of several processes"
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "processes in all")
_PROCESS_ID = flags.DEFINE_integer("process_id", 0, "number of this process")
_START_TIMEOUT = flags.DEFINE_integer(
  "start_timeout", 300, "seconds to wait for all processes", lower_bound=1
)
_STALL_TIMEOUT = flags.DEFINE_float(
  "stall_timeout",
  600.0,
  "seconds without progress after which several processes end; 0: never",
  lower_bound=0.0,
)
_CPU_DEVICES = flags.DEFINE_integer(
  "cpu_devices",
  None,
  "devices to split this process's CPU into",
  lower_bound=1,
)


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
      # Before the loop there is nothing to save: what was decoded is kept.
      raise SystemExit(self.exit_code())

  def requested(self, step: int) -> bool:
    """Whether to stop; in runs of several processes, the same for all."""
    del step
    from jax.experimental import multihost_utils

    # JAX agrees on a number of calls yet to come, so a continued run must
    # count from 0 as a new one does.
    self._asked += 1
    if self._alone:
      return self.signal is not None
    return multihost_utils.reached_preemption_sync_point(self._asked)

  def exit_code(self) -> int:
    """That of a run which a signal has ended."""
    return 130 if self.signal == signal.SIGINT else 143


def main(argv: Sequence[str]) -> int:
  """Runs the experiment; returns the exit code."""
  if len(argv) > 1:
    raise InputError(f"got {argv[1]!r}; valid: flags of the form --name=value")
  if _WORKDIR.value is None:
    raise InputError("--workdir: got nothing; valid: a folder for the run")
  cluster.check(*_processes())
  from mn_jax.config import checks

  config = checks.from_config_dict(_CONFIG.value)
  allocator.keep_freed_memory()
  # Slow imports come last: a wrong flag is answered at once.
  _start_jax(config)

  from mn_jax.parallel import watchdog

  with watchdog.watched(_STALL_TIMEOUT.value) as reached:
    cluster.meet()

    import jax

    from mn_jax.observe.console import Console
    from mn_jax.run import training

    stop = _Stop()
    stop.install()
    summaries = training.train_and_evaluate(
      config,
      pathlib.Path(_WORKDIR.value).expanduser(),
      console=Console(quiet=jax.process_index() > 0),
      stop_requested=stop.requested,
      reached=reached,
    )
  return 0 if summaries is not None else stop.exit_code()


def _processes() -> tuple[str, str | None, int, int]:
  return (
    _DISTRIBUTED.value,
    _COORDINATOR.value,
    _NUM_PROCESSES.value,
    _PROCESS_ID.value,
  )


def _start_jax(config) -> None:
  import jax

  from mn_jax.parallel import compile_cache

  if _CPU_DEVICES.value is not None:
    jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value)
  cluster.start(*_processes(), timeout=_START_TIMEOUT.value)
  compile_cache.keep(config.data.cache_dir)


def _run(argv: Sequence[str]) -> None:
  try:
    sys.exit(main(argv))
  except InputError as error:
    commandline.report(error)
    _leave(2)
  except KeyboardInterrupt:
    if not _one_of_several():
      raise
    _leave(130)
  except Exception:
    if not _one_of_several():
      raise
    traceback.print_exc()
    _leave(1)


def _one_of_several() -> bool:
  # What goes wrong before JAX is there is answered without it.
  jax = sys.modules.get("jax")
  return jax is not None and jax.distributed.is_initialized()


def _leave(code: int) -> NoReturn:
  """Exits; of several processes, without waiting for the others.

  They would wait for this one in turn.
  """
  if _one_of_several():
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
  sys.exit(code)


if __name__ == "__main__":
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  logging.set_verbosity(logging.WARNING)
  app.run(_run, flags_parser=commandline.parse)
