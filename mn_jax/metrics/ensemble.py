"""Averages what several networks, or one of several views, say of images.

Probabilities are averaged, not logits: it is how deep ensembles are defined
(Lakshminarayanan et al. 2017), and one member with huge logits does not outvote
the others. The loss of the mean is at most the mean of the members' losses,
image by image, as the logarithm is concave; the same is true of the Brier
score.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
import scipy.special

from mn_jax.errors import InputError
from mn_jax.metrics.predictions import Predictions, losses


def mean_logits(logits: np.ndarray, *, multi_label: bool) -> np.ndarray:
  """Returns logits of the mean of probabilities.

  They are computed from logarithms, so that no probability is rounded to 0.

  Args:
    logits: f32[members, n, classes].
    multi_label: whether each class has a sigmoid of its own; else the
      probabilities of the classes are a softmax.

  Returns:
    f32[n, classes].
  """
  values = logits.astype(np.float64)

  def log_mean(log_probabilities: np.ndarray) -> np.ndarray:
    total = scipy.special.logsumexp(log_probabilities, axis=0)
    return total - np.log(len(values))

  if multi_label:
    yes, no = (log_mean(scipy.special.log_expit(x)) for x in (values, -values))
    return (yes - no).astype(np.float32)
  return log_mean(scipy.special.log_softmax(values, axis=2)).astype(np.float32)


def mean(members: Sequence[Predictions]) -> Predictions:
  """Returns the predictions of an ensemble.

  Args:
    members: of each network or view, of the same images in the same order, at
      least one.

  Returns:
    Predictions whose probabilities are the means of the members'; those of a
    single member are returned as they are.

  Raises:
    InputError: if the images, labels or classes differ.
  """
  first, *others = members
  if not others:
    return first
  for other in others:
    same = (
      np.array_equal(first.ids, other.ids)
      and np.array_equal(first.labels, other.labels)
      and first.logits.shape == other.logits.shape
    )
    if not same:
      raise InputError(
        f"ensemble: got predictions {first.logits.shape} and "
        f"{other.logits.shape} of different images, labels or order; valid: "
        "those of the same images and classes"
      )
  logits = mean_logits(
    np.stack([member.logits for member in members]),
    multi_label=first.multi_label,
  )
  return dataclasses.replace(
    first, logits=logits, losses=losses(logits, first.labels)
  )
