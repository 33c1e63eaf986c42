"""Bands around ROC and precision-recall curves, by resampling groups.

They are pointwise: at every rate by itself, the interval of what is read off
there. A whole curve leaves its band more often than one point does.
"""

import dataclasses

import numpy as np

from mn_jax.metrics import bootstrap, curves

_STEPS = 100


@dataclasses.dataclass(frozen=True)
class Bands:
  """Confidence bands of the two curves of a class; all NaN where undefined.

  Attributes:
    rates: f64[101], from 0 to 1.
    sensitivity: f64[2, 101], low and high ends of the sensitivity at the
      thresholds whose false positive rate is at most each rate.
    precision: f64[2, 101], the same of the precision at thresholds whose recall
      is at least each rate.
  """

  rates: np.ndarray
  sensitivity: np.ndarray
  precision: np.ndarray


def measure(
  hits: np.ndarray,
  scores: np.ndarray,
  codes: np.ndarray,
  *,
  seed: int = 0,
  resamples: int = 1000,
  level: float = 0.95,
) -> Bands:
  """Computes the bands of a class.

  Args:
    hits: bool[n], whether images are of the class.
    scores: f64[n], finite, higher for the class.
    codes: i64[n], index of each image's group, from `group_codes`.
    seed: of the resamples, at least 0.
    resamples: number of resamples; those without images of both kinds are left
      out.
    level: confidence, between 0 and 1.
  """
  ranking, groups = curves.Ranking(hits, scores), int(codes.max()) + 1
  steps = np.arange(_STEPS + 1)
  sensitivities, precisions = [], []
  for number in range(resamples if groups > 1 else 0):
    weights = bootstrap.draw(groups, seed=seed, number=number)[codes]
    tps, fps = ranking.curve(weights)
    if not (tps[-1] and fps[-1]):
      continue
    # Compared in integers, so that equal rates are equal.
    place = np.searchsorted(fps * _STEPS, steps * fps[-1], "right")
    sensitivities.append(np.concatenate([[0], tps])[place] / tps[-1])
    # Any recall above 0 takes a true positive.
    least = np.maximum(steps * tps[-1], 1)
    place = np.searchsorted(tps * _STEPS, least)
    precisions.append(tps[place] / (tps + fps)[place])
  ends = ((1 - level) / 2, (1 + level) / 2)
  low_and_high = [
    np.quantile(samples, ends, axis=0)
    if samples
    else np.full((2, _STEPS + 1), np.nan)
    for samples in (sensitivities, precisions)
  ]
  return Bands(steps / _STEPS, *low_and_high)
