"""An experiment from config to summary: set-up, training loop, test."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import jax
from absl import logging

from mn_jax.config import Config
from mn_jax.config.experiment import train_resolution
from mn_jax.data import classes
from mn_jax.observe import console as console_lib
from mn_jax.parallel import dispatch
from mn_jax.run import outputs, split_data
from mn_jax.run import setup as setup_lib
from mn_jax.run import workdir as workdir_lib
from mn_jax.run.records import DamagedError
from mn_jax.run.run import Reached, Run
from mn_jax.run.setup import Setup
from mn_jax.run.workdir import Workdir
from mn_jax.train import loop
from mn_jax.train.seeds import Seeds


def train_and_evaluate(
  config: Config,
  workdir: pathlib.Path,
  *,
  console: console_lib.Console,
  stop_requested: loop.StopRequested,
  reached: Reached = lambda section, step: None,
) -> list[dict[str, Any]] | None:
  """Runs an experiment to its end, from its last checkpoint if it has one.

  Args:
    config: the experiment.
    workdir: the run's folder; created, or resumed if it has the same config.
      With `train.replicas` above 1 it has a folder for each seed.
    console: for people.
    stop_requested: asked before every dispatch and after the last.
    reached: told of progress, for whoever watches over the process.

  Returns:
    The content of every seed's `summary.json`, or None if it was stopped before
    the end.

  Raises:
    InputError: for a config, data or a workdir that cannot be used.
  """
  _bound_memory(config)
  revision = workdir_lib.weights_revision(workdir, config.model.weights)
  setup_lib.check(config, revision=revision)
  configs = configs_of_seeds(config)
  with contextlib.ExitStack() as stack:
    folders = stack.enter_context(
      workdir_lib.opened(config, workdir, first_process=_is_first_process())
    )
    for folder, config_of_seed in zip(folders, configs, strict=True):
      folder.check_config(config_of_seed)
    summaries = [_summary(folder, console) for folder in folders]
    unfinished = [i for i, summary in enumerate(summaries) if summary is None]
    if unfinished:
      setups = _set_up(
        [configs[i] for i in unfinished],
        [folders[i] for i in unfinished],
        console,
        reached,
        revision,
      )
      runs = _open_runs(
        setups, [folders[i] for i in unfinished], stack, console, reached
      )
      trained = runs[0] if len(runs) == 1 else Seeds(runs)
      state = loop.train(trained, setups[0].plan, stop_requested)
      if state is None:
        return None
      states = (state,) if len(runs) == 1 else state
      for i, run, state_of_seed in zip(unfinished, runs, states, strict=True):
        summaries[i] = run.finish(state_of_seed)
    else:
      console.line(f"{workdir} is complete; nothing is left to do.")
  if len(summaries) > 1:
    console_lib.print_seeds(console, summaries, workdir)
  else:
    console_lib.print_summary(console, summaries[0], workdir)
  return summaries


def configs_of_seeds(config: Config) -> list[Config]:
  """The configs of `train.replicas` runs, each as if it were alone."""
  train = dataclasses.replace(config.train, replicas=1)
  return [
    dataclasses.replace(config, seed=config.seed + number, train=train)
    for number in range(config.train.replicas)
  ]


def _bound_memory(config: Config) -> None:
  """See `parallel.dispatch`; nothing has asked for devices yet."""
  if setup_lib.caches_features(config):
    return  # steps take features, not images
  size = train_resolution(config)
  dispatch.bound_memory(config.train.batch_size * size**2)


def _summary(
  folder: Workdir, console: console_lib.Console
) -> dict[str, Any] | None:
  """The summary of a run; None if something is left to do, or to repair.

  A run that has ended resumes from its last checkpoint if one of its files is
  damaged, and writes it again.
  """
  try:
    return folder.summary()
  except DamagedError as error:
    if not folder.has_checkpoints():
      raise
    console.line(f"Note: {folder.path}: {error.reason}; it is written again")
    return None


def _set_up(
  configs: list[Config],
  folders: list[Workdir],
  console: console_lib.Console,
  reached: Reached,
  revision: str,
) -> list[Setup]:
  """Reads the data and builds each seed's set-up, with what they share."""
  with console.counting("decoding", "images") as progress:
    data = split_data.load(
      configs[0].data, _reporting(progress, reached, "read")
    )
  outputs.print_data(console, data)
  if data.cache.left_out:
    console.line("split.json counts what is left out and lists what is damaged")
  classes.check(
    data.kind, data.classes, data.counts(), configs[0].data.allow_missing
  )
  digests = data.digests()
  for folder in folders:
    workdir_lib.check_data(folder.path, digests)
  with console.counting("extracting features", "images") as progress:
    first = setup_lib.build(
      configs[0],
      data,
      _reporting(progress, reached, "extract"),
      revision=revision,
    )
  rest = [setup_lib.another_seed(first, config) for config in configs[1:]]
  return [first, *rest]


def _open_runs(
  setups: list[Setup],
  folders: list[Workdir],
  stack: contextlib.ExitStack,
  console: console_lib.Console,
  reached: Reached,
) -> list[Run]:
  """Opens the runs until the stack is closed."""
  stack.callback(logging.flush)
  progress = stack.enter_context(
    console.training(total=setups[0].plan.total_steps)
  )
  seeds = tuple(setup.config.seed for setup in setups)
  runs = []
  for setup, folder in zip(setups, folders, strict=True):
    run = Run(setup, folder, console, progress, reached, seeds=seeds)
    stack.callback(run.close)
    runs.append(run)
  return runs


def _is_first_process() -> bool:
  return jax.process_index() == 0


def _reporting(
  update: Callable[[int, int], None], reached: Reached, phase: str
) -> Callable[[int, int], None]:
  """`update(done, total)` that also reports the progress."""
  # All processes enter the phase; one of a machine may do the work.
  reached(phase, 0)

  def reporting(done: int, total: int) -> None:
    reached(phase, 0)
    update(done, total)

  return reporting
