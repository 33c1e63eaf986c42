"""The arguments of `mn_jax.tools.scaling`."""

import argparse
import math
from collections.abc import Callable, Sequence

from mn_jax.parallel import accelerators
from mn_jax.perf.scaling import points


def add_verbs(parser: argparse.ArgumentParser) -> None:
  """Adds measure, plan and report to the program's parser, as `verb`."""
  verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
  _add_measure(
    verbs.add_parser(
      "measure",
      help="weak and strong scaling on the devices of this machine",
      description="Measure weak and strong scaling on the devices of this "
      "machine: the first of its accelerators, or its CPU split into as many. "
      "Every point is measured in fresh processes and kept; the same command "
      "goes on where it was stopped.",
      allow_abbrev=False,
    )
  )
  _add_plan(
    verbs.add_parser(
      "plan",
      help="what slices of accelerators would give, without one",
      description="Compile the training step for accelerators that are not "
      "here, find the batch that fits, and predict time and cost from "
      "published rates.",
      allow_abbrev=False,
    )
  )
  _add_report(
    verbs.add_parser(
      "report",
      help="tables and plots of both, as a page and as Markdown",
      description="Write a page about measurements and plans: speed-up, "
      "efficiency, time and cost to train, predictions beside measurements.",
      allow_abbrev=False,
    )
  )


def _add_config(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "--config",
    metavar="FILE[:ARG]",
    required=True,
    help="experiment; its fields are changed as those of training, by "
    "--config.SECTION.FIELD=VALUE",
  )


def _add_measure(parser: argparse.ArgumentParser) -> None:
  _add_config(parser)
  parser.add_argument(
    "--devices",
    metavar="N,...",
    type=counts,
    required=True,
    help="counts of devices, such as 1,2,4 or 1-8 (powers of two)",
  )
  parser.add_argument(
    "--processes",
    metavar="N,...",
    type=counts,
    default=(1,),
    help="counts of processes, each with the counts of devices that it divides "
    "(default: 1)",
  )
  parser.add_argument(
    "--scaling",
    metavar="NAME,...",
    type=_some(points.SCALINGS),
    default=points.SCALINGS,
    help="weak: fixed batch per device; strong: fixed batch over all devices "
    "(default: both)",
  )
  parser.add_argument(
    "--input",
    metavar="NAME,...",
    type=_some(points.INPUTS),
    default=points.INPUTS,
    help="synthetic: one random batch kept on the devices; cached: the data "
    "set lives on the devices; real: every batch is gathered from the decoded "
    "images and sent (default: all)",
  )
  parser.add_argument(
    "--batch_per_device",
    metavar="N",
    type=_count,
    help="of weak scaling (default: the config's train.batch_size)",
  )
  parser.add_argument(
    "--global_batch",
    metavar="N",
    type=_count,
    help="of strong scaling (default: the config's train.batch_size)",
  )
  parser.add_argument(
    "--steps",
    metavar="N",
    type=_count,
    default=30,
    help="timed steps of a point; batches are gathered ahead, so that few "
    "steps hide waiting for data (default: 30)",
  )
  parser.add_argument(
    "--repeats",
    metavar="N",
    type=_count,
    default=3,
    help="measurements of every point (default: 3)",
  )
  parser.add_argument(
    "--timeout",
    metavar="SECONDS",
    type=_count,
    default=1800,
    help="after which a point is given up (default: 1800)",
  )
  parser.add_argument(
    "--output", metavar="FOLDER", required=True, help="of the points"
  )


def _add_plan(parser: argparse.ArgumentParser) -> None:
  _add_config(parser)
  names = tuple(accelerators.ACCELERATORS)
  parser.add_argument(
    "--chips",
    metavar="NAME,...",
    type=_some(names),
    required=True,
    help=f"one or more of {', '.join(names)}",
  )
  parser.add_argument(
    "--counts",
    metavar="N,...",
    type=counts,
    required=True,
    help="of chips, such as 1,4,16 or 1-256 (powers of two)",
  )
  parser.add_argument(
    "--batch_per_chip",
    metavar="N|largest",
    type=_batch,
    help="of weak scaling: images per step, or the most that fit (default: "
    "largest)",
  )
  parser.add_argument(
    "--scaling",
    choices=points.SCALINGS,
    default="weak",
    help="strong divides the config's train.batch_size (default: weak)",
  )
  parser.add_argument(
    "--compile_counts",
    metavar="N,...",
    type=counts,
    help="weak scaling: those of --counts whose programs are compiled; the "
    "others take that of the nearest (default: all)",
  )
  parser.add_argument(
    "--output", metavar="FOLDER", required=True, help="of plan.json"
  )


def _add_report(parser: argparse.ArgumentParser) -> None:
  parser.add_argument(
    "folders",
    metavar="FOLDER",
    nargs="+",
    help="of measure or plan, any mix of them",
  )
  parser.add_argument(
    "--output",
    metavar="FOLDER",
    help="for the page (default: report in the first FOLDER)",
  )
  parser.add_argument(
    "--markdown",
    metavar="FILE.md",
    help="write this too, with its plots in a folder beside it",
  )
  parser.add_argument(
    "--price",
    metavar="CHIP=USD",
    action="append",
    default=[],
    type=_price,
    help="per hour of one chip; may be given for several chips",
  )


def _count(text: str) -> int:
  if not text.isdecimal() or int(text) < 1:
    raise argparse.ArgumentTypeError(f"got {text!r}; valid: 1 or more")
  return int(text)


def counts(text: str) -> tuple[int, ...]:
  """'1,2,4', or '1-8' for the powers of two from 1 to 8; rising."""
  found = set()
  for part in text.split(","):
    low, dash, high = part.partition("-")
    first, last = _count(low), _count(high if dash else low)
    count = first
    while count <= last:
      found.add(count)
      count *= 2
  if not found:
    raise argparse.ArgumentTypeError(f"got {text!r}; valid: 1,2,4 or 1-8")
  return tuple(sorted(found))


def _some(valid: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
  """A reader of names that are separated by commas, each of which is valid."""

  def read(text: str) -> tuple[str, ...]:
    names = text.split(",")
    for name in names:
      if name not in valid:
        raise argparse.ArgumentTypeError(
          f"got {name!r}; valid: {', '.join(valid)}"
        )
    return tuple(dict.fromkeys(names))

  return read


def _batch(text: str) -> int | None:
  return None if text == "largest" else _count(text)


def _price(text: str) -> tuple[str, float]:
  chip, _, price = text.rpartition("=")
  try:
    usd = float(price)
  except ValueError:
    usd = -1.0
  if not chip or not 0 <= usd < math.inf:
    raise argparse.ArgumentTypeError(
      f"got {text!r}; valid: CHIP=USD, such as v5e=1.20"
    )
  return chip, usd
