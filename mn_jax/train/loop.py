"""Training and evaluation: the one loop, and the order of things around it.

An iteration is: the next batch, a step, then what is due of logging,
validating and saving, in that order and counted in completed updates. It may
be several steps in one dispatch (`train.steps_per_dispatch`) where nothing is
due between them. State and position are saved at the same boundary, so a run
that goes on from a checkpoint repeats exactly what the uninterrupted run does.

The loop trains one run for each seed that is asked for, all of them at the same
step. Usually that is one.
"""

import collections
import contextlib
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
from absl import logging

from mn_jax.config import Config
from mn_jax.data import loader
from mn_jax.observe import clock as clock_lib
from mn_jax.observe import console as console_lib
from mn_jax.run import outputs, split_data
from mn_jax.run import setup as experiment_lib
from mn_jax.run import workdir as workdir_lib
from mn_jax.run.run import Run
from mn_jax.run.workdir import Workdir
from mn_jax.train import checkpoint as checkpoint_lib

# Called with what the process is about to do, and the completed updates:
# 'read', 'extract', and the sections of the run's clock.
Reached = Callable[[str, int], None]

# Dispatches in flight: the host waits for the one before the last, so the
# device always has a step to do and a stop is never far behind.
_LAG = 2


def train_and_evaluate(
  config: Config,
  workdir: pathlib.Path,
  *,
  console: console_lib.Console,
  stop_requested: Callable[[int], bool],
  reached: Reached = lambda phase, step: None,
) -> list[dict[str, Any]] | None:
  """Runs an experiment to its end, from its last checkpoint if it has one.

  Args:
    config: the experiment.
    workdir: the run's folder; created, or continued if it has the same config.
      With `train.replicas` above 1 it has a folder for each seed.
    console: for people.
    stop_requested: asked before every dispatch, with the number of completed
      updates, whether to save and return.
    reached: told of progress, for whoever watches over the process.

  Returns:
    The content of every seed's `summary.json`, or None if it was stopped before
    the end.

  Raises:
    InputError: for a config, data or a workdir that cannot be used.
  """
  experiment_lib.check(config)
  configs = experiment_lib.of_each_seed(config)
  with workdir_lib.opened(
    config, workdir, first_process=jax.process_index() == 0
  ) as folders:
    for folder, own in zip(folders, configs, strict=True):
      folder.check_config(own)
    summaries = [folder.read_json("summary.json") for folder in folders]
    missing = [i for i, summary in enumerate(summaries) if summary is None]
    if missing:
      found = _train(
        [configs[i] for i in missing],
        [folders[i] for i in missing],
        workdir,
        console=console,
        stop_requested=stop_requested,
        reached=reached,
      )
      if found is None:
        return None
      for i, summary in zip(missing, found, strict=True):
        summaries[i] = summary
    else:
      console.line(f"{workdir} is complete; nothing is left to do.")
    if len(summaries) > 1:
      console_lib.print_replicas(console, summaries, workdir)
    else:
      console_lib.print_summary(console, summaries[0], workdir)
    return summaries


def _train(
  configs: Sequence[Config],
  folders: Sequence[Workdir],
  workdir: pathlib.Path,
  *,
  console: console_lib.Console,
  stop_requested: Callable[[int], bool],
  reached: Reached,
) -> list[dict[str, Any]] | None:
  """Runs what is not complete; arguments as those above, one of each seed."""
  with console.counting("decoding", "images") as progress:
    data = split_data.load(configs[0].data, _counted(progress, reached, "read"))
  outputs.print_data(console, data)
  for folder in folders:
    folder.check_data(data.digests())
  with console.counting("extracting features", "images") as progress:
    experiment = experiment_lib.build(
      configs, data, _counted(progress, reached, "extract")
    )
  if experiment.pretrained is not None:
    for folder in folders:
      folder.check_weights(experiment.pretrained.sha256)
  loop = _Loop(experiment, folders, workdir, console, reached)
  try:
    return loop.finish() if loop.run(stop_requested) else None
  finally:
    loop.close()


def _counted(
  update: Callable[[int, int], None], reached: Reached, phase: str
) -> Callable[[int, int], None]:
  """`update(done, total)` that also reports the progress."""
  # All processes enter the phase; one of a machine may do the work.
  reached(phase, 0)

  def counted(done: int, total: int) -> None:
    reached(phase, 0)
    update(done, total)

  return counted


class _Loop:
  """The training loop: what changes from step to step."""

  def __init__(
    self,
    experiment: experiment_lib.Experiment,
    folders: Sequence[Workdir],
    workdir: pathlib.Path,
    console: console_lib.Console,
    reached: Reached,
  ):
    self._experiment, self._together = experiment, experiment.together
    self._config, self._plan = experiment.config, experiment.plan
    self._workdir, self._console = workdir, console
    self._reached = reached
    self._runs = [
      Run(experiment, replica, folder)
      for replica, folder in zip(experiment.replicas, folders, strict=True)
    ]
    self._states = self._together.join(self._begin())
    self._clock = clock_lib.Clock(self._runs[0].position.clock)
    self._pending: collections.deque = collections.deque()
    self._compiled: set[int] = set()
    self._profiling = False

  @property
  def _number(self) -> int:
    """Completed updates, the same of all runs."""
    return self._runs[0].position.batch

  def run(self, stop_requested: Callable[[int], bool]) -> bool:
    """Trains; returns whether the end was reached."""
    plan = self._plan
    iterators = [
      replica.batches.iterate(
        start=self._number, prefetch=self._config.data.prefetch
      )
      for replica in self._experiment.replicas
    ]
    with self._console.training(
      done=self._number, total=plan.total_steps
    ) as self._progress:
      while self._number < plan.total_steps and not self._out_of_patience():
        if stop_requested(self._number):
          self._stop()
          return False
        with self._section("data"):
          steps = range(plan.next_steps(self._number))
          batches = [[next(own) for _ in steps] for own in iterators]
        self._step(batches)
        if plan.log.due(self._number):
          self._log()
        scores, best = [None] * len(self._runs), False
        if plan.evaluate.due(self._number):
          scores = self._validate()
          best = any(run.is_best() for run in self._runs)
        if plan.save.due(self._number) or best or self._out_of_patience():
          self._save(scores)
    self._wait()
    return True

  def finish(self) -> list[dict[str, Any]]:
    """The test, once, with the best checkpoints; figures and summaries."""
    experiment, last = self._experiment, self._together.split(self._states)
    best = [
      run.best_state(state) for run, state in zip(self._runs, last, strict=True)
    ]
    chosen = self._states
    if any(a is not b for a, b in zip(best, last, strict=True)):
      chosen = self._together.join(best)
    for part in ("val", "test"):
      with self._section("evaluate"):
        found = of_last = experiment.evaluate(part, chosen)
        if chosen is not self._states:
          of_last = experiment.evaluate(part, self._states)
      for run, own, (scalars, _) in zip(
        self._runs, found, of_last, strict=True
      ):
        run.tested(part, *own, scalars)
    return [
      run.finish(state, self._clock)
      for run, state in zip(self._runs, last, strict=True)
    ]

  def close(self) -> None:
    """Ends background work; errors of asynchronous saves show here."""
    with contextlib.ExitStack() as stack:
      stack.callback(logging.flush)
      for run in self._runs:
        stack.callback(run.close)
      stack.callback(self._stop_profile)

  @contextlib.contextmanager
  def _section(self, name: str) -> Iterator[None]:
    """Times and reports a part of the loop."""
    self._reached(name, self._number)
    with self._clock.section(name):
      yield

  def _begin(self) -> list[Any]:
    """The state of every run, from the newest step that all of them have."""
    before = [run.checkpoints.latest_step() for run in self._runs]
    restored = checkpoint_lib.restore_common(
      [run.checkpoints for run in self._runs],
      self._experiment.replicas[0].initial_state,
    )
    if restored is None:
      states = [run.begin() for run in self._runs]
      outputs.print_network(self._console, self._experiment)
      return states
    for run, (_, position) in zip(self._runs, restored, strict=True):
      run.go_on(position)
    self._console.line(
      f"Continuing {self._workdir} from step {self._number} of "
      f"{self._plan.total_steps}"
    )
    ahead = [
      run
      for run, step in zip(self._runs, before, strict=True)
      if step > self._number
    ]
    if len(ahead) < len(self._runs):
      for run in ahead:
        self._console.line(
          f"Seed {run.seed} goes back: the others were not as far."
        )
    return [state for state, _ in restored]

  def _step(self, batches: list[list[loader.Batch]]) -> None:
    count = len(batches[0])
    # The first dispatch of so many steps waits for the compiler; its time and
    # its images stay out of the throughput.
    compiled = count in self._compiled
    if not compiled:
      self._settle_all()
    with self._section("step" if compiled else "compile"):
      self._states, sums = self._together.train_steps(self._states, batches)
      for run in self._runs:
        run.position.batch += count
      self._pending.append(sums)
      self._settle(_LAG if compiled else 0)
    if compiled:
      self._clock.count(count * self._config.train.batch_size)
    self._compiled.add(count)
    self._profile()
    self._progress.step(self._number)

  def _settle(self, in_flight: int) -> None:
    """Hands the sums of finished steps to their runs."""
    while len(self._pending) > in_flight:
      found = self._together.fetch(self._pending.popleft())
      for run, sums in zip(self._runs, found, strict=True):
        run.add(sums)

  def _settle_all(self) -> None:
    with self._section("step"):
      self._settle(0)

  def _log(self) -> None:
    self._settle_all()
    rate = self._clock.images_per_sec()
    speed = {
      "images_per_sec": rate,
      "data_wait_share": self._clock.data_wait_share(),
      "mfu": self._experiment.mfu(rate),
    }
    diverged = [run for run in self._runs if not run.log(speed)]
    for run in diverged:
      of = f" (seed {run.seed})" if len(self._runs) > 1 else ""
      self._progress.event(
        self._number, f"the training loss is not finite{of}", 0
      )
    if rate is not None:
      of_all = rate * len(self._runs)
      self._progress.rate(self._number, of_all, self._seconds_left())

  def _validate(self) -> list[float | None]:
    """Validates; returns the score of every state, higher is better."""
    self._settle_all()
    part = self._config.eval.part
    with self._section("evaluate"):
      evaluated = self._experiment.evaluate(part, self._states)
    found = [scalars for scalars, _ in evaluated]
    scores = [
      run.validated(scalars)
      for run, scalars in zip(self._runs, found, strict=True)
    ]
    best = [run.seed for run in self._runs if run.is_best()]
    mark = "  best" if best else ""
    if best and len(self._runs) > 1:
      mark = f"  best of seed {', '.join(map(str, best))}"
    epoch = self._number / self._plan.steps_per_epoch
    self._progress.event(
      self._number,
      f"epoch {epoch:.1f}  {console_lib.evaluation(part, found)}{mark}",
      self._seconds_left(),
    )
    return scores

  def _out_of_patience(self) -> bool:
    return any(run.is_out_of_patience() for run in self._runs)

  def _save(self, scores: Sequence[float | None]) -> None:
    self._settle_all()
    with self._section("save"):
      # Before the first of them is on disk and may replace an older one, what
      # was saved last is on disk of all: there is a step to go on from.
      self._wait()
      clock = self._clock.snapshot()
      states = self._together.split(self._states)
      for run, state, score in zip(self._runs, states, scores, strict=True):
        run.save(state, score, clock)

  def _wait(self) -> None:
    for run in self._runs:
      run.checkpoints.wait()

  def _stop(self) -> None:
    if self._number and self._runs[0].checkpoints.latest_step() != self._number:
      self._save([None] * len(self._runs))
    self._wait()
    self._progress.event(
      self._number, "stopped and saved; the same command continues", 0
    )

  def _profile(self) -> None:
    # Traces of processes on one machine would get the same name.
    if not self._plan.profile or jax.process_index() > 0:
      return
    begin, end = self._plan.profile
    if self._number == begin:
      folder = self._runs[0].folder.path
      jax.profiler.start_trace(str(folder / "tensorboard"))
      self._profiling = True
    if self._number == end:
      self._settle_all()
      self._stop_profile()

  def _stop_profile(self) -> None:
    if self._profiling:
      jax.profiler.stop_trace()
      self._profiling = False

  def _seconds_left(self) -> float:
    rate = self._clock.images_per_sec()
    left = self._plan.total_steps - self._number
    return left * self._config.train.batch_size / rate if rate else 0.0
