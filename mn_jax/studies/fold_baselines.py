"""Baselines of a cross-validation: each on the split of every fold.

As the networks' predictions for the folds' tests are a test of the whole data
set, so are a baseline's; both are compared on the same images, whose groups are
resampled, and fold by fold.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from mn_jax.metrics import classification, comparison, estimates, folds
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.folds import FoldMean
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.studies import cross_validation
from mn_jax.studies.cross_validation import CrossValidation

# Of the differences' intervals: two networks cost twice as much as one.
_RESAMPLES = 500


@dataclasses.dataclass(frozen=True)
class FoldBaseline:
  """A baseline on the tests of all folds, and how far the networks are ahead.

  Attributes:
    together: metric -> value of all folds' tests together.
    by_fold: metric -> value of each fold's test.
    ahead: metric -> networks minus baseline on all tests together, resampled by
      group.
    ahead_by_fold: metric -> mean over folds of the differences.
  """

  together: Mapping[str, float]
  by_fold: Mapping[str, Sequence[float]]
  ahead: Mapping[str, Interval]
  ahead_by_fold: Mapping[str, FoldMean]


def compare(
  found: CrossValidation,
  of_folds: Sequence[Mapping[str, NamedPredictions]],
  metrics: Sequence[str],
) -> dict[str, FoldBaseline]:
  """Compares a cross-validation with baselines.

  Args:
    found: the cross-validation.
    of_folds: baseline -> predictions for the test, of each fold in order.
    metrics: to compare by.

  Returns:
    Baseline -> comparison.
  """
  compared = {}
  for name in of_folds[0]:
    tests = [of_fold[name] for of_fold in of_folds]
    together = cross_validation.pool(tests)
    values = [_summarize(test) for test in tests]
    ahead = comparison.on_images(
      found.test.predictions,
      together.predictions,
      positive=found.test.positive,
      groups=found.test.groups,
      resamples=min(_RESAMPLES, found.resamples),
    )
    whole = _summarize(together)
    by_fold = {x: [of_fold[x] for of_fold in values] for x in metrics}
    compared[name] = FoldBaseline(
      together={x: whole[x] for x in metrics},
      by_fold=by_fold,
      ahead={x: ahead[x] for x in metrics},
      ahead_by_fold={
        x: _mean_difference(found, x, by_fold[x]) for x in metrics
      },
    )
  return compared


def _mean_difference(
  found: CrossValidation, metric: str, values: Sequence[float]
) -> FoldMean:
  images = [fold.split["images"] for fold in found.folds]
  return folds.mean_over_folds(
    [
      fold.metric(metric) - value
      for fold, value in zip(found.folds, values, strict=True)
    ],
    [x["test"] for x in images],
    [x["train"] for x in images],
    bounds=estimates.bounds_of(metric),
    is_difference=True,
  )


def _summarize(test: NamedPredictions) -> dict[str, float]:
  return classification.summarize(test.predictions, positive=test.positive)
