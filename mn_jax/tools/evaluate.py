"""Metrics of a run: `python -m mn_jax.tools.evaluate --workdir=DIR`.

Any checkpoint on any part of the run's split, by the evaluation step of
training: as it is, or with statistics of batches (`--recalibrate`), a
temperature and a threshold that were found on the validation part. Nothing is
written but the file of `--output`. Exit codes: 0, or 2 for a mistake in what
was given.
"""

import argparse
import dataclasses
import json
import math
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

from mn_jax import restored, run_options, split_data
from mn_jax.data import datasets
from mn_jax.errors import InputError
from mn_jax.metrics import (
  bootstrap,
  by_group,
  calibration,
  classification,
  thresholds,
)
from mn_jax.metrics.predictions import Answers
from mn_jax.observe import console as console_lib
from mn_jax.observe import writers

# Groups that the table shows.
_WORST = 10


@dataclasses.dataclass(frozen=True)
class _Judged:
  """A part of a run's split, as it was asked for.

  Attributes:
    answers: with the temperature, if there is one.
    scalars: its metrics.
    applied: what was changed, by name: 'recalibrated_images', 'temperature',
      'threshold'.
    intervals: of the metrics but the count; empty unless they were asked for.
    groups: the least accurate first; empty unless they were asked for.
  """

  answers: Answers
  scalars: dict[str, float]
  applied: dict[str, float]
  intervals: dict[str, bootstrap.Interval]
  groups: list[by_group.Group]


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  return run_options.run_program("evaluate", _evaluate, argv)


def _parser() -> argparse.ArgumentParser:
  parser = run_options.parser(
    "evaluate",
    "Metrics of a checkpoint of a run on a part of its split: those of "
    "summary.json for its best checkpoint on val and test.",
  )
  run_options.add_part(parser, default="val")
  parser.add_argument("--json", action="store_true", help="print JSON")
  parser.add_argument(
    "--output",
    metavar="FILE.npz",
    help="write predictions, as in a run's folder `predictions`: ids (rows of "
    "the packed images), names, groups, labels, logits (after --recalibrate "
    "and --temperature-from-val), losses, classes",
  )
  parser.add_argument(
    "--intervals",
    action="store_true",
    help="95 %% intervals by resampling groups (images where none are known)",
  )
  parser.add_argument(
    "--by-group", action="store_true", help="accuracy of the worst groups"
  )
  parser.add_argument(
    "--recalibrate",
    metavar="N",
    type=int,
    help="BatchNorm's statistics from N training images, normalised by the "
    "batch as in training, instead of the running ones",
  )
  parser.add_argument(
    "--temperature-from-val",
    action="store_true",
    help="divide logits by the temperature that fits the validation part",
  )
  parser.add_argument(
    "--threshold-from-val",
    action="store_true",
    help="decide on the positive class by the threshold with the best balanced "
    "accuracy on the validation part",
  )
  return parser


def _evaluate(argv: Sequence[str] | None) -> None:
  args = _parser().parse_args(argv)
  output = None
  if args.output is not None:
    output = pathlib.Path(args.output).expanduser()
    run_options.output_folder(output.parent)
  if args.recalibrate is not None:
    run_options.at_least_one("recalibrate", args.recalibrate)
  run = run_options.open_run(args)
  _check(args, run.config.data.name)
  console = console_lib.Console(quiet=args.json)
  with console.counting("decoding", "images") as progress:
    data = run.data(progress)
  judged = _judge(args, run, data)
  if output is not None:
    judged.answers.write(output)
  if args.json:
    print(json.dumps(_as_json(args, run, data, judged), indent=2))
    return
  _show(console, args, run, data, judged)
  if output is not None:
    console.line(f"Predictions: {output}")


def _check(args: argparse.Namespace, name: str) -> None:
  """Refuses what the data set has no answer to.

  Raises:
    InputError: naming the option.
  """
  spec = datasets.get(name)
  if args.threshold_from_val and spec.positive is None:
    raise InputError(
      f"--threshold-from-val: got it for {name!r}, which has no positive "
      "class; valid: without it"
    )
  if args.by_group and spec.group is None:
    raise InputError(
      f"--by-group: got it for {name!r}, of which no groups are known; valid: "
      "without it"
    )


def _judge(
  args: argparse.Namespace,
  run: restored.Restored,
  data: split_data.SplitData,
) -> _Judged:
  """Predicts and measures, with all that was asked for.

  Raises:
    InputError: for a network or a part with which that cannot be done.
  """
  applied: dict[str, float] = {}
  if args.recalibrate is not None:
    run, count = run.with_batch_statistics(data, args.recalibrate)
    applied["recalibrated_images"] = count
  positive = data.spec.positive
  predictions = run.predict(data, data.part(args.part))
  val = predictions
  asked = args.temperature_from_val or args.threshold_from_val
  if asked and args.part != "val":
    val = run.predict(data, data.part("val"))
  if args.temperature_from_val:
    temperature = calibration.fit_temperature(val)
    if math.isnan(temperature):
      raise InputError(
        "--temperature-from-val: got logits that are not finite; valid: a "
        "checkpoint that has not diverged"
      )
    applied["temperature"] = temperature
    predictions, val = (
      calibration.scale(x, temperature) for x in (predictions, val)
    )
  found = None
  if args.threshold_from_val:
    threshold = thresholds.best_balanced_accuracy(val, positive=positive)
    applied["threshold"] = threshold
    found = thresholds.decide(predictions, threshold, positive=positive)
  answers = data.answers(predictions)
  intervals, groups = {}, []
  if args.intervals:
    intervals = bootstrap.intervals(
      predictions, positive=positive, groups=answers.groups, found=found
    )
  if args.by_group:
    groups = by_group.by_group(predictions, answers.groups, found=found)
  return _Judged(
    answers=answers,
    scalars=classification.summarize(
      predictions, positive=positive, found=found
    ),
    applied=applied,
    intervals=intervals,
    groups=groups,
  )


def _as_json(
  args: argparse.Namespace,
  run: restored.Restored,
  data: split_data.SplitData,
  judged: _Judged,
) -> dict[str, Any]:
  """What is printed: the metrics beside what they are of."""
  values = {
    "workdir": str(run.path),
    "experiment": run.config.experiment,
    "step": run.step,
    "part": args.part,
    **{f"{k}_sha256": digest for k, digest in run.digests.items()},
    **judged.applied,
    **writers.jsonable(judged.scalars),
  }
  if args.intervals:
    values["resampled"] = data.spec.group or "image"
    values["intervals"] = {
      name: writers.jsonable(
        {"low": x.low, "high": x.high, "undefined": x.undefined}
      )
      for name, x in judged.intervals.items()
    }
  if args.by_group:
    values["groups"] = [
      writers.jsonable(
        {"group": x.name, "images": x.images, "accuracy": x.accuracy}
      )
      for x in judged.groups
    ]
  return values


def _show(
  console: console_lib.Console,
  args: argparse.Namespace,
  run: restored.Restored,
  data: split_data.SplitData,
  judged: _Judged,
) -> None:
  """Prints tables, and what a reader should know of them."""
  applied = judged.applied
  if "recalibrated_images" in applied:
    console.line(
      "BatchNorm: statistics of batches of "
      f"{applied['recalibrated_images']:,} training images"
    )
  if "temperature" in applied:
    console.line(f"Temperature: {applied['temperature']:.4g}, from val")
  if "threshold" in applied:
    console.line(
      f"Threshold: {data.classes[data.spec.positive]} from a probability of "
      f"{applied['threshold']:.4g} on, from val"
    )
  from_val = args.temperature_from_val or args.threshold_from_val
  if from_val and args.part == "val":
    console.line("Note: found on these very images, which flatters them.")
  rows = []
  for name, value in judged.scalars.items():
    shown = f"{value:,.0f}" if name == "count" else console_lib.number(value)
    ends = ()
    if args.intervals:
      interval = judged.intervals.get(name)
      ends = ("", "")
      if interval is not None:
        ends = tuple(map(console_lib.number, (interval.low, interval.high)))
    rows.append((name.replace("_", " "), shown, *ends))
  console.table(
    f"{run.config.experiment}, step {run.step}",
    ("metric", args.part, *(("low", "high") if args.intervals else ())),
    rows,
  )
  if args.intervals:
    what = data.spec.group or "image"
    console.line(f"low, high: 95 % intervals, {what}s resampled")
  if args.by_group:
    kind = data.spec.group
    console.table(
      f"Least accurate of {len(judged.groups)} {kind}s",
      (kind, "images", "accuracy"),
      [
        (x.name, f"{x.images:,}", console_lib.number(x.accuracy))
        for x in judged.groups[:_WORST]
      ],
    )
  if any(map(math.isnan, judged.scalars.values())):
    console.line("- is a number that is not defined for these images.")


if __name__ == "__main__":
  sys.exit(main())
