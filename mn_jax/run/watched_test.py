"""The test part evaluated at every validation, for `eval.watch_test`.

Some papers have no validation part: their test chose the epoch that they print,
or they print one of the last epochs. What a run would have reported that way is
recorded beside its own result, from the same training. It chooses nothing.
"""

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

from mn_jax.observe import writers
from mn_jax.run.setup import Setup
from mn_jax.train.state import TrainState

# In front of the metrics' names in `metrics.jsonl`.
PREFIX = "watched_test/"
_LAST = 10  # evaluations
_ACCURACY = f"{PREFIX}accuracy"


def evaluate(setup: Setup, state: TrainState) -> dict[str, float]:
  """Returns 'watched_test/NAME' for each metric; {} where it is not watched.

  Args:
    setup: of the run.
    state: what to evaluate.
  """
  if not setup.config.eval.watch_test:
    return {}
  metrics, _ = setup.evaluate(state, "test")
  return {f"{PREFIX}{name}": value for name, value in metrics.items()}


def results(
  setup: Setup, lines: Iterable[Mapping[str, Any]]
) -> dict[str, float]:
  """Returns what a paper whose test chose the epoch would have reported.

  Args:
    setup: of the run.
    lines: of its `metrics.jsonl`.

  Returns:
    'chosen_by_test/accuracy', the highest of all evaluations, with its
    'chosen_by_test/epoch'; 'last_ten_tests/accuracy', the mean over the last
    ten, and 'last_ten_tests/std', their sample standard deviation;
    'chosen_by_test/gain', the highest minus that mean. {} where it is not
    watched.
  """
  if not setup.config.eval.watch_test:
    return {}
  accuracy = [
    (line[writers.STEP], line[_ACCURACY]) for line in lines if _ACCURACY in line
  ]
  if not accuracy:  # only the first process writes them
    return {}
  step, best = max(accuracy, key=lambda point: point[1])
  last = [value for _, value in accuracy[-_LAST:]]
  mean = statistics.fmean(last)
  spread = {"last_ten_tests/std": statistics.stdev(last)} if last[1:] else {}
  return {
    "chosen_by_test/accuracy": best,
    "chosen_by_test/epoch": step / setup.plan.steps_per_epoch,
    "chosen_by_test/gain": best - mean,
    "last_ten_tests/accuracy": mean,
    **spread,
  }


def note(summary: Mapping[str, Any]) -> str:
  """Says what the watched test means, or ''.

  Args:
    summary: content of `summary.json`.
  """
  if "chosen_by_test/accuracy" not in summary:
    return ""
  return (
    "The test part was evaluated at every validation (eval.watch_test), to "
    "repeat papers whose test chose the epoch; it chose nothing here. 'Chosen "
    "by test' is the best of these accuracies, biased upwards; 'last ten "
    "tests' is the mean of the last ten."
  )
