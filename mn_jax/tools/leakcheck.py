"""Looks for leaks of a split: `python -m mn_jax.tools.leakcheck --config=FILE`.

Takes the same config and overrides as training, and compares the parts of the
same split: groups that are in two of them, images of equal pixels, and images
that nearly are (by perceptual hash). Exit codes: 0 none was found, 1 some were,
2 for a mistake in what was given.
"""

import itertools
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from mn_jax.commandline import flags as commandline
from mn_jax.config import checks
from mn_jax.data import duplicates, splits
from mn_jax.data.datasets.listing import PARTS
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.run import split_data

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "experiment file with an optional argument: FILE.py[:sample]"
)
_MAX_DISTANCE = flags.DEFINE_integer(
  "max_distance",
  6,
  "bits, of 64, in which hashes of near duplicates differ at most",
  lower_bound=0,
  upper_bound=32,
)
_MIN_CORRELATION = flags.DEFINE_float(
  "min_correlation",
  0.97,
  "correlation that thumbnails of near duplicates have at least",
  lower_bound=-1,
  upper_bound=1,
)
_SHOWN = flags.DEFINE_integer(
  "shown", 5, "examples of each kind that are named", lower_bound=0
)
_JSON = flags.DEFINE_bool("json", False, "print JSON, with all pairs by name")

KINDS = ("groups", "exact", "near")


def check(
  data: split_data.SplitData,
  *,
  max_distance: int,
  min_correlation: float,
  console: Console,
) -> list[dict[str, Any]]:
  """Compares each part with each other one.

  Args:
    data: the split.
    max_distance, min_correlation: see `duplicates.similar_pairs`.
    console: shows progress.

  Returns:
    For each two parts, 'parts' with their names and for each of KINDS what they
    share: 'groups' is a list of names, 'exact' and 'near' of pairs of names.
  """
  prints = {}
  for part in PARTS:
    with console.counting(f"hashing {part}", "images") as progress:
      prints[part] = duplicates.fingerprints(
        data.cache.images, data.part(part), progress
      )
  found = []
  for one, other in itertools.combinations(PARTS, 2):
    parts = {part: data.part(part) for part in (one, other)}
    groups = []
    if data.spec.group is not None:
      groups = splits.leaks(parts, data.cache.groups)
    with console.counting(f"comparing {one} and {other}", "images") as progress:
      alike = duplicates.similar_pairs(
        prints[one],
        prints[other],
        max_distance=max_distance,
        min_correlation=min_correlation,
        progress=progress,
      )
    pairs = {
      "exact": duplicates.equal_pairs(prints[one], prints[other]),
      "near": alike,
    }
    found.append(
      {
        "parts": [one, other],
        "groups": groups,
        **{
          kind: _names(data, one, other, rows) for kind, rows in pairs.items()
        },
      }
    )
  return found


def main(argv: Sequence[str]) -> int:
  """Prints what the parts share; returns the exit code."""
  if len(argv) > 1:
    raise InputError(f"got {argv[1]!r}; valid: flags of the form --name=value")
  config = checks.from_config_dict(_CONFIG.value)
  console = Console(quiet=_JSON.value)
  with console.counting("decoding", "images") as progress:
    data = split_data.load(config.data, progress)
  found = check(
    data,
    max_distance=_MAX_DISTANCE.value,
    min_correlation=_MIN_CORRELATION.value,
    console=console,
  )
  leaking = any(pair[kind] for pair in found for kind in KINDS)
  if _JSON.value:
    print(
      json.dumps(
        {
          "data": config.data.name,
          "split": config.data.split,
          "split_sha256": data.split.sha256,
          "max_distance": _MAX_DISTANCE.value,
          "min_correlation": _MIN_CORRELATION.value,
          "leaking": leaking,
          "found": found,
        },
        indent=1,
      )
    )
    return int(leaking)
  group = data.spec.group or "group"
  console.table(
    f"{config.data.name}, {config.data.split} split {data.split.sha256[:16]}",
    ("parts", f"{group}s in both", "equal images", "near duplicates"),
    [
      (
        " and ".join(pair["parts"]),
        *(f"{len(pair[kind]):,}" for kind in KINDS),
      )
      for pair in found
    ],
  )
  if data.spec.group is None:
    console.line("Nothing is known of which images belong together.")
  for pair, kind in itertools.product(found, KINDS):
    for leak in pair[kind][: _SHOWN.value]:
      shown = leak if kind == "groups" else " = ".join(leak)
      console.line(f"{' and '.join(pair['parts'])}, {kind}: {shown}")
  console.line(
    "Leaks were found." if leaking else "No part shares anything with another."
  )
  return int(leaking)


def _names(
  data: split_data.SplitData, one: str, other: str, pairs: np.ndarray
) -> list[list[str]]:
  """Names of pairs of positions, i64[k, 2], in two parts."""
  names = data.cache.names
  first, second = data.part(one)[pairs[:, 0]], data.part(other)[pairs[:, 1]]
  return [
    list(pair)
    for pair in zip(names[first].tolist(), names[second].tolist(), strict=True)
  ]


def _run(argv: Sequence[str]) -> None:
  try:
    sys.exit(main(argv))
  except InputError as error:
    commandline.report(error)
    sys.exit(2)


if __name__ == "__main__":
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  logging.set_verbosity(logging.WARNING)
  app.run(_run, flags_parser=commandline.parse)
