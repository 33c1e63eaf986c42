"""Predictions of a run over one slide, in place beside labels and patches."""

import dataclasses
import difflib

import numpy as np

from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.explain import slide
from mn_jax.run import reopen, split_data

MAX_SIZE = 900  # pixels: a column of 80 mm in print


@dataclasses.dataclass(frozen=True)
class Patches:
  """The patches of one slide.

  Attributes:
    group: name of the patient or slide.
    rows: i64[n], rows of the packed images.
    layout: their places.
    title: 'patient 10253, in test: 478 patches'.
  """

  group: str
  rows: np.ndarray
  layout: slide.Grid
  title: str


@dataclasses.dataclass(frozen=True)
class SlideMap:
  """A slide, its labels and what a network predicts.

  Attributes:
    tissue: f64[h, w, 3] in [0, 255], the patches; NaN where there is none.
    truth: f64[h', w'] in [0, 1], share of the class; NaN where unknown.
    probability: f64[h', w'] in [0, 1], of the class; NaN where unknown.
    positive: share of the patches that are of the class.
    correct: share of the patches that are classified correctly.
  """

  tissue: np.ndarray
  truth: np.ndarray
  probability: np.ndarray
  positive: float
  correct: float


def find(data: split_data.SplitData, group: str) -> Patches:
  """Finds the patches of a group that have a class.

  Raises:
    InputError: for a data set without positions, an unknown group, or one whose
      patches are not of one slide.
  """
  if not data.spec.slides:
    names = [name for name, spec in registry.DATASETS.items() if spec.slides]
    raise InputError(
      f"--workdir: got a run whose data set ({data.spec.title}) does not know "
      f"where on a slide its images are; valid: a run on {', '.join(names)}"
    )
  has_class = data.cache.labels < len(data.classes)
  rows = np.flatnonzero((data.cache.groups == group) & has_class)
  if not len(rows):
    names = np.unique(data.cache.groups).tolist()
    near = difflib.get_close_matches(group, names, n=5, cutoff=0) or names[:5]
    raise InputError(
      f"--group: got {group!r}; valid: one of {len(names)} {data.spec.group}s "
      f"as in split.json, like {', '.join(near)}"
    )
  try:
    layout = slide.grid(data.cache.positions[rows], data.spec.image_size)
  except ValueError as error:
    raise InputError(
      f"--group: got {group!r}, whose patches lie too far apart for one "
      f"slide ({error}); valid: another {data.spec.group}"
    ) from None
  parts = [
    part for part in data.split.parts if np.isin(rows, data.part(part)).any()
  ]
  where = f"in {' and '.join(parts)}" if parts else "in no part"
  title = f"{data.spec.group} {group}, {where}: {len(rows):,} patches"
  return Patches(group, rows, layout, title)


def predict(
  run: reopen.SavedRun,
  data: split_data.SplitData,
  patches: Patches,
  label: int,
) -> SlideMap:
  """Predicts the patches of a slide and puts all in place.

  Args:
    run: whose network predicts.
    data: of the run.
    patches: of the slide.
    label: index of the class.

  Raises:
    RunError: if logits are not finite.
  """
  predictions = run.predict(data, patches.rows)
  positive = predictions.labels == label
  correct = predictions.logits.argmax(axis=1) == predictions.labels
  layout = patches.layout
  return SlideMap(
    tissue=slide.mosaic(
      layout, data.cache.images[patches.rows], largest=MAX_SIZE
    ),
    truth=slide.spread(layout, positive),
    probability=slide.spread(layout, predictions.probabilities()[:, label]),
    positive=float(positive.mean()),
    correct=float(correct.mean()),
  )
