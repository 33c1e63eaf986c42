"""What the runs of a study tell about a metric, with its sources of error.

Two things vary. Another seed gives another network, and other patients (where
no groups are known, other images) another test. Each has an interval, and a
third one holds both:

- Seeds that share a test: the standard error of their mean over seeds, and that
  over resamples of the test's groups, the same ones for all networks; half the
  widths add in squares. What seeds and groups have in common is counted twice,
  which is cautious.
- Seeds that split the data anew, or test a fold of it each: their training
  parts overlap, and mostly their tests, so the variance over seeds is that of
  Nadeau and Bengio, "Inference for the generalization error", Machine Learning
  52 (2003), `1 / seeds + test / train` in place of `1 / seeds`. New tests are
  part of it.

A difference is that of rows with the same seed, on the same resamples. If only
one of two rows splits anew, the groups of the other's test are a third source.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.metrics import bootstrap, classification, discordance, estimates
from mn_jax.metrics.discordance import Discordance
from mn_jax.metrics.estimates import Estimate
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import formatting
from mn_jax.studies import fixed_sensitivity
from mn_jax.studies.study import StudyRun

_RESAMPLES = 1000  # of the groups of a test
_UNKNOWN = (math.nan, math.nan)
# Of other checkpoints metrics are known, no predictions: the groups of the test
# make the chosen one's metrics vary as much.
_STAND_INS = {
  "last/val": "val",
  "last/test": "test",
  "chosen_by_test": "test",
  "last_ten_tests": "test",
}
# A gain is the difference of two epochs' accuracies on one test. They disagree
# on about as many images as either has wrong, so it varies as much as they do.
_STAND_IN_METRICS = {"gain": "accuracy"}
# What an interval holds.
SHARED, OWN, SEEDS = "seeds and test", "seeds that split anew", "seeds only"
MIXED = "seeds that split anew, and the test of the row that does not"


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


@dataclasses.dataclass(frozen=True)
class Numbers:
  """A metric of a row, or its difference between two rows, over seeds.

  Attributes:
    seeds: whose runs count.
    values: the metric, or the difference, by seed.
    estimate: their mean and its error, of all sources there are.
    over_seeds: ends of the interval over seeds alone, or over new splits.
    over_groups: ends of the interval over the groups of the tests alone, for
      these networks.
    unit: that a test is resampled by, 'group' or 'image'; '' if there are no
      predictions.
    holds: what the interval of the estimate holds: `SHARED`, `OWN`, `MIXED` or
      `SEEDS`.
    ratio: test over training images where seeds split anew, else 0.
    test_error: standard error from the groups of a test that seeds share.
  """

  seeds: Sequence[int]
  values: Sequence[float]
  estimate: Estimate
  over_seeds: tuple[float, float] = _UNKNOWN
  over_groups: tuple[float, float] = _UNKNOWN
  unit: str = ""
  holds: str = SEEDS
  ratio: float = 0.0
  test_error: float = 0.0

  @property
  def spread(self) -> float:
    """Sample standard deviation over seeds; NaN of fewer than two."""
    if len(self.values) < 2:
      return math.nan
    return float(np.std(self.values, ddof=1))

  def for_json(self) -> dict[str, Any]:
    """Returns the numbers as values that JSON can hold."""
    low, high = self.estimate.interval()
    return formatting.jsonable(
      {
        "mean": self.estimate.mean,
        "std": self.spread,
        "low": low,
        "high": high,
        "over_seeds": self.over_seeds,
        "over_groups": self.over_groups,
        "unit": self.unit,
        "holds": self.holds,
        "seeds": list(self.seeds),
        "values": list(self.values),
      }
    )


def read(runs: Sequence[StudyRun]) -> dict[str, dict[int, Result]]:
  """Reads the complete runs of a study, by row and seed."""
  rows = collections.defaultdict(dict)
  for run in runs:
    if (summary := run.summary()) is not None:
      reader = functools.cache(run.predictions)
      rows[run.member.name][run.seed] = Result(summary, run.images(), reader)
  return rows


def refused_seeds(results: Mapping[int, Result]) -> list[int]:
  """Returns the seeds whose checkpoint was selected on the test set."""
  return sorted(
    seed for seed, x in results.items() if x.summary["chosen_on"] == "test"
  )


class Evidence:
  """The results of all rows of a study, and comparisons of them.

  Resamples of the groups are the same for all rows, so that any two can be
  compared on them. A group that a test does not have is drawn for nothing: the
  number of groups of a resample varies a little around that of the test.
  """

  def __init__(self, rows: Rows, *, resamples: int = _RESAMPLES):
    """Keeps the results.

    Args:
      rows: of all rows; more than are compared do no harm.
      resamples: of the groups of a test.
    """
    self._rows, self._resamples = rows, resamples
    self._units = functools.cache(self._all_units)
    self._resampled = functools.cache(self._resample)
    self._at_sensitivity = functools.cache(self._with_its_threshold)

  def values(self, row: str, key: str) -> dict[int, float]:
    """Returns seed -> metric, of the runs in which it is defined and counts.

    Args:
      row: its name.
      key: of the metric in `summary.json`, or 'at_sensitivity_0.95/...', at the
        threshold that validation chose.
    """
    results = self._rows.get(row, {})
    # The last epoch's, 'last/test/...', are of a checkpoint that nothing chose.
    chosen = key.startswith(("test/", fixed_sensitivity.PART))
    refused = refused_seeds(results) if chosen else ()
    return {
      seed: value
      for seed in sorted(results.keys() - refused)
      if (value := self._value(row, seed, key)) is not None
    }

  def _value(self, row: str, seed: int, key: str) -> float | None:
    part, _, metric = key.rpartition("/")
    if part != fixed_sensitivity.PART:
      return self._rows[row][seed].summary.get(key)
    named = self._at_sensitivity(row, seed)
    if named is None:
      return None
    return classification.summarize(
      named.predictions, positive=named.positive
    ).get(metric)

  def measure(self, one: str, other: str, key: str) -> Numbers:
    """Returns a metric of a row, or its difference between two rows.

    Args:
      one: a row.
      other: the row that is subtracted, seed by seed; '' for none.
      key: of the metric in `summary.json`.
    """
    values = self.values(one, key)
    seeds, gaps = list(values), list(values.values())
    rows = [one]
    if other:
      rows, others = [one, other], self.values(other, key)
      seeds = sorted(values.keys() & others.keys())
      gaps = [values[seed] - others[seed] for seed in seeds]
    options = {"bounds": estimates.bounds_of(key), "is_difference": bool(other)}
    mean = float(np.mean(gaps)) if gaps else math.nan
    nothing = Estimate(mean, (math.nan,), (math.nan,), **options)
    if not gaps:
      return Numbers(seeds, gaps, nothing)
    part, _, metric = key.rpartition("/")
    runs = [[(row, seed) for seed in seeds] for row in rows]
    shared = [row for row in runs if self._share_test(row, part)]
    ratio = self._overlap([x for x in runs if x not in shared], part)
    over_seeds = nothing
    if len(gaps) > 1:
      # Equal seeds may differ by less than the images of the part can show.
      spread = float(np.std(gaps, ddof=1)) or self._resolution(runs, part)
      error = spread * math.sqrt(1 / len(gaps) + ratio)
      over_seeds = Estimate(mean, (error,), (len(gaps) - 1,), **options)
    found = Numbers(seeds, gaps, over_seeds, over_seeds.interval(), ratio=ratio)
    return self._with_test(found, runs, part, metric, shared)

  def compare_images(self, one: str, other: str) -> Discordance | None:
    """Returns McNemar's test of two rows on the images of their tests.

    Args:
      one, other: the rows; the networks of all seeds that both have count.

    Returns:
      None if their tests are not the same, or an image has several labels.
    """
    key = "test/accuracy"
    seeds = self.values(one, key).keys() & self.values(other, key).keys()
    columns: list[list[np.ndarray]] = [[], [], []]
    for seed in sorted(seeds):
      pair = [self._predictions(row, seed, "test") for row in (one, other)]
      if None in pair or pair[0].predictions.multi_label:
        return None
      pair = [x.take(np.argsort(x.predictions.ids)) for x in pair]
      first, second = (x.predictions for x in pair)
      same = np.array_equal(first.ids, second.ids)
      if not same or not np.array_equal(first.labels, second.labels):
        return None
      columns[0].append(first.predicted() == first.labels)
      columns[1].append(second.predicted() == second.labels)
      columns[2].append(_units_of(pair[0]))
    if not seeds:
      return None
    return discordance.measure(*map(np.concatenate, columns))

  def _with_test(
    self,
    found: Numbers,
    runs: Sequence[Sequence[tuple[str, int]]],
    part: str,
    metric: str,
    shared: Sequence[Sequence[tuple[str, int]]],
  ) -> Numbers:
    """Adds what the groups of the tests tell, where there are predictions."""
    source = _STAND_INS.get(part, part)
    metric = _STAND_IN_METRICS.get(metric, metric)
    resampled = [[self._resampled(*x, source) for x in row] for row in runs]
    if any(x is None or metric not in x for row in resampled for x in row):
      return found
    least = min(len(x[metric]) for row in resampled for x in row)
    means = [
      np.mean([x[metric][:least] for x in row], axis=0) for row in resampled
    ]
    samples = means[0] - means[1] if len(means) > 1 else means[0]
    mean = found.estimate.mean
    if source != part:
      samples = samples - np.nanmean(samples) + mean
    groups, unit = self._count_units(runs, source)
    if groups < 2 or np.count_nonzero(~np.isnan(samples)) < 2:
      return found
    samples = bootstrap.centred(metric, mean, samples)
    ends = bootstrap.interval(mean, samples, groups=groups, level=0.95)
    estimate, holds, error = found.estimate, OWN, 0.0
    if shared:
      holds = SHARED
      if len(shared) < len(runs):
        holds, samples = MIXED, means[runs.index(shared[0])]
        groups, _ = self._count_units(shared, source)
      scale = groups / (groups - 1) if groups > 1 else math.nan
      error = math.sqrt(float(np.nanvar(samples, ddof=1)) * scale)
      estimate = dataclasses.replace(
        estimate,
        errors=(*estimate.errors, error),
        freedoms=(*estimate.freedoms, groups - 1),
      )
    return dataclasses.replace(
      found,
      estimate=estimate,
      over_groups=(ends.low, ends.high),
      unit=unit,
      holds=holds,
      test_error=error,
    )

  def _count_units(
    self, runs: Sequence[Sequence[tuple[str, int]]], part: str
  ) -> tuple[int, str]:
    """The number of groups, or images, of all tests, and which they are."""
    used = [self._predictions(*x, part) for row in runs for x in row]
    unit = "image" if any(x.groups is None for x in used) else "group"
    return len(np.unique(np.concatenate([_units_of(x) for x in used]))), unit

  def _overlap(
    self, anew: Sequence[Sequence[tuple[str, int]]], part: str
  ) -> float:
    """Test over training images of rows that split anew; NaN if not known."""
    of_test = "val" if part.endswith("val") else "test"
    images = [self._rows[row][seed].images for x in anew for row, seed in x]
    if not all(x.get("train") for x in images):
      return math.nan
    return float(np.mean([x[of_test] / x["train"] for x in images] or [0]))

  def _share_test(self, runs: Sequence[tuple[str, int]], part: str) -> bool:
    results = [self._rows[row][seed] for row, seed in runs]
    if len({x.summary["split_sha256"] for x in results}) == 1:
      return True
    source = _STAND_INS.get(part, part or "test")
    tests = [self._predictions(*x, source) for x in runs]
    if any(x is None for x in tests):
      return False
    first, *others = (np.sort(x.predictions.ids) for x in tests)
    return all(np.array_equal(first, x) for x in others)

  def _resolution(
    self, runs: Sequence[Sequence[tuple[str, int]]], part: str
  ) -> float:
    """One over the images of a part; NaN if their number is not known."""
    name = part.removeprefix("last/")
    name = name if name in ("train", "val") else "test"
    results = [self._rows[row][seed] for x in runs for row, seed in x]
    counts = [
      x.summary.get(f"{name}/count") or x.images.get(name) for x in results
    ]
    return math.nan if None in counts else 1 / min(counts)

  def _predictions(
    self, row: str, seed: int, part: str
  ) -> NamedPredictions | None:
    if part == fixed_sensitivity.PART:
      return self._at_sensitivity(row, seed)
    if part not in ("val", "test"):
      return None
    return self._rows[row][seed].predictions(part)

  def _with_its_threshold(self, row: str, seed: int) -> NamedPredictions | None:
    read = self._rows[row][seed].predictions
    return fixed_sensitivity.predictions(read("val"), read("test"))

  def _all_units(self, part: str) -> np.ndarray:
    """The groups, or images, of all tests, in order."""
    found = [
      np.unique(_units_of(x))
      for row, results in self._rows.items()
      for seed in results
      if (x := self._predictions(row, seed, part)) is not None
    ]
    return np.unique(np.concatenate(found))

  def _resample(
    self, row: str, seed: int, part: str
  ) -> dict[str, np.ndarray] | None:
    """Metric -> f64[resamples], on resamples of the groups of all tests."""
    named = self._predictions(row, seed, part)
    if named is None or not len(named.predictions.ids):
      return None
    units = self._units(part)
    codes = np.searchsorted(units, _units_of(named))
    metrics = classification.weighted(
      named.predictions, positive=named.positive
    )
    resamples = bootstrap.affordable(named.predictions, self._resamples)
    rows = []
    for number in range(resamples):
      weights = bootstrap.draw(len(units), seed=0, number=number)[codes]
      rows.append(metrics(weights) if weights.any() else {})
    names = classification.summarize(named.predictions, positive=named.positive)
    return {
      name: np.array([x.get(name, math.nan) for x in rows]) for name in names
    }


def _units_of(named: NamedPredictions) -> np.ndarray:
  """The groups of images, as text; without groups their rows of the cache.

  Kept predictions have no names of images.
  """
  if named.groups is not None:
    return named.groups
  return named.predictions.ids.astype(str)
