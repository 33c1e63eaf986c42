"""Evaluates a run: `python -m mn_jax.tools.evaluate --workdir=DIR`.

New labelled images (`--data=PATH`), by one run or by several as an ensemble:
see `commandline.new_image_arguments`. Else a part of the run's split:

Any checkpoint on any part of the run's split, by the evaluation step of
training: as it is, or with recomputed running statistics (`--recalibrate`), a
temperature and a threshold that were found on the validation part. With
`--precision` by the folded network of `mn_jax.tools.predict`, beside what that
changes. Nothing is written but the files of `--output` and `--page`. Exit
codes: 0, or 2 for a wrong argument.
"""

import argparse
import dataclasses
import functools
import json
import math
import sys
from collections.abc import Sequence
from typing import Any

from mn_jax.commandline import (
  decision_arguments,
  label_results,
  new_image_arguments,
  program,
  run_arguments,
)
from mn_jax.commandline.parser import Parser, file_path
from mn_jax.deploy import predictor
from mn_jax.errors import InputError
from mn_jax.evaluation import assessment
from mn_jax.metrics import bootstrap, classification
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import console as console_lib
from mn_jax.observe import formatting
from mn_jax.report.decisions import Decisions
from mn_jax.run import reopen, split_data

# Groups that the table shows.
_WORST = 10


@dataclasses.dataclass(frozen=True)
class _Result:
  """Results of an evaluation."""

  assessed: assessment.Assessment
  named: NamedPredictions  # for the evaluated part
  intervals: dict[str, bootstrap.Interval]  # empty without --intervals
  groups: list[tuple[str, int, float]]  # empty without --by-group
  change: assessment.Change | None  # None without --precision
  recalibrated: int  # training images behind the statistics of BatchNorm
  decisions: Decisions
  labels: label_results.LabelResults | None  # None for one class per image


def _parser() -> Parser:
  parser = run_arguments.parser(
    "evaluate",
    description="Compute the metrics of a run's checkpoint on new labelled "
    "images (--data), or on a part of its split: for the best checkpoint on "
    "val and test, those of summary.json.",
    example="--workdir=runs/idc_v1 --data=new_patients --page=new.html",
    several=True,
  )
  new_image_arguments.add(parser)
  run_arguments.add_part(parser, default="val")
  parser.set_defaults(part=None)
  parser.flag("--json", "print JSON")
  parser.option(
    "--output",
    "FILE.npz",
    "write predictions, as in a run's folder `predictions`: ids (rows of "
    "the packed images), names, groups, labels, logits (after --recalibrate "
    "and --temperature-from-val; means of an ensemble), losses, classes",
    type=file_path,
  )
  parser.flag(
    "--intervals",
    "95 %% bootstrap intervals, groups resampled where they are known; always "
    "with --data, as are groups and a threshold",
  )
  parser.flag("--by-group", "accuracy of the worst groups")
  decision_arguments.add(parser)
  parser.option(
    "--recalibrate",
    "N",
    "recompute BatchNorm's running statistics from N training images",
    type=run_arguments.count,
  )
  parser.flag(
    "--temperature-from-val",
    "divide logits by the temperature that fits the validation part",
  )
  parser.flag(
    "--threshold-from-val",
    "predict the positive class from the threshold on that has the best "
    "balanced accuracy on the validation part; of several labels each from its "
    "own",
  )
  run_arguments.add_precision(
    parser, "training's evaluation step, to which it is compared"
  )
  parser.add_overrides(
    "data.path=PATH and data.cache_dir=DIR, if the run's images or the packed "
    "cache are no longer where the run had them; with --data also how a table "
    "or folder of new images is read, such as data.label=COLUMN or "
    "data.group=COLUMN (default: as the run's own)"
  )
  return parser


def _evaluate(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  new_image_arguments.check(args)
  if args.data is not None:
    new_image_arguments.evaluate(args)
    return
  args.part = args.part or "val"
  (args.workdir,) = args.workdir
  output = args.output
  if output is not None:
    run_arguments.output_folder(output.parent)
  run = run_arguments.open_run(args)
  console = console_lib.Console(quiet=args.json)
  with console.counting("decoding", "images") as progress:
    data = run.data(progress)
  _check(args, run.config.data.name, data)
  result = _measure(args, run, data)
  if output is not None:
    result.named.write(output)
  if args.json:
    print(json.dumps(_as_json(args, run, data, result), indent=2))
    return
  _show(console, args, run, data, result)
  if output is not None:
    console.line(f"Predictions: {output}")


def _check(
  args: argparse.Namespace, name: str, data: split_data.SplitData
) -> None:
  """Refuses what the data set has no answer to."""
  spec = data.spec
  has_threshold = data.multi_label or spec.positive is not None
  if args.threshold_from_val and not has_threshold:
    raise InputError(
      f"--threshold-from-val: got it for {name!r}, which has no positive "
      "class; valid: without it"
    )
  if args.by_group and spec.group is None:
    raise InputError(
      f"--by-group: got it for {name!r}, of which no groups are known; valid: "
      "without it"
    )


def _measure(
  args: argparse.Namespace, run: reopen.SavedRun, data: split_data.SplitData
) -> _Result:
  """Evaluates the run as the arguments say."""
  recalibrated = 0
  if args.recalibrate is not None:
    run, recalibrated = run.with_batch_statistics(data, args.recalibrate)
  measure = functools.partial(
    assessment.assess,
    data,
    args.part,
    temperature=args.temperature_from_val,
    threshold=args.threshold_from_val,
    validation=bool(decision_arguments.targets(args)),
  )
  assessed = measure(functools.partial(run.predict, data))
  change = None
  if args.precision is not None:
    trained = assessed
    assessed = measure(
      functools.partial(
        predictor.predict_rows, run, data, precision=args.precision
      )
    )
    change = assessment.compare(trained, assessed)
  named = data.named_predictions(assessed.predictions)
  intervals, groups = {}, []
  if args.intervals:
    intervals = bootstrap.intervals(
      assessed.predictions,
      positive=data.spec.positive,
      groups=named.groups,
      predicted=assessed.predicted,
    )
  if args.by_group:
    groups = classification.accuracy_by_group(
      assessed.predictions, named.groups, predicted=assessed.predicted
    )
  val = None
  if assessed.val is not None and args.part != "val":
    val = data.named_predictions(assessed.val)
  decisions = decision_arguments.measure(args, val, named, assessed.predicted)
  labels = label_results.measure(
    named, assessed.predicted, intervals=args.intervals
  )
  return _Result(
    assessed, named, intervals, groups, change, recalibrated, decisions, labels
  )


def _as_json(
  args: argparse.Namespace,
  run: reopen.SavedRun,
  data: split_data.SplitData,
  result: _Result,
) -> dict[str, Any]:
  """Returns what `--json` prints: the metrics and their provenance."""
  recalibrated = {}
  if result.recalibrated:
    recalibrated["recalibrated_images"] = result.recalibrated
  values = {
    "workdir": str(run.path),
    "experiment": run.config.experiment,
    "step": run.step,
    "part": args.part,
    **{f"{k}_sha256": digest for k, digest in run.digests.items()},
    **recalibrated,
    **result.assessed.applied,
    **result.assessed.metrics,
  }
  if result.change is not None:
    values |= {
      "precision": args.precision,
      "as_trained": result.change.before,
      "difference": result.change.differences,
      **vars(result.change.agreement),
    }
  if args.intervals:
    values["resampled"] = data.spec.group or "image"
    values["intervals"] = {
      name: {"low": x.low, "high": x.high, "undefined": x.undefined}
      for name, x in result.intervals.items()
    }
  if args.by_group:
    values["groups"] = [
      {"group": group, "images": images, "accuracy": accuracy}
      for group, images, accuracy in result.groups
    ]
  values |= decision_arguments.as_json(args, result.decisions, result.named)
  values |= label_results.as_json(result.labels)
  return formatting.jsonable(values)


def _show(
  console: console_lib.Console,
  args: argparse.Namespace,
  run: reopen.SavedRun,
  data: split_data.SplitData,
  result: _Result,
) -> None:
  """Prints tables, and what a reader should know of them."""
  applied = result.assessed.applied
  if result.recalibrated:
    console.line(
      f"BatchNorm: statistics of batches of {result.recalibrated:,} training "
      "images"
    )
  if "temperature" in applied:
    console.line(f"Temperature: {applied['temperature']:.4g}, from val")
  if "threshold" in applied:
    console.line(
      f"Threshold: {data.classes[data.spec.positive]} from a probability of "
      f"{applied['threshold']:.4g} on, from val"
    )
  if "thresholds" in applied:
    values = label_results.thresholds(applied["thresholds"])
    console.line(f"Thresholds of the labels, from val: {values}")
  from_val = args.temperature_from_val or args.threshold_from_val
  if from_val and args.part == "val":
    console.line("Note: found on these very images, which flatters them.")
  _show_metrics(console, args, run, result)
  if args.intervals:
    what = data.spec.group or "image"
    console.line(f"low, high: 95 % intervals, {what}s resampled")
  label_results.show(console, result.labels)
  if args.by_group:
    kind = data.spec.group
    console.table(
      f"Least accurate of {len(result.groups)} {kind}s",
      (kind, "images", "label accuracy" if data.multi_label else "accuracy"),
      [
        (group, f"{images:,}", formatting.number(accuracy))
        for group, images, accuracy in result.groups[:_WORST]
      ],
    )
  decision_arguments.show(
    console, result.decisions, result.named, data.spec.group or "image"
  )
  if any(map(math.isnan, result.assessed.metrics.values())):
    console.line("- is a number that is not defined for these images.")


def _show_metrics(
  console: console_lib.Console,
  args: argparse.Namespace,
  run: reopen.SavedRun,
  result: _Result,
) -> None:
  """Prints the table of metrics, and what a precision changes."""
  scalars = result.assessed.metrics
  columns = {args.precision or args.part: scalars}
  if args.intervals:
    for end in ("low", "high"):
      columns[end] = {k: getattr(x, end) for k, x in result.intervals.items()}
  title, change = f"{run.config.experiment}, step {run.step}", result.change
  if change is not None:
    title += f", {args.part}"
    columns["as trained"] = change.before
  rows = []
  for name in scalars:
    show = "{:,.0f}".format if name == "count" else formatting.number
    cells = [show(x[name]) if name in x else "" for x in columns.values()]
    if change is not None:
      gap = change.differences.get(name)
      cells.append("" if gap is None else _signed(gap))
    rows.append((name.replace("_", " "), *cells))
  last = () if change is None else ("difference",)
  console.table(title, ("metric", *columns, *last), rows)
  if change is not None:
    count, alike = int(scalars["count"]), change.agreement
    console.line(
      f"as trained: in {run.config.model.dtype}, BatchNorm not folded. "
      f"{alike.changed_share:.2%} of {count:,} images get another class; "
      f"probabilities differ by {alike.largest_probability_difference:.1e} at "
      "most"
    )


def _signed(value: float) -> str:
  """Four decimals; '-' for an undefined number."""
  return f"{value:+.4f}" if math.isfinite(value) else "-"


main = functools.partial(program.run, "evaluate", _evaluate)

if __name__ == "__main__":
  sys.exit(main())
