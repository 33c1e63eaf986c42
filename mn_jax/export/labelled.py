"""Labelled images that exported files are calibrated and judged on."""

import dataclasses
import pathlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from mn_jax.config import checks
from mn_jax.config.sections.data import DataConfig
from mn_jax.data import packing
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.decode import DecodeError
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError
from mn_jax.export.files import Calibration
from mn_jax.export.judgement import Part
from mn_jax.run import open_data
from mn_jax.run.split_data import SplitData

# Parts of a run that files are judged on; nothing is calibrated by them.
JUDGED = ("val", "test")
# Fields of `data` that say how labelled images are read.
FIELDS = ("root", "file", "label", "label_separator")
_NAMED = 8  # classes that an error names


@dataclasses.dataclass(frozen=True)
class Labelled:
  """Images of parts that share none.

  Attributes:
    parts: that files are judged on; empty where none are known.
    calibration: that 8-bit ranges are chosen by; None where none was asked for.
  """

  parts: tuple[Part, ...] = ()
  calibration: Calibration | None = None


def of_run(data: SplitData, *, calibration: int) -> Labelled:
  """Takes validation and test of a run, and some of its training images.

  Args:
    data: of the run.
    calibration: number of training images; 0 for none. There may be fewer.
  """
  known = data.spec.group is not None
  parts = tuple(
    Part(
      name=name,
      pixels=data.cache.images,
      rows=data.part(name),
      labels=data.cache.labels[data.part(name)],
      groups=data.cache.groups[data.part(name)] if known else None,
      positive=data.spec.positive,
    )
    for name in JUDGED
  )
  if not calibration:
    return Labelled(parts)
  count = min(calibration, len(data.part("train")))
  # Spread over the list, in which images of a class and a group are neighbours.
  (rows,) = data.spread("train", batches=1, batch_size=count)
  images = np.stack([data.cache.images[row] for row in rows.tolist()])
  return Labelled(parts, Calibration(images, "train"))


@contextmanager
def of_path(
  trained: Trained,
  path: pathlib.Path,
  changes: Mapping[str, Any],
  *,
  calibration: int,
  progress: packing.Progress,
) -> Iterator[Labelled]:
  """Reads the images of a folder, an archive or a table for published weights.

  They are resized and cropped as these weights want it. Those that calibrate
  are spread over the list, and files are judged on all the others.

  Args:
    trained: the network.
    path: of the images; labels are the names of classes, or their indices.
    changes: field of `data`, of FIELDS -> value.
    calibration: number of images that calibrate; 0 for none.
    progress: called while images are decoded.

  Raises:
    InputError: for images that cannot be used, a class that the weights do not
      have, or too few images.
  """
  section = DataConfig(name="image_folder", path=str(path))
  checks.check_fields("data", section, **changes)
  section = dataclasses.replace(section, **changes)
  with (
    open_data.open_source(section) as source,
    # Not in memory: there may be many.
    tempfile.TemporaryFile(prefix="mn_jax_export") as file,
  ):
    listing = source.listing
    labels = _labels(trained, listing)
    shape = (len(listing), trained.image_size, trained.image_size, 3)
    pixels = np.memmap(file, np.uint8, "w+", shape=shape)
    for row, name in enumerate(listing.names.tolist()):
      try:
        pixels[row] = trained.fit_image(source.read(row, bits=trained.bits))
      except (DecodeError, OSError) as error:
        raise InputError(
          f"--data: got {name!r}, which cannot be read ({error}); valid: images"
        ) from None
      progress(row + 1, len(listing))
    yield _divide(pixels, labels, calibration)


def _divide(
  pixels: np.ndarray, labels: np.ndarray, calibration: int
) -> Labelled:
  count = len(pixels)
  if calibration >= count:
    raise InputError(
      f"--calibration-images: got {calibration} of {count} images, of which "
      f"none would be left to judge by; valid: 1 to {count - 1}"
    )
  places = np.linspace(0, count - 1, calibration).round().astype(int)
  judged = np.setdiff1d(np.arange(count), places)
  part = Part("images", pixels, judged, labels[judged], None, None)
  if not calibration:
    return Labelled((part,))
  return Labelled((part,), Calibration(np.array(pixels[places]), "images"))


def _labels(trained: Trained, listing: Listing) -> np.ndarray:
  """Returns labels as those of the network, whose classes are others.

  Returns:
    i32[n], or u8[n, classes] for several labels per image.

  Raises:
    InputError: for a class that it does not have.
  """
  found = ("one class", "several labels")
  if listing.multi_label != trained.multi_label:
    raise InputError(
      f"--data: got images of {found[listing.multi_label]} each for a network "
      f"of {found[trained.multi_label]}; valid, by data.label and "
      f"data.label_separator: images of {found[trained.multi_label]}"
    )
  places = _places(trained.classes, listing.classes)
  if not listing.multi_label:
    return np.array(places, np.int32)[listing.labels]
  if len(places) != len(trained.classes):
    raise InputError(
      f"--data: got {len(places)} labels for a network of "
      f"{len(trained.classes)}; valid: all of them, {_shown(trained.classes)}"
    )
  labels = np.zeros_like(listing.labels)
  labels[:, places] = listing.labels
  return labels


def _places(classes: Sequence[str], names: Sequence[str]) -> list[int]:
  """Returns the index of each name among the classes of a network.

  Raises:
    InputError: for a name of none, or of several.
  """
  if any(name not in classes for name in names) and all(
    name.isdecimal() and int(name) < len(classes) for name in names
  ):
    return [int(name) for name in names]
  for name in names:
    count = classes.count(name)
    if count != 1:
      what = f"which {count} classes" if count else "which none of the classes"
      raise InputError(
        f"--data: got the label {name!r}, {what} of the network have; valid: "
        f"{_shown(classes)}, or indices, 0 to {len(classes) - 1}"
      )
  return [classes.index(name) for name in names]


def _shown(names: Sequence[str]) -> str:
  more = len(names) - _NAMED
  return ", ".join([*names[:_NAMED], *([f"{more} more"] if more > 0 else [])])
