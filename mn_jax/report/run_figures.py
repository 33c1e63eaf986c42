"""Figures about a run: curves, decisions, errors, saliency, features."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mn_jax.observe import figures, report_figures
from mn_jax.observe.formatting import count
from mn_jax.report import decision_curves
from mn_jax.report.document import Figure
from mn_jax.report.run_analysis import RunAnalysis

CLASSES_IN_MATRIX = 20


def curves(title: str, anchor: str, seeds: Sequence[RunAnalysis]) -> Figure:
  """Draws learning curves of a run and of its other seeds.

  Args:
    title: above them.
    anchor: prefix of the figure's name.
    seeds: the runs.
  """
  runs = [over_epochs(x.curves, x.summary) for x in seeds]
  multi_label = any("val/label_accuracy" in run for run in runs)
  names = ["loss", "label_accuracy" if multi_label else "accuracy"]
  if multi_label:
    names.append("macro_auroc")
  if any("val/balanced_accuracy" in run for run in runs):
    names.append("balanced_accuracy")
  return Figure(
    f"{anchor}_curves",
    report_figures.learning_curves(runs, names, title),
    f"Learning curves, {count(len(seeds), 'seed')}. {of_training(runs)}",
  )


def of_training(
  runs: Iterable[Mapping[str, Sequence[tuple[float, float]]]],
) -> str:
  """Says what the training values of learning curves are.

  Args:
    runs: curves of each.
  """
  if all("train_epoch/loss" in run for run in runs):
    return (
      "Training values are means over each epoch, of augmented images, while "
      "the network was trained on them."
    )
  return "Training values are means since the last log, of augmented images."


def over_epochs(
  curves: Mapping[str, Sequence[tuple[int, float]]], summary: Mapping[str, Any]
) -> dict[str, list[tuple[float, float]]]:
  """Returns points (epoch, value) of points (step, value).

  Args:
    curves: metric -> points.
    summary: content of `summary.json`.
  """
  scale = summary["steps"] / max(summary["epochs"], 1e-9)
  return {
    name: [(step / scale, value) for step, value in points]
    for name, points in curves.items()
  }


def decisions(
  title: str, anchor: str, analysis: RunAnalysis
) -> Iterable[Figure]:
  """Draws the confusion matrix or the areas of labels, then curves.

  Args:
    title: above them.
    anchor: prefix of their names.
    analysis: of a run with a test.
  """
  classes = analysis.test.classes
  if analysis.matrix is None:
    outputs = analysis.test.predictions
    yield Figure(
      f"{anchor}_labels",
      figures.label_areas(
        analysis.per_class, outputs.labels.mean(axis=0), classes, title
      ),
      "Areas under the curves of every label on the test; chance is 0.5 for "
      "AUROC, and for average precision the share of images with the label.",
      narrow=True,
    )
  elif len(classes) <= CLASSES_IN_MATRIX:
    yield Figure(
      f"{anchor}_confusion",
      figures.confusion_matrix(analysis.matrix, classes, title),
      "Confusion matrix of the test: rows are true classes.",
      narrow=True,
    )
  best = None
  if analysis.threshold is not None and analysis.at_threshold:
    names = ("sensitivity", "specificity")
    best = (analysis.threshold, *map(analysis.at_threshold.get, names))
  yield decision_curves.figure(
    f"{anchor}_decisions",
    title,
    analysis.test,
    analysis.decisions,
    analysis.reliability,
    best=best,
  )
