"""Resamples of the groups that the runs of a study are tested on.

They are the same for all rows, so that any two can be compared on them. A group
that a test does not have is drawn for nothing: the number of groups of a
resample varies a little around that of the test.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import bootstrap, classification
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.studies import fixed_sensitivity

# Two draws must not be of the same random numbers.
_OF_TEST, _OF_VALIDATION = 0, 1
# The classes whose share of right images a metric is.
_SHARES = {"sensitivity": True, "specificity": False}


@dataclasses.dataclass(frozen=True)
class Result:
  """What statistics need of a run, or of a baseline on the split of one.

  Attributes:
    summary: content of `summary.json`; of a baseline the fields that are read.
    images: number of images of each part; empty if it is not known.
    predictions: reads those for 'val' or 'test'; None if there are none.
  """

  summary: Mapping[str, Any]
  images: Mapping[str, int]
  predictions: Callable[[str], NamedPredictions | None]


# Row -> seed -> result.
Rows = Mapping[str, Mapping[int, Result]]
# Row and seed.
Run = tuple[str, int]


class Resamples:
  """Metrics of runs on resamples of the groups of their tests."""

  def __init__(self, rows: Rows, resamples: int):
    """Keeps the results of all rows, and the number of resamples."""
    self._rows, self._resamples = rows, resamples
    # Rows on the same split share what their baselines predict. Predictions
    # are kept beside their metrics, so that no other object takes their id.
    self._measured: dict[
      tuple[int, str], tuple[NamedPredictions, dict[str, np.ndarray]]
    ] = {}
    self._units = functools.cache(self._all_units)
    self._at_sensitivity = functools.cache(self._with_its_threshold)
    self.rechosen = functools.cache(self._rechosen)

  def predictions(self, run: Run, part: str) -> NamedPredictions | None:
    """Returns the predictions of a run for a part; None if there are none.

    Args:
      run: row and seed.
      part: 'val', 'test' or `fixed_sensitivity.PART`.
    """
    if part == fixed_sensitivity.PART:
      return self._at_sensitivity(run)
    row, seed = run
    if part not in ("val", "test"):
      return None
    return self._rows[row][seed].predictions(part)

  def count_units(
    self, runs: Sequence[Sequence[Run]], part: str
  ) -> tuple[int, str]:
    """Returns the number of groups, or images, of all tests, and which."""
    used = [self.predictions(run, part) for row in runs for run in row]
    unit = "image" if any(x.groups is None for x in used) else "group"
    return len(np.unique(np.concatenate([units_of(x) for x in used]))), unit

  def metrics(self, run: Run, part: str) -> dict[str, np.ndarray] | None:
    """Returns the metrics of a run on resamples of the groups of all tests.

    Args:
      run: row and seed.
      part: as in `predictions`.

    Returns:
      Metric -> f64[resamples]; None without predictions.
    """
    named = self.predictions(run, part)
    if named is None or not len(named.predictions.ids):
      return None
    key = id(named), part
    if key not in self._measured:
      self._measured[key] = named, self._resample(named, part)
    return self._measured[key][1]

  def _resample(
    self, named: NamedPredictions, part: str
  ) -> dict[str, np.ndarray]:
    codes = self._codes(named, part)
    metrics = classification.weighted(
      named.predictions, positive=named.positive
    )
    resamples = bootstrap.affordable(named.predictions, self._resamples)
    rows = []
    for number in range(resamples):
      weights = self._draw(part, _OF_TEST, number)[codes]
      rows.append(metrics(weights) if weights.any() else {})
    return _columns(named, rows)

  def _rechosen(self, run: Run) -> dict[str, np.ndarray] | None:
    """Metric -> f64[resamples], of thresholds that resamples of 'val' choose.

    The test is the same in all of them.
    """
    row, seed = run
    val, test = map(self._rows[row][seed].predictions, ("val", "test"))
    if self._at_sensitivity(run) is None:
      return None
    codes, found, rows = self._codes(val, "val"), {}, []
    for number in range(self._resamples):
      weights = self._draw("val", _OF_VALIDATION, number)[codes]
      drawn = val.take(np.repeat(np.arange(len(codes)), weights))
      threshold = fixed_sensitivity.threshold(drawn)
      if threshold not in found:
        named = fixed_sensitivity.shift(test, threshold)
        found[threshold] = (
          {}
          if named is None
          else classification.summarize(
            named.predictions, positive=named.positive
          )
        )
      rows.append(found[threshold])
    return _columns(self._at_sensitivity(run), rows)

  def _draw(self, part: str, seed: int, number: int) -> np.ndarray:
    return bootstrap.draw(len(self._units(part)), seed=seed, number=number)

  def _codes(self, named: NamedPredictions, part: str) -> np.ndarray:
    return np.searchsorted(self._units(part), units_of(named))

  def _all_units(self, part: str) -> np.ndarray:
    """The groups, or images, of all tests, in order."""
    found = [
      np.unique(units_of(x))
      for row, results in self._rows.items()
      for seed in results
      if (x := self.predictions((row, seed), part)) is not None
    ]
    return np.unique(np.concatenate(found))

  def _with_its_threshold(self, run: Run) -> NamedPredictions | None:
    row, seed = run
    read = self._rows[row][seed].predictions
    return fixed_sensitivity.predictions(read("val"), read("test"))


def units_of(named: NamedPredictions) -> np.ndarray:
  """Returns the groups of images, as text; without groups their rows.

  These are of the cache, as kept predictions have no names of images.
  """
  if named.groups is not None:
    return named.groups
  return named.predictions.ids.astype(str)


def one_image(named: NamedPredictions, metric: str) -> float:
  """Returns by how much one image of a test can move a metric.

  A share of a class moves by one over the images of that class.
  """
  predictions = named.predictions
  counts = np.array([len(predictions.ids)])
  if metric in _SHARES and named.positive is not None:
    counts = np.count_nonzero(
      predictions.is_of(named.positive) == _SHARES[metric], keepdims=True
    )
  elif metric == "balanced_accuracy" and not predictions.multi_label:
    _, counts = np.unique(predictions.labels, return_counts=True)
    counts = counts * len(counts)
  return 1 / min(counts) if min(counts) else math.nan


def _columns(
  named: NamedPredictions, rows: Sequence[Mapping[str, float]]
) -> dict[str, np.ndarray]:
  names = classification.summarize(named.predictions, positive=named.positive)
  return {
    name: np.array([x.get(name, math.nan) for x in rows]) for name in names
  }
