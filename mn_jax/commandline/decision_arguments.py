"""Options about decisions: operating points and metrics by attribute."""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np

from mn_jax.commandline.parser import Parser, number
from mn_jax.errors import InputError
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.by_attribute import AttributeMetrics
from mn_jax.metrics.operating_point import (
  OWN_ROC,
  SENSITIVITY,
  SPECIFICITY,
  VALIDATION,
  OperatingPoint,
  Target,
)
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import metric_name
from mn_jax.report import decisions
from mn_jax.report.decisions import Decisions

_RESAMPLES = 2000
_SOURCES = {VALIDATION: "on validation", OWN_ROC: "own ROC"}


def add(parser: Parser) -> None:
  """Adds `--at-specificity`, `--at-sensitivity` and `--by-attribute`."""
  for fixed, read in ((SPECIFICITY, SENSITIVITY), (SENSITIVITY, SPECIFICITY)):
    parser.add_argument(
      f"--at-{fixed}",
      metavar="SHARES",
      type=_shares(fixed),
      default=(),
      help=f"{read} at a {fixed}, such as 0.9, or at several, as 0.9,0.95: by "
      "the threshold that validation chooses, and off the images' own ROC",
    )
  parser.add_argument(
    "--by-attribute",
    metavar="NAME",
    action="append",
    default=[],
    help="metrics of every value of an attribute, a column of the table that "
    "data.attributes names; may be repeated",
  )


def targets(args: argparse.Namespace) -> tuple[Target, ...]:
  """Returns the operating points that arguments ask for."""
  return (*args.at_specificity, *args.at_sensitivity)


def measure(
  args: argparse.Namespace,
  val: NamedPredictions | None,
  test: NamedPredictions,
  predicted: np.ndarray | None,
) -> Decisions:
  """Measures what the options ask for.

  Args:
    args: of the program.
    val: predictions for the validation part; None if the test is that.
    test: predictions for the evaluated images.
    predicted: predicted classes by a threshold; None: the likeliest.

  Raises:
    InputError: for an attribute that the images do not have.
  """
  if not (targets(args) or args.by_attribute):
    return Decisions()
  return decisions.measure(
    val,
    test,
    resamples=_RESAMPLES,
    targets=targets(args),
    attributes=args.by_attribute,
    predicted=predicted,
  )


def show(
  console: Console, found: Decisions, test: NamedPredictions, unit: str
) -> None:
  """Prints tables that fit 80 columns, and what a reader should know of them.

  Args:
    console: to print on.
    found: what was measured.
    test: predictions for the evaluated images.
    unit: that was resampled, such as 'patient' or 'image'.
  """
  for k, points in found.points.items():
    against = "" if test.positive is not None else " against the rest"
    console.table(
      f"Operating points of {test.classes[k]}{against}",
      ("at least", "threshold", "sensitivity", "specificity"),
      [_point_row(point) for point in points],
      text_columns=4,
    )
    for note in dict.fromkeys(x.note for x in points if x.note):
      console.line(f"- is undefined: {note}")
  if found.points:
    console.line(
      f"Below each value its 95 % interval, {unit}s resampled. A threshold "
      "that validation chose is what new images get; one read off the images' "
      "own ROC was chosen on these very images, which flatters it."
    )
  for attribute in found.attributes:
    _show_attribute(console, attribute, unit)


def _point_row(point: OperatingPoint) -> tuple[str, ...]:
  wanted = f"{point.target.fixed} {point.target.value:g}"
  return (
    f"{wanted}, {_SOURCES[point.source]}",
    decisions.threshold(point),
    _on_two_lines(point.sensitivity),
    _on_two_lines(point.specificity),
  )


def _on_two_lines(found: Interval) -> str:
  text = formatting.number(found.value)
  ends = formatting.interval(*formatting.jsonable([found.low, found.high]))
  return text if ends == formatting.UNDEFINED else f"{text}\n{ends}"


def _show_attribute(
  console: Console, found: AttributeMetrics, unit: str
) -> None:
  rows = []
  for subset in found.subsets:
    start = (subset.value, f"{subset.images:,}")
    for name, interval in subset.metrics.items():
      rows.append(
        (
          *start,
          metric_name(name),
          *map(
            formatting.number, (interval.value, interval.low, interval.high)
          ),
        )
      )
      start = ("", "")
  columns = (found.name, "images", "metric", "value", "low", "high")
  console.table(f"By {found.name}", columns, rows)
  for subset in found.subsets:
    if subset.flags:
      console.line(f"Small: {subset.value}, {', '.join(subset.flags)}")
  console.line(f"low, high: 95 % intervals, {unit}s of each value resampled")
  if found.note:
    console.line(f"{found.name}: {found.note}")
  if found.shared_groups:
    console.line(
      f"{found.shared_groups:,} {unit}s have images of several values"
    )


def as_json(
  args: argparse.Namespace, found: Decisions, test: NamedPredictions
) -> dict[str, Any]:
  """Returns what was asked for as values; empty if that is nothing."""
  numbers = found.numbers(test.classes)
  wanted = {
    "operating_points": bool(targets(args)),
    "by_attribute": bool(args.by_attribute),
  }
  return {name: numbers[name] for name, asked in wanted.items() if asked}


def _shares(fixed: str) -> Callable[[str], tuple[Target, ...]]:
  read = number(float, 0, 1)

  def targets_of(text: str) -> tuple[Target, ...]:
    try:
      return tuple(Target(fixed, read(word)) for word in text.split(","))
    except InputError as error:
      raise argparse.ArgumentTypeError(str(error)) from None

  return targets_of
