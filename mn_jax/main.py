"""Trains an experiment: `python -m mn_jax.main --config=FILE --workdir=DIR`.

Exit codes: 0 done, or stopped by SIGTERM and saved; 2 something given cannot
be used; 130 stopped by Ctrl-C and saved; others are failures.
"""

import os
import pathlib
import signal
import sys
from collections.abc import Sequence

from absl import app, flags, logging
from ml_collections import config_flags

from mn_jax import allocator, commandline
from mn_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "experiment file with an optional argument: FILE.py[:sample]"
)
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "folder of the run; an interrupted run continues in it"
)
_COORDINATOR = flags.DEFINE_string(
  "coordinator", None, "HOST:PORT of process 0, for runs of several processes"
)
_NUM_PROCESSES = flags.DEFINE_integer("num_processes", 1, "processes in all")
_PROCESS_ID = flags.DEFINE_integer("process_id", 0, "number of this process")
_CPU_DEVICES = flags.DEFINE_integer(
  "cpu_devices", None, "devices to split this process's CPU into"
)


class _Stop:
  """Remembers a signal that asks the run to stop."""

  def __init__(self):
    self.signal: int | None = None
    self._alone = True

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

  def requested(self, step: int) -> bool:
    """Whether to stop; in runs of several processes, the same for all."""
    from jax.experimental import multihost_utils

    if self._alone:
      return self.signal is not None
    return multihost_utils.reached_preemption_sync_point(step)


def main(argv: Sequence[str]) -> int:
  """Runs the experiment; returns the exit code."""
  if len(argv) > 1:
    raise InputError(f"got {argv[1]!r}; valid: flags of the form --name=value")
  if _WORKDIR.value is None:
    raise InputError("--workdir: got nothing; valid: a folder for the run")
  from mn_jax import config as config_lib

  config = config_lib.from_config_dict(_CONFIG.value)
  allocator.keep_freed_memory()
  _start_jax(config)

  # Slow imports come last: a wrong flag is answered at once.
  import jax

  from mn_jax import train
  from mn_jax.observe.console import Console

  stop = _Stop()
  stop.install()
  summary = train.train_and_evaluate(
    config,
    pathlib.Path(_WORKDIR.value),
    console=Console(quiet=jax.process_index() > 0),
    stop_requested=stop.requested,
  )
  return 130 if summary is None and stop.signal == signal.SIGINT else 0


def _start_jax(config) -> None:
  import jax

  from mn_jax.data import datasets

  if _CPU_DEVICES.value:
    jax.config.update("jax_num_cpu_devices", _CPU_DEVICES.value)
  if _COORDINATOR.value:
    jax.distributed.initialize(
      _COORDINATOR.value, _NUM_PROCESSES.value, _PROCESS_ID.value
    )
  compiled = datasets.cache_root(config.data.cache_dir) / "compiled"
  jax.config.update("jax_compilation_cache_dir", str(compiled))
  jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def _run(argv: Sequence[str]) -> None:
  try:
    code = main(argv)
  except InputError as error:
    commandline.refuse(error)
  sys.exit(code)


if __name__ == "__main__":
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  logging.set_verbosity(logging.WARNING)
  app.run(_run, flags_parser=commandline.parse)
