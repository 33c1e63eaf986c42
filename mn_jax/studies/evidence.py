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

- Seeds that split images anew though their groups are known: all have the same
  groups, on both sides, so the error over resamples of these is added.
- A threshold that validation chose: where seeds share that part, its groups are
  a third source, of resamples that choose again.

A difference is that of rows with the same seed, on the same resamples. If only
one of two rows splits anew, the groups of the other's test are a third source.
"""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap, classification, discordance, estimates
from mn_jax.metrics.discordance import Discordance
from mn_jax.metrics.estimates import Estimate
from mn_jax.observe import formatting
from mn_jax.studies import fixed_sensitivity, numbers
from mn_jax.studies.numbers import Numbers
from mn_jax.studies.resampling import (
  Resamples,
  Result,
  Rows,
  Run,
  one_image,
  units_of,
)
from mn_jax.studies.study import StudyRun

_RESAMPLES = 1000  # of the groups of a test
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
# Splits that put images of a group on both sides, where groups are known.
_BY_IMAGE = ("random", "stratified")


def read(runs: Sequence[StudyRun]) -> dict[str, dict[int, Result]]:
  """Reads the complete runs of a study, by row and seed.

  Raises:
    InputError: if seeds of a row are of different images, as of a data set that
      has grown meanwhile.
  """
  rows, first = collections.defaultdict(dict), {}
  for run in runs:
    if run.is_complete():
      summary = run.summary()
      images = summary.get("images_sha256")
      before, other = first.setdefault(run.member.name, (images, run))
      if images != before:
        raise InputError(
          f"--workdir: got {str(run.folder)!r} of the images "
          f"{str(images)[:16]}, and {str(other.folder)!r} of "
          f"{str(before)[:16]}; valid: seeds of the same images, or without "
          "one of these folders"
        )
      reader = functools.cache(run.predictions)
      rows[run.member.name][run.seed] = Result(summary, run.images(), reader)
  return rows


def refused_seeds(results: Mapping[int, Result]) -> list[int]:
  """Returns the seeds whose checkpoint was selected on the test set."""
  return sorted(
    seed for seed, x in results.items() if x.summary["chosen_on"] == "test"
  )


class Evidence:
  """The results of all rows of a study, and comparisons of them."""

  def __init__(self, rows: Rows, *, resamples: int = _RESAMPLES):
    """Keeps the results.

    Args:
      rows: of all rows; more than are compared do no harm.
      resamples: of the groups of a test.
    """
    self._rows, self._resamples = rows, Resamples(rows, resamples)
    self._found = functools.cache(self._all_values)

  def values(self, row: str, key: str) -> dict[int, float]:
    """Returns seed -> metric, of the runs in which it is defined and counts.

    Args:
      row: its name.
      key: of the metric in `summary.json`, or 'at_sensitivity_0.95/...', at the
        threshold that validation chose.
    """
    found = self._found(row, key)
    return {seed: x for seed, x in found.items() if x is not None}

  def _all_values(self, row: str, key: str) -> dict[int, float | None]:
    """Seed -> metric of the runs that count; None where it is undefined."""
    results = self._rows.get(row, {})
    # The last epoch's, 'last/test/...', are of a checkpoint that nothing chose.
    chosen = key.startswith(("test/", fixed_sensitivity.PART))
    seeds = sorted(results.keys() - (refused_seeds(results) if chosen else ()))
    part, _, metric = key.rpartition("/")
    if part != fixed_sensitivity.PART:
      summaries = {seed: results[seed].summary for seed in seeds}
      return {seed: x[key] for seed, x in summaries.items() if key in x}
    found = {}
    for seed in seeds:
      named = self._resamples.predictions((row, seed), part)
      if named is not None:
        metrics = classification.summarize(
          named.predictions, positive=named.positive
        )
        found[seed] = formatting.jsonable(metrics.get(metric))
    return found

  def measure(self, one: str, other: str, key: str) -> Numbers:
    """Returns a metric of a row, or its difference between two rows.

    Args:
      one: a row.
      other: the row that is subtracted, seed by seed; '' for none.
      key: of the metric in `summary.json`.
    """
    values, rows = self.values(one, key), [one]
    seeds, gaps = list(values), list(values.values())
    if other:
      rows, others = [one, other], self.values(other, key)
      seeds = sorted(values.keys() & others.keys())
      gaps = [values[seed] - others[seed] for seed in seeds]
    options = {"bounds": estimates.bounds_of(key), "is_difference": bool(other)}
    mean = float(np.mean(gaps)) if gaps else math.nan
    nothing = Estimate(mean, (math.nan,), (math.nan,), **options)
    lacking = sorted(
      {
        seed
        for row in rows
        for seed, x in self._found(row, key).items()
        if x is None
      }
    )
    if not gaps:
      return Numbers(seeds, gaps, nothing, undefined=lacking)
    runs = [[(row, seed) for seed in seeds] for row in rows]
    part, _, _ = key.rpartition("/")
    shared = [row for row in runs if self._share_test(row, part)]
    ratio = self._overlap([x for x in runs if x not in shared], part)
    over_seeds = nothing
    if len(gaps) > 1:
      # Equal seeds may differ by less than the images of the part can show.
      spread = float(np.std(gaps, ddof=1)) or self._resolution(runs, key)
      error = spread * math.sqrt(1 / len(gaps) + ratio)
      over_seeds = Estimate(mean, (error,), (len(gaps) - 1,), **options)
    found = Numbers(
      seeds,
      gaps,
      over_seeds,
      over_seeds.interval(),
      ratio=ratio,
      undefined=lacking,
    )
    return self._with_test(found, runs, shared, key)

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
      pair = [
        self._resamples.predictions((row, seed), "test") for row in (one, other)
      ]
      if None in pair or pair[0].predictions.multi_label:
        return None
      pair = [x.take(np.argsort(x.predictions.ids)) for x in pair]
      first, second = (x.predictions for x in pair)
      same = np.array_equal(first.ids, second.ids)
      if not same or not np.array_equal(first.labels, second.labels):
        return None
      columns[0].append(first.predicted() == first.labels)
      columns[1].append(second.predicted() == second.labels)
      columns[2].append(units_of(pair[0]))
    if not seeds:
      return None
    return discordance.measure(*map(np.concatenate, columns))

  def _with_test(
    self,
    found: Numbers,
    runs: Sequence[Sequence[Run]],
    shared: Sequence[Sequence[Run]],
    key: str,
  ) -> Numbers:
    """Adds what the groups of the tests tell, where there are predictions."""
    part, _, metric = key.rpartition("/")
    source = _STAND_INS.get(part, part)
    metric = _STAND_IN_METRICS.get(metric, metric)
    means = [
      _mean([self._resamples.metrics(run, source) for run in row], metric)
      for row in runs
    ]
    if any(x is None for x in means):
      return found
    samples, mean = _minus(means), found.estimate.mean
    if source != part:
      samples = samples - np.nanmean(samples) + mean
    groups, unit = self._resamples.count_units(runs, source)
    if groups < 2 or np.count_nonzero(~np.isnan(samples)) < 2:
      return found
    samples = bootstrap.centred(metric, mean, samples)
    ends = bootstrap.interval(mean, samples, groups=groups, level=0.95)
    found = dataclasses.replace(
      found,
      over_groups=(ends.low, ends.high),
      unit=unit,
      holds=numbers.OWN,
    )
    by_image = [
      row for row in runs if row not in shared and self._split_images(row, part)
    ]
    same = [row for row in runs if row in shared or row in by_image]
    if not same:
      return found
    if len(same) < len(runs):
      samples = means[runs.index(same[0])]
      groups, _ = self._resamples.count_units(same, source)
    found = _add_error(found, samples, groups)
    holds = numbers.SHARED if len(shared) == len(runs) else numbers.MIXED
    holds = numbers.BY_IMAGE if by_image else holds
    chosen = [
      _mean([self._resamples.rechosen(run) for run in row], metric)
      for row in shared
      if source == fixed_sensitivity.PART
    ]
    if chosen and not any(x is None for x in chosen):
      holds = numbers.CHOSEN if len(shared) == len(runs) else holds
      groups, _ = self._resamples.count_units(shared, "val")
      found = _add_error(found, _minus(chosen), groups)
    return dataclasses.replace(found, holds=holds)

  def _overlap(self, anew: Sequence[Sequence[Run]], part: str) -> float:
    """Test over training images of rows that split anew; NaN if not known."""
    of_test = "val" if part.endswith("val") else "test"
    images = [self._rows[row][seed].images for x in anew for row, seed in x]
    if not all(x.get("train") for x in images):
      return math.nan
    return float(np.mean([x[of_test] / x["train"] for x in images] or [0]))

  def _share_test(self, runs: Sequence[Run], part: str) -> bool:
    results = [self._rows[row][seed] for row, seed in runs]
    if len({x.summary["split_sha256"] for x in results}) == 1:
      return True
    source = _STAND_INS.get(part, part or "test")
    tests = [self._resamples.predictions(run, source) for run in runs]
    if any(x is None for x in tests):
      return False
    first, *others = (np.sort(x.predictions.ids) for x in tests)
    return all(np.array_equal(first, x) for x in others)

  def _split_images(self, runs: Sequence[Run], part: str) -> bool:
    """Whether known groups have images on both sides of the splits."""
    source = _STAND_INS.get(part, part or "test")
    return any(
      self._rows[row][seed].summary.get("split") in _BY_IMAGE
      and self._resamples.predictions((row, seed), source).groups is not None
      for row, seed in runs
    )

  def _resolution(self, runs: Sequence[Sequence[Run]], key: str) -> float:
    """How far one image of a part moves a metric; NaN if that is not known."""
    part, _, metric = key.rpartition("/")
    name = part.removeprefix("last/")
    name = name if name in ("train", "val") else "test"
    everything = [run for row in runs for run in row]
    tests = [self._resamples.predictions(run, name) for run in everything]
    if not any(x is None for x in tests):
      return max(one_image(x, metric) for x in tests)
    results = [self._rows[row][seed] for row, seed in everything]
    counts = [
      x.summary.get(f"{name}/count") or x.images.get(name) for x in results
    ]
    return math.nan if None in counts else 1 / min(counts)


def _mean(
  resampled: Sequence[Mapping[str, np.ndarray] | None], metric: str
) -> np.ndarray | None:
  """The mean over runs on each resample; None if one lacks the metric."""
  if any(x is None or metric not in x for x in resampled):
    return None
  least = min(len(x[metric]) for x in resampled)
  return np.mean([x[metric][:least] for x in resampled], axis=0)


def _minus(means: Sequence[np.ndarray]) -> np.ndarray:
  """The first of one or two rows minus the second, on as many resamples."""
  least = min(map(len, means))
  first, *others = (x[:least] for x in means)
  return first - sum(others)


def _add_error(found: Numbers, samples: np.ndarray, groups: int) -> Numbers:
  """Adds the error over resamples of so many groups to that of an estimate."""
  scale = groups / (groups - 1) if groups > 1 else math.nan
  error = math.sqrt(float(np.nanvar(samples, ddof=1)) * scale)
  estimate = dataclasses.replace(
    found.estimate,
    errors=(*found.estimate.errors, error),
    freedoms=(*found.estimate.freedoms, groups - 1),
  )
  return dataclasses.replace(
    found,
    estimate=estimate,
    test_error=math.hypot(found.test_error, error),
  )
