"""A user's copy of a data set as what TensorFlow Datasets generates from."""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from mn_jax.data import archive, datasets
from mn_jax.data.listing import Listing

OUTSIDE = "other"  # the split of what the publisher put into no part


def instructions(name: str) -> str:
  """What TFDS tells a user who has no copy yet."""
  handle = datasets.get(name).kaggle
  page = "/".join(handle.split("/")[:2])
  slug = _slug(name)
  return (
    f"Get https://www.kaggle.com/datasets/{page} and put {slug}.zip, or its "
    f"content as the folder {slug}, into manual_dir; or name the folder of the "
    "unpacked copy as manual_dir."
  )


def find(name: str, manual_dir: pathlib.Path) -> pathlib.Path:
  """The folder or archive of the copy, as `instructions` says."""
  slug = _slug(name)
  for place in (manual_dir / f"{slug}.zip", manual_dir / slug):
    if place.exists():
      return place
  return manual_dir


def list_by_part(
  name: str, place: pathlib.Path
) -> tuple[Listing, dict[str, np.ndarray]]:
  """What the copy holds, and the rows of each publisher's part.

  Args:
    name: of the data set.
    place: folder or archive.

  Returns:
    The listing, and part -> i64[m], rows of it; only parts that have any.

  Raises:
    InputError: if it is another data set, or a refused archive.
  """
  with contextlib.closing(archive.open_files(place)) as files:
    listing = datasets.get(name).open(files).listing
  parts, _ = datasets.published_parts(name, listing.groups, listing.parts)
  named = np.where(parts == "", OUTSIDE, parts)
  return listing, {
    str(part): np.flatnonzero(named == part) for part in np.unique(named)
  }


def examples(
  name: str, place: pathlib.Path, listing: Listing, rows: np.ndarray
) -> Iterator[tuple[str, dict[str, Any]]]:
  """Key and example of every row: the bytes of the file, and what is known.

  Args:
    name: of the data set.
    place: folder or archive.
    listing: of it.
    rows: i64[m], of the listing.
  """
  group = datasets.get(name).group
  with contextlib.closing(archive.open_files(place)) as files:
    for row in rows.tolist():
      key = str(listing.names[row])
      yield (
        key,
        {
          "image": files.read(listing.paths[row]),
          "label": int(listing.labels[row]),
          "filename": key.rpartition("/")[2],
          group: str(listing.groups[row]),
          "x": int(listing.positions[row, 0]),
          "y": int(listing.positions[row, 1]),
        },
      )


def _slug(name: str) -> str:
  return datasets.get(name).kaggle.split("/")[1]
