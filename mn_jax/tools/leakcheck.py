"""Looks for leaks in a split: `python -m mn_jax.tools.leakcheck --config=NAME`.

Takes the config and overrides of training, and compares the parts of the same
split: groups in two of them, images of equal pixels, and near duplicates by
perceptual hash. `--appearance` says whether the test looks like training, and
which statistics, such as sharpness, tell two classes apart: networks learn them
too. Exit codes: 0 no leaks, 1 leaks, 2 a wrong argument.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command, number
from mn_jax.config import Config, files
from mn_jax.data import duplicates, groups, splits, suspected_groups
from mn_jax.data.datasets.listing import PARTS
from mn_jax.errors import InputError
from mn_jax.metrics import appearance
from mn_jax.observe.console import Console
from mn_jax.observe.formatting import jsonable
from mn_jax.observe.formatting import number as formatted
from mn_jax.run import split_data

_KINDS = ("groups", "exact", "near")
_MOST_TELLING = 2  # statistics that the terminal names


def _find_leaks(
  data: split_data.SplitData, args: argparse.Namespace, console: Console
) -> tuple[list[dict[str, Any]], int]:
  """Returns for each two parts their names, and what they share by kind.

  Of 'groups' that is a list of names, of 'exact' and 'near' of pairs of names.
  Second: how many images have too little contrast to be near duplicates.
  """
  fingerprints = {}
  for part in PARTS:
    with console.counting(f"hashing {part}", "images") as progress:
      fingerprints[part] = duplicates.fingerprints(
        data.cache.images, data.part(part), progress
      )
  leaks = []
  names = data.cache.names
  for one, other in itertools.combinations(PARTS, 2):
    rows, other_rows = data.part(one), data.part(other)
    shared = []
    if data.spec.group is not None:
      shared = splits.leaks({one: rows, other: other_rows}, data.cache.groups)
    with console.counting(f"comparing {one} and {other}", "images") as progress:
      similar = duplicates.similar_pairs(
        fingerprints[one],
        fingerprints[other],
        max_distance=args.max_distance,
        min_correlation=args.min_correlation,
        progress=progress,
      )
    equal = duplicates.equal_pairs(fingerprints[one], fingerprints[other])
    exact, near = (
      np.stack(
        [names[rows[pairs[:, 0]]], names[other_rows[pairs[:, 1]]]], axis=1
      ).tolist()
      for pairs in (equal, similar)
    )
    leaks.append(
      {"parts": [one, other], "groups": shared, "exact": exact, "near": near}
    )
  blank = sum(int(prints.blank.sum()) for prints in fingerprints.values())
  return leaks, blank


def _compare_appearance(
  data: split_data.SplitData, console: Console
) -> list[dict[str, Any]]:
  """Measures how well statistics of images tell parts and classes apart.

  Returns:
    'what' is compared, and the fields of `appearance.Separation`: for every
    class its training images with those of the test; of two classes, one with
    the other in each of both parts.
  """
  rows = {part: data.part(part) for part in ("train", "test")}
  values = {}
  for part in rows:
    with console.counting(f"measuring {part}", "images") as progress:
      values[part] = appearance.measure(data.cache.images, rows[part], progress)

  def of_class(part: str, label: int) -> tuple[np.ndarray, np.ndarray]:
    chosen = data.cache.labels[rows[part]] == label
    return values[part][chosen], data.cache.groups[rows[part]][chosen]

  pairs = [
    (f"{name}: train, test", ("train", label), ("test", label))
    for label, name in enumerate(data.classes)
  ]
  if len(data.classes) == 2:
    both = ", ".join(data.classes)
    pairs += [(f"{part}: {both}", (part, 0), (part, 1)) for part in rows]
  found = []
  for what, *sides in pairs:
    (one, its), (other, others) = (of_class(*side) for side in sides)
    if len(one) and len(other):
      separation = appearance.separate(
        one, other, np.concatenate([its, others])
      )
      found.append({"what": what, **vars(separation)})
  return found


def _suspect(data: split_data.SplitData) -> list[dict[str, Any]]:
  """Returns groups that names suggest, where none are known.

  Of each its `data.group_pattern`, the numbers of groups and of images in them,
  and the groups that lie in more than one part of the split.
  """
  if data.spec.group is not None:
    return []
  names = data.cache.names
  suspected = []
  for suggestion in suspected_groups.suggest(names, data.cache.labels):
    found, _ = groups.by_pattern(suggestion.pattern, names)
    suspected.append(
      {
        "pattern": suggestion.pattern,
        "groups": suggestion.groups,
        "images": suggestion.images,
        "in_several_parts": splits.leaks(data.split.parts, found),
      }
    )
  return suspected


def _parser() -> Parser:
  parser = Parser(
    command("leakcheck"),
    description="Look for groups and images that parts of a split share.",
    example="--config=idc_v1:sample",
  )
  parser.add_config()
  parser.option(
    "--max-distance",
    "BITS",
    "near duplicates: largest Hamming distance of the 64-bit perceptual hashes",
    type=number(int, 0, 32),
    default=duplicates.MAX_DISTANCE,
  )
  parser.option(
    "--min-correlation",
    "R",
    "near duplicates: smallest correlation of the thumbnails",
    type=number(float, -1, 1),
    default=duplicates.MIN_CORRELATION,
  )
  parser.option(
    "--shown",
    "COUNT",
    "examples of each kind that are named",
    type=number(int, 0),
    default=5,
  )
  parser.flag(
    "--appearance",
    "whether the test looks like training: AUROCs of brightness, contrast, "
    "sharpness and others",
  )
  parser.flag("--json", "print JSON, with all pairs by name")
  parser.add_overrides()
  return parser


def _leakcheck(argv: Sequence[str] | None) -> int:
  """Prints what the parts share; returns 1 if there is anything."""
  args = _parser().parse(argv)
  config = files.load_config(args.config, args.overrides)
  console = Console(quiet=args.json)
  with console.counting("decoding", "images") as progress:
    data = split_data.load(config.data, progress)
  leaks, blank = _find_leaks(data, args, console)
  leaking = any(pair[kind] for pair in leaks for kind in _KINDS)
  suspected = _suspect(data)
  looks = []
  if args.appearance:
    if data.multi_label:
      raise InputError(
        "--appearance: got it for images with several labels; valid: without it"
      )
    looks = _compare_appearance(data, console)
  if args.json:
    report = {
      "data": config.data.name,
      "split": data.kind,
      "split_sha256": data.split.sha256,
      "max_distance": args.max_distance,
      "min_correlation": args.min_correlation,
      "notes": data.notes(),
      "blank": blank,
      "leaking": leaking,
      "found": leaks,
      "suspected_groups": suspected,
      "appearance": jsonable(looks),
    }
    print(json.dumps(report, indent=1))
  else:
    for note in data.notes():
      console.line(f"Note: {note}")
    if blank:
      total = sum(len(data.part(part)) for part in PARTS)
      console.line(f"Note: {duplicates.blank_note(blank, total)}")
    _show(console, args, config, data, leaks)
    _show_suspected(console, data, suspected)
    _show_appearance(console, looks)
    console.line(
      "Leaks were found."
      if leaking
      else "No known group, equal image or near duplicate is in several parts."
    )
  return int(leaking)


def _show(
  console: Console,
  args: argparse.Namespace,
  config: Config,
  data: split_data.SplitData,
  leaks: Sequence[dict[str, Any]],
) -> None:
  """Prints a table of what the parts share, and examples."""
  group = data.spec.group or "group"
  console.table(
    f"{config.data.name}, {data.kind} split {data.split.sha256[:16]}",
    ("parts", f"{group}s in both", "equal images", "near duplicates"),
    [
      (
        " and ".join(pair["parts"]),
        *(f"{len(pair[kind]):,}" for kind in _KINDS),
      )
      for pair in leaks
    ],
  )
  for pair, kind in itertools.product(leaks, _KINDS):
    for leak in pair[kind][: args.shown]:
      shown = leak if kind == "groups" else " = ".join(leak)
      console.line(f"{' and '.join(pair['parts'])}, {kind}: {shown}")


def _show_appearance(console: Console, looks: Sequence[dict[str, Any]]) -> None:
  """Prints a row for each comparison of two sets of images."""
  if not looks:
    return
  console.table(
    "AUROCs of simple statistics; 0.5: they tell nothing",
    ("images", "all together", "most telling alone"),
    [
      (pair["what"], formatted(pair["together"]), _most_telling(pair["single"]))
      for pair in looks
    ],
  )


def _most_telling(single: Mapping[str, float]) -> str:
  """Names the statistics whose AUROCs are farthest from a half."""
  ranked = sorted(single, key=lambda name: -abs(single[name] - 0.5))
  return ", ".join(
    f"{name} {formatted(single[name])}" for name in ranked[:_MOST_TELLING]
  )


def _show_suspected(
  console: Console,
  data: split_data.SplitData,
  suspected: Sequence[dict[str, Any]],
) -> None:
  """Says that no groups are known, and prints those that names suggest."""
  if data.spec.group is not None:
    return
  console.line("Nothing is known of which images belong together.")
  if not suspected:
    console.line("Their names suggest no groups either.")
    return
  console.table(
    "groups that the names suggest",
    ("data.group_pattern", "groups", "images", "in several parts"),
    [
      (
        guess["pattern"],
        f"{guess['groups']:,}",
        f"{guess['images']:,}",
        f"{len(guess['in_several_parts']):,}",
      )
      for guess in suspected
    ],
  )


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  return program.run("leakcheck", _leakcheck, argv)


if __name__ == "__main__":
  sys.exit(main())
