"""Evaluates saved runs on new labelled images.

`mn-jax evaluate --data`, its page and `mn_jax.evaluate` show what `evaluate`
returns. Everything that is chosen (threshold, temperatures) is chosen on
validation; nothing is fitted to the new images.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from typing import Any

import numpy as np

from mn_jax.augment import views as views_lib
from mn_jax.evaluation import measures, new_images, overlap
from mn_jax.evaluation import members as members_lib
from mn_jax.evaluation.measures import Intervals, PredictionSets, Sampling
from mn_jax.evaluation.members import Member, Strangeness
from mn_jax.evaluation.new_images import Reader
from mn_jax.evaluation.overlap import Overlap
from mn_jax.metrics import (
  bootstrap,
  by_attribute,
  calibration,
  classification,
)
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.run.reopen import SavedRun
from mn_jax.run.split_data import SplitData

# What `repr` shows.
_SHOWN = (
  *("accuracy", "balanced_accuracy", "auroc", "macro_auroc"),
  "macro_average_precision",
)
# Fields of an evaluation that are no results, or are written otherwise.
_NOT_NUMBERS = (
  *("runs", "data", "images", "strangeness", "overlaps", "validation"),
)


@dataclasses.dataclass(frozen=True)
class Options:
  """How new images are evaluated.

  Attributes:
    views: test-time augmentation: a name in `augment.views.KINDS`; 'auto' for
      the symmetries that training showed; '' for none.
    calibrated: whether logits are divided by the temperature that fits each
      run's validation part before anything else is computed.
    conformal: share of prediction sets that may miss the label (`metrics.
      conformal`), such as 0.1; None for no sets.
    marginal: whether that share is one of all classes together, not of each.
    resamples: of the bootstrap; fewer for very many logits.
    seed: of the resamples.
  """

  views: str = ""
  calibrated: bool = False
  conformal: float | None = None
  marginal: bool = False
  resamples: int = 2000
  seed: int = 0


@dataclasses.dataclass(frozen=True, repr=False)
class Evaluation:
  """Results of saved runs on new images.

  Attributes:
    runs: the members of the ensemble, or the only run.
    data: the new images, as the first run reads them; all are of one part.
    images: predictions for all n of them, with names, groups and attributes.
    unit: what intervals resample: 'image', or what groups are.
    intervals: metric -> value and 95 % interval, of the likeliest classes.
    thresholds: that validation chose: one for the positive class, or one for
      each of several labels (NaN: 0.5); empty without either.
    at_threshold: metric -> value and interval at these thresholds, or empty.
    temperatures: that fit each run's validation part; empty without these.
    at_temperature: metrics with logits divided by them, or empty.
    reliability: reliability diagram, before and after that; one or two.
    matrix: i64[classes, classes], rows are true classes; None for several
      labels per image.
    per_class: metric -> f64[classes].
    per_label: metric -> value and interval of each of several labels; empty for
      images of one class each.
    groups: (name, images, accuracy) of groups of ten images or more, the worst
      first; empty where groups are not known.
    attributes: metrics of the values of each attribute.
    members: metrics of each run alone; empty for one run.
    views: kind of views that are averaged, or ''.
    gain: metric -> what the views add on validation, with an interval; empty
      without views or without validation.
    strangeness: how far the new images are from each run's training.
    overlaps: the new images that each run knows.
    without_overlap: metric -> value and interval without the images that a run
      knows; empty if there are none, or no others.
    sets: conformal prediction sets; None unless they were asked for.
    validation: the predictions that everything was chosen on; None if the
      validation part is gone.
    notes: what a reader should know, a line each.
  """

  runs: tuple[SavedRun, ...]
  data: SplitData
  images: NamedPredictions
  unit: str
  intervals: Intervals
  thresholds: tuple[float, ...]
  at_threshold: Intervals
  temperatures: tuple[float, ...]
  at_temperature: Mapping[str, float]
  reliability: tuple[calibration.Reliability, ...]
  matrix: np.ndarray | None
  per_class: Mapping[str, np.ndarray]
  per_label: Mapping[str, Sequence[bootstrap.Interval]]
  groups: Sequence[tuple[str, int, float]]
  attributes: Sequence[by_attribute.AttributeMetrics]
  members: Sequence[Mapping[str, float]] = ()
  views: str = ""
  gain: Intervals = field(default_factory=dict)
  strangeness: Sequence[Strangeness] = ()
  overlaps: Sequence[Overlap] = ()
  without_overlap: Intervals = field(default_factory=dict)
  sets: PredictionSets | None = None
  validation: NamedPredictions | None = None
  notes: Sequence[str] = ()

  def __repr__(self) -> str:
    metrics = [
      f"{formatting.metric_name(name)} {formatting.number(x.value)} "
      f"({formatting.interval(x.low, x.high)})"
      for name, x in self.intervals.items()
      if name in _SHOWN
    ]
    count = f"{len(self.images.names):,} images"
    return f"<mn_jax.Evaluation of {count}: {', '.join(metrics)}>"

  def known(self) -> np.ndarray:
    """Returns bool[n], the images that some run knows."""
    return np.any([x.known() for x in self.overlaps], axis=0)

  def numbers(self) -> dict[str, Any]:
    """Returns all results as values that JSON can hold; undefined ones None."""
    counts = self.data.counts()["new"]
    values = {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.name not in _NOT_NUMBERS
    }
    return formatting.jsonable(
      {
        "runs": [
          {
            "workdir": str(run.path),
            "experiment": run.config.experiment,
            "step": run.step,
            **{f"{k}_sha256": digest for k, digest in run.digests.items()},
          }
          for run in self.runs
        ],
        "images": len(self.images.names),
        "images_sha256": self.data.cache.sha256,
        "classes": dict(zip(self.data.classes, counts.tolist(), strict=True)),
        "strangeness": [x.numbers() for x in self.strangeness],
        "overlap": {
          "images": int(self.known().sum()),
          "runs": [x.numbers() for x in self.overlaps],
        },
        **values,
      }
    )


def evaluate(
  runs: Sequence[SavedRun],
  path: str | pathlib.Path,
  changes: Mapping[str, Any] | None = None,
  options: Options | None = None,
  console: Console | None = None,
) -> Evaluation:
  """Evaluates a run, or several as an ensemble, on new labelled images.

  Args:
    runs: of the same classes; probabilities are averaged.
    path: folder, archive or table of the images.
    changes: how their table is read, see `new_images.section_of`.
    options: what is computed; None for the defaults.
    console: shows progress; None for no output.

  Raises:
    InputError: for images or a table that cannot be used, classes that the runs
      do not have, or runs that are no ensemble.
    RunError: if logits are not finite.
  """
  options, console = options or Options(), console or Console(quiet=True)
  members_lib.check(runs)
  kind = members_lib.kind_of_views(runs, options.views)
  views = views_lib.KINDS[kind] if kind else (views_lib.PLAIN,)
  read = Reader(path, changes or {}, console)
  data = read(runs[0])
  found, overlaps, compared = [], [], {}
  for run in runs:
    new = read(run)
    own, problem = overlap.own_data(run, console)
    pixels = None
    if own is not None:
      # Folds have the same images, which are compared once.
      key = (own.cache.sha256, new_images.reading(run))
      if key not in compared:
        compared[key] = overlap.compare_pixels(own, new, console)
      pixels = compared[key]
    found.append(members_lib.predict(run, new, own, views))
    overlaps.append(overlap.find(run, own, pixels, new, problem))
  return _measure(found, data, overlaps, kind, options)


def _measure(
  members: Sequence[Member],
  data: SplitData,
  overlaps: Sequence[Overlap],
  kind: str,
  options: Options,
) -> Evaluation:
  """Computes all metrics of predictions."""
  how = {"views": len(members[0].new), "calibrated": options.calibrated}
  outputs = members_lib.new_images(members, **how)
  images = data.named_predictions(outputs)
  sampling = Sampling(
    data.spec.positive,
    options.seed,
    bootstrap.affordable(outputs, options.resamples),
  )
  val = members_lib.validation(members, **how)
  known = np.any([x.known() for x in overlaps], axis=0)
  without: Intervals = {}
  if known.any() and not known.all():
    without = sampling.intervals(images.take(np.flatnonzero(~known)))
  matrix = None
  if not outputs.multi_label:
    matrix = classification.confusion_matrix(
      outputs.labels, outputs.predicted(), len(data.classes)
    )
  return Evaluation(
    runs=tuple(x.run for x in members),
    data=data,
    images=images,
    unit=data.spec.group or "image",
    intervals=sampling.intervals(images),
    **measures.at_threshold(images, val, sampling),
    **measures.at_temperature(members, outputs, val, sampling.positive),
    matrix=matrix,
    per_class=classification.per_class(outputs),
    per_label=(
      bootstrap.label_intervals(outputs, groups=images.groups, **sampling.size)
      if outputs.multi_label
      else {}
    ),
    groups=measures.worst_groups(images),
    attributes=[
      by_attribute.measure(images, name, **sampling.size)
      for name in images.attributes
    ],
    members=measures.alone(members, sampling.positive, how),
    views=kind,
    gain=members_lib.gain(
      members,
      val,
      positive=sampling.positive,
      calibrated=options.calibrated,
      **sampling.size,
    ),
    strangeness=[x.strangeness for x in members],
    overlaps=overlaps,
    without_overlap=without,
    sets=(
      None
      if options.conformal is None
      else measures.prediction_sets(
        images,
        val,
        alpha=options.conformal,
        marginal=options.marginal,
        sampling=sampling,
      )
    ),
    validation=val,
    notes=measures.notes(members, data, overlaps, val),
  )
