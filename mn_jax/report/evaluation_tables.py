"""Tables of an evaluation of new images, for its page and for a terminal."""

import os
from collections.abc import Mapping

import numpy as np

from mn_jax.evaluation.evaluation import Evaluation
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.classification import DEFINED
from mn_jax.metrics.conformal import SetMetrics
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import metric_name, number, percent
from mn_jax.report import evaluation_remarks
from mn_jax.report.tables import Table

# Of worse groups and of classes, those that are shown.
_GROUPS, _CLASSES = 10, 100
# Percentages of validation images.
_BEYOND = (95, 99)
# What a temperature changes.
_PROBABILISTIC = ("loss", "brier", "ece")
# What a threshold changes, and what members of an ensemble are compared by.
_DECIDED = (
  *("accuracy", "balanced_accuracy", "mcc", "precision", "sensitivity"),
  *("specificity", "f1", "label_accuracy", "exact_match", "macro_sensitivity"),
  *("macro_specificity", "macro_f1", "micro_f1"),
)
_MEMBER = (
  *("loss", "accuracy", "balanced_accuracy", "auroc", "macro_auroc", "ece"),
)


def tables(found: Evaluation) -> dict[str, Table]:
  """Returns title -> table of everything that an evaluation found.

  Operating points and attributes are left to `report.decisions`.
  """
  result = {"New images": _metrics(found)}
  if found.thresholds:
    result["At the threshold of validation"] = _threshold(found)
  if found.temperatures:
    result["Calibration"] = _calibration(found)
  if found.members:
    result["Members of the ensemble"] = _members(found)
  if found.gain:
    result["Test-time augmentation, judged on validation"] = _gain(found)
  if found.known().any() or any(x.problem for x in found.overlaps):
    result["Images that a run knows"] = _overlap(found)
  if any(not x.problem for x in found.strangeness):
    result["Images unlike those of training"] = _strangeness(found)
  if found.per_label:
    result["Labels"] = _per_label(found)
  elif len(found.data.classes) > 2:
    result["Classes"] = _per_class(found)
  if found.groups:
    result[f"Least accurate {found.unit}s"] = _groups(found)
  if found.sets is not None:
    result["Prediction sets"] = _sets(found)
  return result


def show(console: Console, found: Evaluation) -> None:
  """Prints the warnings and the tables."""
  for warning in evaluation_remarks.warnings(found):
    console.line(f"Warning: {warning}.")
  for title, table in tables(found).items():
    table.show(console, title)


def _names(found: Evaluation) -> list[str]:
  """Returns the paths of the runs without the folder that they share."""
  if len(found.runs) == 1:
    return [str(found.runs[0].path)]
  paths = [run.path.resolve() for run in found.runs]
  shared = os.path.commonpath(paths)
  return [str(path.relative_to(shared)) for path in paths]


def _metrics(found: Evaluation) -> Table:
  columns, titles = [found.intervals], ["value", "low", "high"]
  note = (
    f"{len(found.images.names):,} images; low and high: 95 % intervals, "
    f"{found.unit}s resampled."
  )
  if found.without_overlap:
    columns.append(found.without_overlap)
    titles += ["others", "low", "high"]
    others = int((~found.known()).sum())
    note += f" Others: the {others:,} images that no run knows."
  rate = found.intervals.get("majority_rate")
  if rate is not None:
    accuracy = "an accuracy"
    if found.images.predictions.multi_label:
      accuracy = "a label accuracy"
    note += (
      f" Always predicting the majority has {accuracy} of {number(rate.value)}."
    )
  rows = [
    (metric_name(name), *(x for c in columns for x in _cells(c[name])))
    for name in found.intervals
    if name != "majority_rate"
  ]
  return Table(("metric", *titles), rows, note)


def _cells(found: Interval) -> tuple[str, str, str]:
  return number(found.value), number(found.low), number(found.high)


def _threshold(found: Evaluation) -> Table:
  rows = [
    (
      metric_name(name),
      *_cells(found.at_threshold[name]),
      number(found.intervals[name].value),
    )
    for name in _DECIDED
    if name in found.at_threshold
  ]
  if found.images.predictions.multi_label:
    pairs = zip(found.data.classes, found.thresholds, strict=True)
    what = "A label is predicted from a probability of " + ", ".join(
      f"{number(0.5 if np.isnan(x) else x)} ({label})" for label, x in pairs
    )
    plain = "from 0.5 on"
  else:
    label = found.data.classes[found.data.spec.positive]
    what = (
      f"Images are predicted {label} from a probability of "
      f"{found.thresholds[0]:.4g}"
    )
    plain = "likeliest class"
  return Table(
    ("metric", "value", "low", "high", plain),
    rows,
    f"{what} on, which has the best balanced accuracy on validation.",
  )


def _calibration(found: Evaluation) -> Table:
  rows = [
    (metric_name(name), number(found.intervals[name].value), number(value))
    for name, value in found.at_temperature.items()
    if name in _PROBABILISTIC
  ]
  values = ", ".join(f"{x:.3g}" for x in found.temperatures)
  return Table(
    ("metric", "as above", "at the temperature"),
    rows,
    f"Logits divided by {values}, which fits validation.",
  )


def _members(found: Evaluation) -> Table:
  names = [x for x in _MEMBER if x in found.intervals]
  values = {name: x.value for name, x in found.intervals.items()}
  rows = [("ensemble", *(number(values[x]) for x in names))]
  rows += [
    (run, *(number(metrics[x]) for x in names))
    for run, metrics in zip(_names(found), found.members, strict=True)
  ]
  return Table(
    ("run", *map(metric_name, names)),
    rows,
    "The ensemble predicts the mean of the members' probabilities.",
  )


def _gain(found: Evaluation) -> Table:
  rows = [
    (
      metric_name(name),
      *(number(x, signed=True) for x in (gain.value, gain.low, gain.high)),
    )
    for name, gain in found.gain.items()
    if name not in DEFINED
  ]
  return Table(
    ("metric", "difference", "low", "high"),
    rows,
    f"Mean of the views ({found.views}) minus the plain image, with paired 95 "
    f"% intervals. {evaluation_remarks.verdict(found)}",
  )


def _overlap(found: Evaluation) -> Table:
  rows = []
  for run, one in zip(_names(found), found.overlaps, strict=True):
    pixels = ("-", "-")
    if not one.problem:
      pixels = (f"{one.equal.sum():,}", f"{one.similar.sum():,}")
    groups = f"{one.same_group.sum():,}" if one.groups_known else "-"
    names = f"{one.same_name.sum():,}"
    known = f"{one.known().sum():,}"
    rows.append((run, *pixels, groups, names, known))
  note = (
    "Images of training and validation among the new ones. Names alone count "
    "as known only where pixels could not be compared."
  )
  pairs = dict.fromkeys(x for one in found.overlaps for x in one.pairs)
  if pairs:
    shown = "; ".join(f"{a} is {b}" for a, b in [*pairs][:3])
    note += f" Such as: {shown}."
  groups = dict.fromkeys(x for one in found.overlaps for x in one.groups)
  if groups:
    note += f" {found.unit.capitalize()}s in both: {', '.join([*groups][:8])}"
    note += f" and {len(groups) - 8} more." if len(groups) > 8 else "."
  columns = ("equal", "near", f"same {found.unit}", "same name", "known")
  return Table(("run", *columns), rows, note)


def _strangeness(found: Evaluation) -> Table:
  rows = []
  for run, scores in zip(_names(found), found.strangeness, strict=True):
    if scores.problem:
      continue
    name = (run,) if len(found.runs) > 1 else ()
    beyond = [scores.beyond(x) for x in _BEYOND]
    values = {"distance": scores.distances, "energy": scores.energies}
    for score, percentages in values.items():
      rows.append(
        (
          *name,
          score,
          *(percent(x[score]) for x in beyond),
          *_accuracies(found, percentages > _BEYOND[0]),
        )
      )
  runs = ("run",) if len(found.runs) > 1 else ()
  accuracies = ("accuracy of these", "of the others")
  return Table(
    (
      *(*runs, "score", *(f"beyond {x} %" for x in _BEYOND)),
      *(() if found.images.predictions.multi_label else accuracies),
    ),
    rows,
    "Shares of the new images beyond that percentage of validation images; of "
    "images like those of training 5 % and 1 %. Distance: to the nearest "
    "training images, between features; energy: of the logits.",
  )


def _accuracies(found: Evaluation, strange: np.ndarray) -> tuple[str, ...]:
  outputs = found.images.predictions
  if outputs.multi_label:
    return ()
  hits = outputs.predicted() == outputs.labels
  return tuple(
    number(float(hits[chosen].mean()) if chosen.any() else None)
    for chosen in (strange, ~strange)
  )


def _per_class(found: Evaluation) -> Table:
  names = [x for x in found.per_class if x != "support"]
  names = [
    x
    for x in ("precision", "recall", "f1", "auroc", "average_precision")
    if x in names
  ]
  support = found.per_class["support"]
  rows = [
    (
      label,
      f"{support[i]:,.0f}",
      *(number(found.per_class[name][i]) for name in names),
    )
    for i, label in enumerate(found.data.classes[:_CLASSES])
  ]
  note = ""
  if len(found.data.classes) > _CLASSES:
    note = f"The first {_CLASSES} of {len(found.data.classes):,} classes."
  return Table(("class", "images", *map(metric_name, names)), rows, note)


def _per_label(found: Evaluation) -> Table:
  areas = [found.per_label[x] for x in ("auroc", "average_precision")]
  rows = [
    (
      label,
      f"{found.per_class['support'][i]:,.0f}",
      *(x for area in areas for x in _cells(area[i])),
    )
    for i, label in enumerate(found.data.classes[:_CLASSES])
  ]
  ends = ("low", "high")
  return Table(
    ("label", "images", "AUROC", *ends, "AP", *ends),
    rows,
    f"AP: average precision; 95 % intervals, {found.unit}s resampled.",
  )


def _groups(found: Evaluation) -> Table:
  rows = [
    (name, f"{images:,}", number(accuracy))
    for name, images, accuracy in found.groups[:_GROUPS]
  ]
  return Table(
    (found.unit, "images", "accuracy"),
    rows,
    f"Of {len(found.groups):,} with ten images or more.",
  )


def _sets(found: Evaluation) -> Table:
  sets = found.sets
  rows = [("all", "", *_set_cells(sets.metrics))]
  rows += [
    (label, number(least), *_set_cells(metrics))
    for label, least, metrics in zip(
      found.data.classes[:_CLASSES],
      sets.thresholds.least,
      sets.per_class,
      strict=False,
    )
  ]
  whom = "each class" if sets.thresholds.class_conditional else "all images"
  return Table(
    ("images of", "least", "coverage", "low", "high", "size", "empty"),
    rows,
    "Conformal sets that should hold the class of "
    f"{1 - sets.thresholds.alpha:g} of the images of {whom}, by validation: a "
    "class is in the set of an image from its least probability on. Means of "
    f"the means of {found.unit}s.",
  )


def _set_cells(metrics: SetMetrics) -> tuple[str, ...]:
  values: Mapping[str, Interval] = vars(metrics)
  return (
    *_cells(metrics.coverage),
    *(number(values[name].value) for name in ("size", "empty")),
  )
