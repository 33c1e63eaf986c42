"""Accuracy of every group of images: for whom a network fails."""

import dataclasses

import numpy as np

from mn_jax.metrics import bootstrap
from mn_jax.metrics.predictions import Predictions


@dataclasses.dataclass(frozen=True)
class Group:
  """The images that belong together: a patient's, a slide's.

  Attributes:
    name: of the group.
    images: their number.
    accuracy: share of them whose class was found; NaN if a logit of the split
      is not finite.
  """

  name: str
  images: int
  accuracy: float


def by_group(
  predictions: Predictions,
  groups: np.ndarray,
  *,
  found: np.ndarray | None = None,
) -> list[Group]:
  """Every group, the least accurate first; of those alike the largest.

  Args:
    predictions: of the whole split.
    groups: str[n], of the images.
    found: i[n], the classes decided on; None: those of the highest logits.

  Raises:
    InputError: if there are no images, or not a group for each.
  """
  codes = bootstrap.group_codes(predictions, groups)
  if found is None:
    found = predictions.logits.argmax(axis=1)
  hits = (found == predictions.labels).astype(np.float64)
  if not np.isfinite(predictions.logits).all():
    hits[:] = np.nan
  counts = np.bincount(codes)
  shares = np.bincount(codes, hits) / counts
  names = np.unique(groups)
  return [
    Group(str(names[code]), int(counts[code]), float(shares[code]))
    for code in np.lexsort((-counts, shares))
  ]
