"""A network's answers for a split, on the host."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Predictions:
  """The network's answers for a split.

  Attributes:
    ids: i32[n], rows of the packed cache.
    labels: i32[n].
    logits: f32[n, classes].
    losses: f32[n], cross-entropy in nats.
  """

  ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  losses: np.ndarray

  def probabilities(self) -> np.ndarray:
    """f64[n, classes], the softmax of the logits."""
    shifted = self.logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    return exp / exp.sum(axis=1, keepdims=True)
