"""Rows that `predict` prints of images, as CSV or JSON."""

import csv
import dataclasses
import itertools
import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from mn_jax.deploy import confidence, predictor
from mn_jax.observe import escape

# In CSV, between names of classes in one cell.
_SEPARATOR = "|"
_OF_SET = ("set_size", "set_indices", "set_names")
_OF_SCORE = ("ood_distance_percentile", "ood_energy_percentile")


@dataclasses.dataclass(frozen=True)
class Row:
  """What is printed of an image.

  Attributes:
    file: its path.
    top: (class index, name, probability), best first; of a network of several
      labels per image all of them, in the order of the classes.
    judged: the whole prediction.
  """

  file: str
  top: list[tuple[int, str, float]]
  judged: confidence.Judged


def classify(
  images: Iterator[tuple[str, np.ndarray]],
  loaded: predictor.Predictor,
  judge: confidence.Confidence,
  *,
  top: int,
  batch_size: int,
) -> Iterator[Row]:
  """Yields a row for each image.

  Args:
    images: paths, and pixels as the network takes them.
    loaded: the network.
    judge: what is known of its predictions.
    top: number of classes in a row, if an image has one.
    batch_size: images that are judged at once.
  """
  named, images = itertools.tee(images)
  outputs = loaded.outputs(pixels for _, pixels in images)
  pairs = zip((name for name, _ in named), outputs, strict=True)
  for batch in itertools.batched(pairs, batch_size):
    judged = judge.judge([output for _, output in batch])
    for (name, _), result in zip(batch, judged, strict=True):
      values = result.probabilities
      best = range(len(values))
      if not loaded.multi_label:
        best = np.argsort(-values, kind="stable")[:top].tolist()
      shown = [(i, loaded.classes[i], float(values[i])) for i in best]
      yield Row(name, shown, result)


def write_csv(
  rows: Iterator[Row],
  judge: confidence.Confidence,
  classes: Sequence[str],
  *,
  top: int,
) -> int:
  """Writes a header and rows to standard output as they come.

  Args:
    rows: from `classify`.
    judge: that they were made with.
    classes: names, in the order of the logits.
    top: number of classes in a row, if an image has one; a network of several
      labels has a column for each.

  Returns:
    The number of rows.
  """
  writer = csv.writer(sys.stdout, lineterminator="\n")
  if judge.multi_label:
    columns = [escape.csv_cell(name) for name in classes]
  else:
    columns = [
      f"top{k + 1}_{kind}"
      for k in range(top)
      for kind in ("index", "name", "probability")
    ]
  columns += _OF_SET if judge.thresholds is not None else ()
  columns += _OF_SCORE if judge.reference is not None else ()
  writer.writerow(["file", *columns])
  count = 0
  for row in rows:
    count += 1
    writer.writerow(_cells(row, classes, multi_label=judge.multi_label))
    sys.stdout.flush()
  return count


def _cells(
  row: Row, classes: Sequence[str], *, multi_label: bool
) -> list[str | int]:
  cells: list[str | int] = [escape.csv_cell(row.file)]
  for i, name, probability in row.top:
    if not multi_label:
      cells += [i, escape.csv_cell(name)]
    cells.append(f"{probability:.6f}")
  judged = row.judged
  if judged.classes is not None:
    names = _SEPARATOR.join(classes[i] for i in judged.classes)
    indices = " ".join(map(str, judged.classes))
    cells += [len(judged.classes), indices, escape.csv_cell(names)]
  if judged.distance is not None:
    cells += [f"{judged.distance:.2f}", f"{judged.energy:.2f}"]
  return cells


def write_json(
  rows: Iterator[Row], judge: confidence.Confidence, classes: Sequence[str]
) -> int:
  """Writes a list of objects to standard output; returns their number.

  Args:
    rows: from `classify`.
    judge: that they were made with.
    classes: names, in the order of the logits.
  """
  values = [
    _object(row, classes, multi_label=judge.multi_label) for row in rows
  ]
  json.dump(values, sys.stdout, indent=2)
  print(flush=True)
  return len(values)


def _object(
  row: Row, classes: Sequence[str], *, multi_label: bool
) -> dict[str, Any]:
  value: dict[str, Any] = {"file": row.file}
  if multi_label:
    value["labels"] = {name: probability for _, name, probability in row.top}
  else:
    value["top"] = [
      {"index": i, "name": name, "probability": probability}
      for i, name, probability in row.top
    ]
  judged = row.judged
  if judged.classes is not None:
    value["set"] = [{"index": i, "name": classes[i]} for i in judged.classes]
  if judged.distance is not None:
    scores = (judged.distance, judged.energy)
    value |= dict(zip(_OF_SCORE, scores, strict=True))
  return value
