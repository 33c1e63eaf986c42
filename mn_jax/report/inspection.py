"""Inspection of the networks of a report: errors, saliency, features.

This reopens runs and their data sets, which the rest of a report does not need:
it also measures the baselines, and what BatchNorm statistics of batches change.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping

import numpy as np

from mn_jax.data import classes, strata
from mn_jax.errors import InputError
from mn_jax.explain import embedding, saliency
from mn_jax.metrics import classification
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.observe import canvas, inspection_figures, report_figures
from mn_jax.report.document import Figure
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.run import reopen
from mn_jax.run.reopen import SavedRun
from mn_jax.run.split_data import SplitData
from mn_jax.studies import split_baselines

# Numbers of images.
_ERRORS = 12
_EXPLAINED = 4
_EMBEDDED = 1000
_STATISTICS = 1024
_NEIGHBOURS = 5
_SALIENCY = saliency.Settings(samples=16, steps=64)

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Inspection:
  """What a report shows of one network.

  Each picture is u8[h, w, 3], or a WebP file of it.

  Attributes:
    errors: the most confident errors; None if there are none.
    saliency: saliency maps of some test images.
    embedding: features in planes; None if they are not finite or
      there are too few images.
    knn_accuracy: nearest-neighbour accuracy of the features, or NaN.
    silhouette: silhouette of the classes in the features, or NaN.
    with_batch_statistics: test metrics with BatchNorm statistics of batches of
      training images in place of the running ones; empty for a network without
      running statistics that could lag.
    is_multi_label: whether an image may have several labels: then there are
      neither errors, as each label is right or wrong, nor accuracy and
      silhouette of the features.
  """

  errors: np.ndarray | bytes | None
  saliency: np.ndarray | bytes
  embedding: np.ndarray | bytes | None
  knn_accuracy: float
  silhouette: float
  with_batch_statistics: Mapping[str, float]
  is_multi_label: bool = False


@dataclasses.dataclass(frozen=True)
class Inspections:
  """What was learnt from all networks and data sets that could be opened.

  Attributes:
    baselines: `split_baselines.key` -> predictions for the test.
    networks: folder of a run -> inspection of its network.
  """

  baselines: dict[str, dict[str, NamedPredictions]]
  networks: dict[pathlib.Path, Inspection]

  def baseline_metrics(self, of: str) -> dict[str, dict[str, float]]:
    """Returns baseline -> metric -> value on a test; or {}.

    Args:
      of: `split_baselines.key` of a run on that test.
    """
    return {
      name: classification.summarize(x.predictions, positive=x.positive)
      for name, x in self.baselines.get(of, {}).items()
    }

  def of(self, analysis: RunAnalysis) -> Inspection | None:
    """Returns the inspection of a run's network; None if it was not opened."""
    return self.networks.get(analysis.path)


def saved_baselines(
  analyses: Iterable[RunAnalysis],
) -> dict[str, dict[str, NamedPredictions]]:
  """Reads the baselines that studies have kept, for `Inspections`.

  Args:
    analyses: of runs that lie in ROW/SEED or runs/ROW/SEED of their study.
  """
  kept = {}
  for analysis in analyses:
    of = split_baselines.key(analysis.summary)
    for study in analysis.path.parents[1:3]:
      if of not in kept and (found := split_baselines.read(study, of)):
        kept[of] = found
  return kept


def inspect(
  analysis: RunAnalysis,
  inspections: Inspections,
  *,
  places: Mapping[str, str],
  progress: Progress,
) -> None:
  """Inspects the network of a run; takes half a minute, mostly to compile.

  Args:
    analysis: of the run.
    inspections: that it and the baselines of a new test are added to.
    places: 'data_path', 'data_root' and 'cache_dir' of `reopen.open_run`, those
      that are not where the run had them.
    progress: called with (images done, images in all).

  Raises:
    InputError: if its checkpoint or its images are not there any more.
  """
  if analysis.refused:
    return
  run = reopen.open_run(
    analysis.path,
    step=analysis.summary["best_step"],
    **places,
  )
  data = run.data(progress)
  of = split_baselines.key(analysis.summary)
  if of not in inspections.baselines:
    inspections.baselines[of] = split_baselines.predict(data)
  inspections.networks[analysis.path] = Inspection(
    draw_errors(data, analysis.test.predictions),
    _explain(run, data, analysis.test),
    *_embed(run, data, progress),
    _with_batch_statistics(run, data),
    data.multi_label,
  )


def figures(anchor: str, inspection: Inspection) -> Iterable[Figure]:
  """Yields the figures of an inspection.

  Args:
    anchor: prefix of their names.
    inspection: of the network.
  """
  if inspection.errors is not None:
    yield Figure(
      f"{anchor}_mistakes",
      inspection.errors,
      "The most confident errors on the test: the predicted class with its "
      "probability, and the true class.",
      photo=True,
    )
  yield Figure(
    f"{anchor}_saliency",
    inspection.saliency,
    "Saliency maps of the predicted class; integrated gradients are orange "
    "where a pixel raises the logit. None of them proves what a network looks "
    "at.",
    photo=True,
    narrow=True,
  )
  if inspection.embedding is not None:
    yield Figure(
      f"{anchor}_embedding",
      inspection.embedding,
      "Features of test images before the head. Distances between clusters of "
      "t-SNE mean nothing."
      + (inspection.is_multi_label * " The colour is an image's rarest label."),
      narrow=True,
    )


def _with_batch_statistics(run: SavedRun, data: SplitData) -> dict[str, float]:
  try:
    recalibrated, _ = run.with_batch_statistics(data, _STATISTICS)
  except InputError:  # no running statistics that could lag
    return {}
  outputs = recalibrated.predict(data, data.part("test"))
  return classification.summarize(outputs, positive=data.spec.positive)


def draw_errors(data: SplitData, outputs: Predictions) -> np.ndarray | None:
  """Draws the images of the most confident errors, with what is predicted.

  Args:
    data: the images.
    outputs: predictions for some of them.

  Returns:
    u8[h, w, 3]; None if there are no errors.
  """
  indices = outputs.most_confident_errors(_ERRORS)
  if not len(indices):
    return None
  titles = [
    f"{_short(data.classes[x.argmax()])} {x.max():.2f}\nis "
    f"{_short(data.classes[label])}"
    for x, label in zip(
      outputs.probabilities()[indices], outputs.labels[indices], strict=True
    )
  ]
  return report_figures.examples(
    data.cache.images[outputs.ids[indices]], titles
  )


def _explain(
  run: SavedRun, data: SplitData, test: NamedPredictions
) -> np.ndarray:
  outputs = test.predictions
  order = np.random.default_rng(0).permutation(len(outputs.ids))
  chosen = np.sort(order[:_EXPLAINED])
  images = data.cache.images[outputs.ids[chosen]]
  predicted = outputs.logits[chosen].argmax(axis=1)
  explainer = saliency.Explainer(
    run.module,
    run.network.conventions,
    resolution=run.config.model.resolution,
    settings=_SALIENCY,
  )
  maps = {
    name: explainer.explain(name, run.variables, images, predicted)
    for name in saliency.METHODS
  }
  probabilities = outputs.probabilities()
  titles = [
    f"true {_short(classes.names_of(test.classes, outputs.labels[index]))}, "
    f"predicted {_short(test.classes[guess])} {probabilities[index, guess]:.2f}"
    for index, guess in zip(chosen, predicted, strict=True)
  ]
  return inspection_figures.heat_maps(images, maps, titles)


def _embed(
  run: SavedRun, data: SplitData, progress: Progress
) -> tuple[np.ndarray | None, float, float]:
  order = np.random.default_rng(0).permutation(data.part("test"))
  chosen = np.sort(order[:_EMBEDDED])
  labels = data.cache.labels[chosen]
  groups = None if data.spec.group is None else data.cache.groups[chosen]
  features = embedding.features(
    run.module,
    run.network.conventions,
    run.variables,
    data.cache.images[chosen],
    layer="pooled",
    resolution=run.config.model.resolution,
    batch_size=run.config.eval.batch_size,
    progress=progress,
  )
  undefined = (None, np.nan, np.nan)
  if not np.isfinite(features).all():
    return undefined
  try:
    projections = embedding.project(features, seed=0)
  except InputError:  # too few images
    return undefined
  colours, names = labels, data.classes
  if data.multi_label:
    colours, names = strata.rarest(labels), ("no label", *data.classes)
  picture = inspection_figures.embedding(
    {"PCA": projections.pca, "t-SNE": projections.tsne},
    colours,
    names,
    f"features of {len(labels):,} test images",
  )
  if data.multi_label:
    return picture, np.nan, np.nan
  return (
    picture,
    embedding.knn_accuracy(features, labels, groups, k=_NEIGHBOURS),
    embedding.silhouette(features, labels),
  )


def _short(name: str) -> str:
  return canvas.label(name, 16)
