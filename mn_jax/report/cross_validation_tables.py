"""Tables of a cross-validation's page."""

from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.observe.formatting import (
  count,
  interval,
  jsonable,
  mean_std,
  metric_name,
  number,
)
from mn_jax.report import conclusion, run_facts
from mn_jax.report.tables import Table
from mn_jax.studies.cross_validation import CrossValidation
from mn_jax.studies.fold_baselines import FoldBaseline

_WORST_GROUPS = 10
_MAIN = 5  # metrics of the table of folds

Baselines = Mapping[str, FoldBaseline]


def pooled_table(found: CrossValidation) -> Table:
  """Returns the metrics of all folds' tests together, and their means."""
  rows = []
  first = conclusion.main_metrics(found.test)
  names = [*first, *(x for x in found.intervals if x not in first)]
  names.remove("majority_rate")
  for name in names:
    pooled, mean = found.intervals[name], found.over_folds[name]
    rows.append(
      (
        metric_name(name),
        number(pooled.value),
        ends(pooled.low, pooled.high),
        number(mean.mean),
        ends(mean.low, mean.high),
      )
    )
  note = (
    "Together: every image is predicted by the network of the fold that tests "
    f"it; 95 % by bootstrap over {noun_of(found)}s, {found.resamples:,} "
    "resamples. "
    "Mean over folds: 95 % by Student's t with the correction of Nadeau and "
    "Bengio (2003) for shared training images. Where they differ, as the AUROC "
    "may, it is because scores of different networks are compared in the "
    "first: each fold's logits are divided by the temperature that its own "
    "validation part chose, which does not put them on one scale. The second "
    "compares scores of one network alone, but is about tests that are "
    "smaller. Loss, Brier and ECE are after that division in the first and "
    "before it in the second."
  )
  columns = ("test", "together", "95 %", "mean over folds", "95 % of the mean")
  return Table(columns, rows, note)


def baseline_table(found: CrossValidation, baselines: Baselines) -> Table:
  """Returns each baseline once, with how far the networks are ahead.

  Args:
    found: the cross-validation.
    baselines: by name.
  """
  rows = [
    (
      name,
      metric_name(metric),
      number(baseline.together[metric]),
      number(ahead.value, signed=True),
      ends(ahead.low, ahead.high, signed=True),
      number(mean.mean, signed=True),
      ends(mean.low, mean.high, signed=True),
    )
    for name, baseline in baselines.items()
    for metric in conclusion.compared_metrics(found.test)
    for ahead in [baseline.ahead[metric]]
    for mean in [baseline.ahead_by_fold[metric]]
  ]
  resamples = next(iter(next(iter(baselines.values())).ahead.values()))
  note = (
    "A baseline is trained in every fold on the images of that fold's "
    "training part. Ahead: networks minus baseline, on all folds' tests "
    f"together with 95 % by bootstrap over {noun_of(found)}s "
    f"({resamples.resamples:,} resamples, the same for both), and as the mean "
    "over folds of the differences, with the correction of Nadeau and Bengio."
  )
  columns = ("baseline", "metric", "together", "ahead", "95 %", "by fold")
  return Table((*columns, "95 % of the mean"), rows, note)


def folds_table(found: CrossValidation, metrics: Sequence[str]) -> Table:
  """Returns a row for each fold, and their mean.

  Args:
    found: the cross-validation.
    metrics: shown.
  """
  metrics = [name for name in metrics if name in found.over_folds][:_MAIN]
  grouped = found.test.groups is not None
  rows = []
  for fold in found.folds:
    groups = (f"{count_groups(fold.test.groups):,}",) if grouped else ()
    values = (number(fold.metric(name)) for name in metrics)
    size = f"{len(fold.test.names):,}"
    rows.append((fold.name, size, *groups, *values, f"{fold.temperature:.2f}"))
  blank = ("",) * (2 if grouped else 1)
  means = [found.over_folds[name] for name in metrics]
  rows.append(("mean", *blank, *(mean_std(x.mean, x.std) for x in means), ""))
  rows.append(("95 %", *blank, *(ends(x.low, x.high) for x in means), ""))
  seeds = len(found.folds[0].summaries)
  note = (
    "Mean ± standard deviation over folds, which is no standard error: folds "
    "share training images."
  )
  if seeds > 1:
    note += (
      f" A fold's metrics are means over {seeds} seeds; all folds together are "
      "of the first."
    )
  noun = f"{noun_of(found)}s"
  columns = ("fold", "test images", *((noun,) if grouped else ()))
  return Table(
    (*columns, *map(metric_name, metrics), "temperature"), rows, note
  )


def with_thresholds(table: Table, found: CrossValidation) -> Table:
  """Returns the table of points with each fold's thresholds in its note.

  Args:
    table: of operating points.
    found: the cross-validation.
  """
  classes, chosen = found.test.classes, []
  for k, of_class in found.thresholds.items():
    names = () if found.test.positive is not None else (classes[k],)
    for target, values in of_class.items():
      title = ", ".join((*names, target.title()))
      chosen.append(f"{title}: {', '.join(map(number, values))}")
  note = (
    f"{table.note} A threshold of validation is another in each fold, chosen "
    "on its own validation part and applied to its own test, so that no scale "
    f"is shared: {'; '.join(chosen)}."
  )
  return Table(table.columns, table.rows, note)


def group_table(found: CrossValidation) -> Table:
  """Returns the groups with the lowest accuracies, where groups are known."""
  rows = [
    (name, f"{images:,}", number(accuracy))
    for name, images, accuracy in found.groups[:_WORST_GROUPS]
  ]
  others = count_groups(found.test.groups) - len(found.groups)
  noun = noun_of(found)
  note = f"Of {count(len(found.groups), noun)} with ten images or more."
  if others:
    note += f" Not ranked, with fewer: {count(others, noun)}."
  return Table((noun, "images", "accuracy"), rows, note)


def noun_of(found: CrossValidation) -> str:
  """Returns what is resampled, such as 'patient'."""
  return run_facts.unit(found.folds[0])


def count_groups(groups: np.ndarray | None) -> int | None:
  """Returns the number of groups; None if none are known."""
  return None if groups is None else len(np.unique(groups))


def ends(low: float, high: float, *, signed: bool = False) -> str:
  """Formats the ends of an interval; '-' where they are undefined."""
  return interval(*jsonable([low, high]), signed=signed)
