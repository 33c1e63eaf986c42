"""The table of several labels per image: what each label's metrics are."""

from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.metrics.bootstrap import Interval
from mn_jax.observe import formatting

Row = tuple[str, ...]


def label_table(
  labels: Sequence[str],
  of_label: Mapping[str, np.ndarray],
  intervals: Mapping[str, Sequence[Interval]],
) -> tuple[Row, list[Row]]:
  """Returns the titles of the columns, and a row for each label.

  Args:
    labels: their names.
    of_label: from `metrics.multilabel.per_label`.
    intervals: from `metrics.bootstrap.label_intervals`; empty for none, which
      leaves room for sensitivity, specificity and F1.
  """
  areas = ("auroc", "average_precision")
  titles = ["label", "images"]
  columns = [labels, [f"{x:,.0f}" for x in of_label["support"]]]
  for name in areas:
    titles.append(formatting.metric_name(name))
    columns.append([formatting.number(x) for x in of_label[name]])
    if intervals:
      titles.append("95 % interval")
      columns.append(
        [formatting.interval(x.low, x.high) for x in intervals[name]]
      )
  if not intervals:
    shown = {"recall": "sensitivity", "specificity": "specificity", "f1": "F1"}
    for name, title in shown.items():
      titles.append(title)
      columns.append([formatting.number(x) for x in of_label[name]])
  return tuple(titles), list(zip(*columns, strict=True))
