"""Metrics by attribute: for each site, scanner, sex, or range of ages.

A mean over a test hides the part of it on which a network fails. Here every
value of an attribute is a subset with metrics and intervals of its own. A small
subset is flagged, never left out. With many subsets the worst is low by chance
as well, so intervals are what to compare.
"""

import dataclasses
import itertools

import numpy as np

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.predictions import NamedPredictions

MISSING = "(missing)"
# What a subset is described by, if its data set has the metric. None of them
# depends on the shares of the classes, which differ between subsets, but for
# the accuracy.
METRICS = (
  "accuracy",
  "balanced_accuracy",
  "sensitivity",
  "specificity",
  "auroc",
  "label_accuracy",
  "exact_match",
  "macro_auroc",
)
# Numbers of more values than this are binned by their quartiles; of more texts
# those of fewest images are put together.
_MOST_NUMBERS, _MOST_TEXTS = 10, 30
# Of fewer groups or images an interval by resampling means little.
_FEW_GROUPS, _FEW_IMAGES = 10, 10


@dataclasses.dataclass(frozen=True)
class Subset:
  """The images of one value, or one range of values, of an attribute.

  Attributes:
    value: of the attribute, or `MISSING`.
    images: their number.
    groups: number of groups; None where no groups are known.
    metrics: name, of `METRICS` -> value and interval by group.
    flags: why its numbers mean little, such as '3 groups'; often empty.
  """

  value: str
  images: int
  groups: int | None
  metrics: dict[str, Interval]
  flags: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class AttributeMetrics:
  """The metrics of all values of an attribute; every image is in one subset.

  Attributes:
    name: of the attribute.
    subsets: in the order of the values, missing ones last.
    note: how values were put together, or ''.
    shared_groups: number of groups with images of several values, so that
      subsets are not independent samples.
  """

  name: str
  subsets: tuple[Subset, ...]
  note: str
  shared_groups: int


def measure(
  named: NamedPredictions,
  name: str,
  *,
  predicted: np.ndarray | None = None,
  seed: int = 0,
  resamples: int = 1000,
  level: float = 0.95,
) -> AttributeMetrics:
  """Computes the metrics of every value of an attribute.

  Args:
    named: predictions for n images, with their attributes.
    name: of the attribute.
    predicted: i[n], predicted classes, such as by a threshold; None: the
      likeliest. Multi-label u8[n, classes].
    seed: of the resamples, at least 0.
    resamples: number of resamples of each subset.
    level: confidence, between 0 and 1.

  Raises:
    InputError: if the images have no such attribute.
  """
  if name not in named.attributes:
    valid = ", ".join(named.attributes) or "none, as data.attributes names none"
    raise InputError(f"attribute: got {name!r}; valid: {valid}")
  titles, codes, note = subsets_of(named.attributes[name])
  subsets = []
  for code, title in enumerate(titles):
    rows = np.flatnonzero(codes == code)
    subsets.append(
      _measure_subset(
        named.take(rows),
        title,
        None if predicted is None else predicted[rows],
        seed=seed,
        resamples=resamples,
        level=level,
      )
    )
  shared = 0
  if named.groups is not None:
    pairs = np.unique(
      np.stack([np.unique(named.groups, return_inverse=True)[1], codes]), axis=1
    )
    shared = int((np.bincount(pairs[0]) > 1).sum())
  return AttributeMetrics(name, tuple(subsets), note, shared)


def subsets_of(values: np.ndarray) -> tuple[list[str], np.ndarray, str]:
  """Assigns images to subsets by the values of an attribute.

  Numbers of more than ten values are binned at the quartiles of these images;
  of more than thirty texts, those of fewest images are put together.

  Args:
    values: str[n]; empty where nothing is known.

  Returns:
    Names of the subsets in order, i64[n] the subset of each image, and how
    values were put together, or ''.
  """
  texts = np.char.strip(values.astype(str))
  numbers = _numbers(texts)
  missing = texts == ""
  note = ""
  if numbers is not None:
    missing |= ~np.isfinite(numbers)
  if numbers is not None and len(np.unique(texts[~missing])) > _MOST_NUMBERS:
    labels, codes, note = _quartiles(numbers, missing)
  else:
    labels, codes = np.unique(texts[~missing], return_inverse=True)
    labels = labels.tolist()
    if numbers is not None:
      # In the order of the numbers, where all are.
      order = sorted(range(len(labels)), key=lambda i: float(labels[i]))
      codes = np.argsort(order)[codes]
      labels = [labels[i] for i in order]
    elif len(labels) > _MOST_TEXTS:
      labels, codes, note = _largest(labels, codes)
  found = np.full(len(texts), len(labels))
  found[~missing] = codes
  if missing.any():
    labels = [*labels, MISSING]
  return labels, found, note


def _numbers(texts: np.ndarray) -> np.ndarray | None:
  """Returns f64[n], NaN for ''; None if a text is no number."""
  numbers = np.full(len(texts), np.nan)
  for i, text in enumerate(texts.tolist()):
    if text:
      try:
        numbers[i] = float(text)
      except ValueError:
        return None
  return numbers


def _quartiles(
  numbers: np.ndarray, missing: np.ndarray
) -> tuple[list[str], np.ndarray, str]:
  known = numbers[~missing]
  edges = np.unique(np.quantile(known, (0, 0.25, 0.5, 0.75, 1)))
  codes = np.searchsorted(edges[1:-1], known)
  shown = [f"{edge:.10g}" for edge in edges]
  labels = [f"{shown[0]} to {shown[1]}"]
  labels += [
    f"above {low} to {high}" for low, high in itertools.pairwise(shown[1:])
  ]
  # Equal quartiles may leave a range without an image.
  filled, codes = np.unique(codes, return_inverse=True)
  note = (
    f"{len(np.unique(known)):,} numbers, in ranges between the quartiles of "
    f"these images: {', '.join(shown)}"
  )
  return [labels[i] for i in filled], codes, note


def _largest(
  labels: list[str], codes: np.ndarray
) -> tuple[list[str], np.ndarray, str]:
  counts = np.bincount(codes)
  kept = np.sort(np.argsort(-counts, kind="stable")[:_MOST_TEXTS])
  place = np.full(len(labels), len(kept))
  place[kept] = np.arange(len(kept))
  rest = f"({len(labels) - len(kept)} others)"
  note = (
    f"{len(labels):,} values: those of fewest images are together as {rest}"
  )
  return [*(labels[i] for i in kept), rest], place[codes], note


def _measure_subset(
  images: NamedPredictions,
  value: str,
  predicted: np.ndarray | None,
  **sizes: int | float,
) -> Subset:
  found = bootstrap.intervals(
    images.predictions,
    positive=images.positive,
    groups=images.groups,
    predicted=predicted,
    **sizes,
  )
  groups = None if images.groups is None else len(np.unique(images.groups))
  metrics = {name: found[name] for name in METRICS if name in found}
  return Subset(
    value, len(images.names), groups, metrics, _flags(images, groups)
  )


def _flags(images: NamedPredictions, groups: int | None) -> tuple[str, ...]:
  """Returns why the numbers of a subset mean little."""
  flags = []
  if groups is not None and groups < _FEW_GROUPS:
    flags.append(f"{groups} groups" if groups > 1 else "1 group")
  counts = {"images": len(images.names)}
  if images.positive is not None:
    positive = int(images.predictions.is_of(images.positive).sum())
    counts |= {"positive": positive, "negative": counts["images"] - positive}
  flags += [f"{n} {kind}" for kind, n in counts.items() if n < _FEW_IMAGES]
  return tuple(flags)
