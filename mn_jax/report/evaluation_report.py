"""The page of an evaluation of new images."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mn_jax.evaluation.evaluation import Evaluation
from mn_jax.metrics.operating_point import Target
from mn_jax.observe import decision_figures, figures
from mn_jax.observe.formatting import count, jsonable
from mn_jax.report import (
  decision_curves,
  evaluation_remarks,
  evaluation_tables,
  inspection,
)
from mn_jax.report import decisions as decisions_lib
from mn_jax.report.decisions import Decisions
from mn_jax.report.document import Document, Figure

_CLASSES_IN_MATRIX = 20
_RESAMPLES = 1000
_CALIBRATIONS = ("as predicted", "at the temperature")


def measure(
  found: Evaluation, targets: Sequence[Target] | None = None
) -> Decisions:
  """Measures operating points and bands of curves, for the page.

  Args:
    found: the evaluation.
    targets: of the operating points; None for those of every report.
  """
  decisions = decisions_lib.measure(
    found.validation,
    found.images,
    resamples=min(_RESAMPLES, found.intervals["loss"].resamples),
    targets=targets,
    attributes=(),
  )
  return dataclasses.replace(decisions, attributes=found.attributes)


def numbers(found: Evaluation, decisions: Decisions) -> dict[str, Any]:
  """Returns all numbers of an evaluation as values that JSON can hold."""
  values = found.numbers() | decisions.numbers(found.data.classes)
  del values["attributes"]  # which are in `by_attribute`
  return jsonable(
    values
    | {
      "warnings": evaluation_remarks.warnings(found),
      "verdict": evaluation_remarks.verdict(found),
    }
  )


def build(found: Evaluation, decisions: Decisions, source: str) -> Document:
  """Returns the page of an evaluation.

  Args:
    found: the evaluation.
    decisions: of its predictions, from `measure`.
    source: folder, archive or table of the images.
  """
  tables = evaluation_tables.tables(found)
  tables |= decisions_lib.tables(decisions, found.images, found.unit)
  run = found.runs[0]
  title = f"{run.config.experiment} on new images"
  if len(found.runs) > 1:
    title = f"{len(found.runs)} runs on new images"
  return Document(
    title=title,
    warnings=evaluation_remarks.warnings(found),
    tables=tables,
    figures=list(_figures(found, decisions)),
    protocol=_protocol(found, source),
    notes=list(found.notes),
  )


def _protocol(found: Evaluation, source: str) -> list[tuple[str, str]]:
  data = found.data
  counts = zip(data.classes, data.counts()["new"], strict=True)
  classes = ", ".join(f"{name} {n:,}" for name, n in counts)
  groups = ""
  if found.images.groups is not None:
    groups = f" of {count(len(data.groups('new')), found.unit)}"
  section = found.runs[0].config.data
  return [
    ("images", f"{source}: {len(found.images.names):,}{groups}; {classes}"),
    ("sha256", f"of all pixels {data.cache.sha256[:12]}"),
    (
      "read",
      f"{section.image_size} px, other sizes {section.other_sizes}, as the run "
      "reads its own",
    ),
    *(
      (
        f"run {i + 1}" if len(found.runs) > 1 else "run",
        f"{run.path}, step {run.step}, split "
        f"{run.digests['split'][:12]}, images {run.digests['images'][:12]}",
      )
      for i, run in enumerate(found.runs)
    ),
    ("views", found.views or "the plain image"),
    (
      "chosen on",
      "nothing: the validation part is gone"
      if found.validation is None
      else f"validation, {len(found.validation.names):,} images",
    ),
  ]


def _figures(found: Evaluation, decisions: Decisions) -> Iterator[Figure]:
  images, classes = found.images, found.data.classes
  title = f"{len(images.names):,} new images"
  yield decision_curves.figure(
    "decisions",
    title,
    images,
    decisions,
    found.reliability[0],
    best=_best(found),
  )
  if found.matrix is not None and len(classes) <= _CLASSES_IN_MATRIX:
    yield Figure(
      "confusion",
      figures.confusion_matrix(found.matrix, classes, title),
      "Confusion matrix: rows are true classes, columns the likeliest ones.",
      narrow=True,
    )
  if len(found.reliability) > 1:
    yield Figure(
      "calibrated",
      decision_figures.reliability(
        dict(zip(_CALIBRATIONS, found.reliability, strict=True)), title
      ),
      "Reliability diagrams: as predicted, and with logits divided by the "
      "temperature that fits validation.",
      narrow=True,
    )
  errors = inspection.draw_errors(found.data, images.predictions)
  if errors is not None:
    yield Figure(
      "errors",
      errors,
      "The most confident errors: the predicted class with its probability, "
      "and the true class.",
      photo=True,
    )


def _best(found: Evaluation) -> tuple[float, float, float] | None:
  """Returns the threshold of validation with what it leads to."""
  if not found.thresholds or found.images.predictions.multi_label:
    return None
  shares: Mapping[str, Any] = found.at_threshold
  return (
    found.thresholds[0],
    shares["sensitivity"].value,
    shares["specificity"].value,
  )
