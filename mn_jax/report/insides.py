"""What a run's network does, opened: mistakes, saliency, t-SNE, statistics."""

import dataclasses
import textwrap
from collections.abc import Callable, Mapping

import numpy as np

from mn_jax.errors import InputError
from mn_jax.explain import embedding, saliency
from mn_jax.metrics import classification
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import inspection_figures, report_figures
from mn_jax.report.findings import Findings
from mn_jax.run.reopen import Restored
from mn_jax.run.split_data import SplitData

_MISTAKES = 12
_EXPLAINED = 4
_POINTS = 1000
_NEIGHBOURS = 5
_STATISTICS = 1024  # images
_SETTINGS = saliency.Settings(samples=16, steps=64)

Progress = Callable[[int, int], None]


@dataclasses.dataclass(frozen=True)
class Insides:
  """What a report shows of a network at work.

  Attributes:
    mistakes: u8[h, w, 3], the surest wrong answers; None if there are none.
    saliency: u8[h, w, 3], some test images, explained.
    embedding: u8[h, w, 3], features in planes; None of a network whose
      features are not finite, or with too few images.
    knn_accuracy: of the features; NaN where undefined.
    silhouette: likewise.
    by_batches: metrics of the test with BatchNorm's statistics of batches of
      training images in place of the running ones; empty of a network without
      ones that could lag.
  """

  mistakes: np.ndarray | None
  saliency: np.ndarray
  embedding: np.ndarray | None
  knn_accuracy: float
  silhouette: float
  by_batches: Mapping[str, float]


def look(
  run: Restored, data: SplitData, found: Findings, progress: Progress
) -> Insides:
  """Opens the network; takes half a minute or so, mostly to compile.

  Args:
    run: opened at the checkpoint that the findings are of.
    data: of the run.
    found: of the run, not refused.
    progress: called with (images done, images in all).
  """
  plane, knn, silhouette = _embed(run, data, progress)
  return Insides(
    mistakes=_mistakes(data, found),
    saliency=_explain(run, data, found.test),
    embedding=plane,
    knn_accuracy=knn,
    silhouette=silhouette,
    by_batches=_by_batches(run, data),
  )


def _by_batches(run: Restored, data: SplitData) -> dict[str, float]:
  try:
    again, _ = run.with_batch_statistics(data, _STATISTICS)
  except InputError:
    return {}
  answers = again.predict(data, data.part("test"))
  return classification.summarize(answers, positive=data.spec.positive)


def _mistakes(data: SplitData, found: Findings) -> np.ndarray | None:
  places = found.mistakes(_MISTAKES)
  if not len(places):
    return None
  answers = found.test.predictions
  shares = answers.probabilities()
  titles = []
  for place in places:
    guess = answers.logits[place].argmax()
    truth = found.test.classes[answers.labels[place]]
    titles.append(
      f"{_short(found.test.classes[guess])} {shares[place, guess]:.2f}\n"
      f"is {_short(truth)}"
    )
  return report_figures.examples(data.cache.images[answers.ids[places]], titles)


def _explain(
  run: Restored, data: SplitData, test: NamedPredictions
) -> np.ndarray:
  answers = test.predictions
  count = min(_EXPLAINED, len(answers.ids))
  chosen = np.random.default_rng(0).permutation(len(answers.ids))[:count]
  chosen.sort()
  images = data.cache.images[answers.ids[chosen]]
  shown = answers.logits[chosen].argmax(axis=1)
  explainer = saliency.Explainer(
    run.module,
    run.network.conventions,
    resolution=run.config.model.resolution,
    settings=_SETTINGS,
  )
  maps = {
    name: explainer.explain(name, run.variables, images, shown)
    for name in saliency.METHODS
  }
  shares = answers.probabilities()[chosen, shown]
  titles = [
    f"true {_short(test.classes[label])}, predicted "
    f"{_short(test.classes[guess])} {share:.2f}"
    for label, guess, share in zip(
      answers.labels[chosen], shown, shares, strict=True
    )
  ]
  return inspection_figures.heat_maps(images, maps, titles)


def _embed(
  run: Restored, data: SplitData, progress: Progress
) -> tuple[np.ndarray | None, float, float]:
  chosen = np.random.default_rng(0).permutation(data.part("test"))[:_POINTS]
  chosen.sort()
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
  if not np.isfinite(features).all():
    return None, np.nan, np.nan
  try:
    planes = embedding.planes(features, seed=0)
  except InputError:  # too few images
    return None, np.nan, np.nan
  knn = embedding.knn_accuracy(features, labels, groups, k=_NEIGHBOURS)
  silhouette = embedding.silhouette(features, labels)
  picture = inspection_figures.embedding(
    {"PCA": planes.pca, "t-SNE": planes.tsne},
    labels,
    data.classes,
    f"features of {len(labels):,} test images",
  )
  return picture, knn, silhouette


def _short(name: str) -> str:
  return textwrap.shorten(name, 16, placeholder="...")
