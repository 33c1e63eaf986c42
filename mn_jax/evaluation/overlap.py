"""Finds new images that a run was trained with, or selected by.

Metrics of such images promise more than the network keeps. An image counts if
its pixels are equal to those of an image of training or validation, if it is a
near duplicate of one (`data.duplicates`), or if it is of the same group. Names
alone mean little where pixels can be compared, so they decide only where the
run's own images are gone.
"""

import dataclasses
import pathlib
from typing import Any

import numpy as np

from mn_jax.data import duplicates
from mn_jax.errors import InputError
from mn_jax.metrics import predictions
from mn_jax.observe.console import Console
from mn_jax.run import records
from mn_jax.run.reopen import SavedRun
from mn_jax.run.split_data import SplitData

# Of the run's images, fingerprinted at once.
_CHUNK = 8192
_EXAMPLES = 5  # pairs that are named, of each kind


@dataclasses.dataclass(frozen=True)
class Overlap:
  """The new images that a run knows.

  Attributes:
    workdir: of the run.
    parts: of its split that were compared.
    equal: bool[n], equal pixels, as packed.
    similar: bool[n], near duplicates with other pixels.
    same_group: bool[n], of a group of these parts.
    same_name: bool[n], called as an image of these parts.
    groups: names of the groups in both.
    pairs: (new image, image of the run) of some equal or similar ones.
    problem: why pixels could not be compared, or ''.
    groups_known: whether both the run and the new images have groups.
  """

  workdir: pathlib.Path
  parts: tuple[str, ...]
  equal: np.ndarray
  similar: np.ndarray
  same_group: np.ndarray
  same_name: np.ndarray
  groups: tuple[str, ...]
  pairs: tuple[tuple[str, str], ...]
  problem: str
  groups_known: bool

  def known(self) -> np.ndarray:
    """Returns bool[n], the images that metrics should not be taken from."""
    known = self.equal | self.similar | self.same_group
    return known | self.same_name if self.problem else known

  def numbers(self) -> dict[str, Any]:
    """Returns the numbers of images, and names, as JSON can hold them."""
    masks = ("equal", "similar", "same_group", "same_name")
    return {
      "workdir": str(self.workdir),
      "parts": self.parts,
      "images": int(self.known().sum()),
      **{name: int(getattr(self, name).sum()) for name in masks},
      "groups": self.groups,
      "pairs": self.pairs,
      "problem": self.problem,
      "groups_known": self.groups_known,
    }


@dataclasses.dataclass(frozen=True)
class Pixels:
  """Pairs of images that are equal or alike.

  Attributes:
    equal: i64[k, 2], rows of the run's images and of the new ones.
    similar: i64[m, 2], near duplicates with other pixels.
  """

  equal: np.ndarray
  similar: np.ndarray


def compare_pixels(own: SplitData, new: SplitData, console: Console) -> Pixels:
  """Compares all images of a run's data set with new images.

  Args:
    own: of the run.
    new: read by the rules of the run.
    console: shows the progress.
  """
  ours_rows, rows = new.part("new"), np.arange(len(own.cache))
  with console.counting("hashing new images", "images") as progress:
    ours = duplicates.fingerprints(new.cache.images, ours_rows, progress)
  equal, similar = [], []
  with console.counting("comparing with the run's", "images") as progress:
    for start in range(0, len(rows), _CHUNK):
      chunk = rows[start : start + _CHUNK]
      theirs = duplicates.fingerprints(own.cache.images, chunk)
      alike = duplicates.similar_pairs(
        theirs,
        ours,
        max_distance=duplicates.MAX_DISTANCE,
        min_correlation=duplicates.MIN_CORRELATION,
      )
      for found, pairs in (
        (equal, duplicates.equal_pairs(theirs, ours)),
        (similar, alike),
      ):
        found.append(
          np.stack([chunk[pairs[:, 0]], ours_rows[pairs[:, 1]]], axis=1)
        )
      progress(start + len(chunk), len(rows))
  return Pixels(np.concatenate(equal), np.concatenate(similar))


def find(
  run: SavedRun,
  own: SplitData | None,
  pixels: Pixels | None,
  new: SplitData,
  problem: str,
) -> Overlap:
  """Finds the new images that a run knows.

  Args:
    run: trained with its own images.
    own: the run's data set; None where it is gone.
    pixels: pairs of its images and the new ones; None where it is gone.
    new: n images, read by the rules of the run.
    problem: why it is gone, or ''.
  """
  # A checkpoint that was selected on the test knows the test.
  chosen_on = {"val", run.config.eval.part}
  parts = ("train", *(x for x in ("val", "test") if x in chosen_on))
  names, groups = _known_names(run, own, parts)
  rows = new.part("new")
  of_new = new.cache.groups[rows]
  known = groups is not None and new.spec.group is not None
  same_group = np.isin(of_new, groups) if known else np.zeros(len(rows), bool)
  equal = similar = np.zeros(len(rows), bool)
  examples: list[tuple[str, str]] = []
  if own is not None and pixels is not None:
    of_parts = np.concatenate([own.part(part) for part in parts])
    kinds = []
    for pairs in (pixels.equal, pixels.similar):
      found = pairs[np.isin(pairs[:, 0], of_parts)]
      kinds.append(np.isin(rows, found[:, 1]))
      _, first = np.unique(found[:, 1], return_index=True)
      examples += [
        (str(new.cache.names[b]), str(own.cache.names[a]))
        for a, b in found[first[:_EXAMPLES]].tolist()
      ]
    equal, similar = kinds[0], kinds[1] & ~kinds[0]
  return Overlap(
    workdir=run.path,
    parts=parts,
    equal=equal,
    similar=similar,
    same_group=same_group,
    same_name=np.isin(new.cache.names[rows], names),
    groups=tuple(np.unique(of_new[same_group]).tolist()),
    pairs=tuple(examples),
    problem=problem,
    groups_known=known,
  )


def _known_names(
  run: SavedRun, own: SplitData | None, parts: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray | None]:
  """Returns names of images, and of groups; None where groups are unknown.

  Where the data set is gone, they are those that the run wrote down. Names are
  then those of validation alone, unless each image is a group of its own.
  """
  if own is not None:
    rows = np.concatenate([own.part(part) for part in parts])
    known = own.spec.group is not None
    groups = own.cache.groups[rows] if known else None
    return own.cache.names[rows], groups
  split = records.read_object(run.path / "split.json", {"groups": dict})
  groups = np.array([x for part in parts for x in split["groups"][part]])
  written = [
    predictions.read(path)
    for part in parts
    if (path := run.path / "predictions" / f"{part}.npz").is_file()
  ]
  names = [x.names for x in written]
  if written and written[0].groups is None:
    return np.concatenate([groups, *names]), None
  if not written:  # it cannot be told what they are
    return groups, groups
  return np.concatenate(names), groups


def own_data(run: SavedRun, console: Console) -> tuple[SplitData | None, str]:
  """Returns the data set of a run, or None and why it cannot be opened."""
  try:
    with console.counting("decoding the run's own images", "images") as update:
      return run.data(update), ""
  except InputError as error:
    return None, str(error)
