"""CIFAR-100 as published: the binary files, or the pickles for Python.

The pickles are read without running their code (`restricted_pickle`). Copies
as image files, `{train,test}/{class}/{file}`, are listed as any class folders.

An image is named by part, class and its number within the part, which is the
same in both publications. A copy may lack images, of which a note says how many
of which classes; it may not have more than were published.
"""

import dataclasses
import importlib.resources
import json
import zlib
from collections.abc import Iterator

import numpy as np

from mn_jax.data.datasets import class_folders, restricted_pickle
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import ImageFiles, Pixels, Source
from mn_jax.data.datasets.spec import DatasetSpec, Tfds, Web
from mn_jax.data.files import images as image_files
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError

# In the order of the labels, as `fine_label_names.txt` has them.
CLASSES = tuple(
  json.loads(
    importlib.resources.files(__package__)
    .joinpath("cifar100_classes.json")
    .read_bytes()
  )
)
SIZE = 32
_PIXELS = 3 * SIZE * SIZE
_PARTS = {"train": "train", "test": "test"}
_PUBLISHED = {"train": 500, "test": 100}  # images of every class
_MOST_NAMED = 10  # classes


def open_source(files: Files) -> Source:
  """Opens either publication, or a copy as image files.

  Raises:
    InputError: if it is none of them, or its files are not what they should be.
  """
  by_name = {}
  for path in files.names():
    words = image_files.split(path)
    if len(words) <= 2:  # the archive's one folder, and the file
      by_name["".join(words[-1:])] = path
  for suffix in (".bin", ""):
    paths = {part: by_name.get(f"{part}{suffix}") for part in _PARTS}
    if all(paths.values()):
      source = _source({part: _read(files, paths[part]) for part in _PARTS})
      return _counted(source)
  return _counted(class_folders.opener(CLASSES, parts=_PARTS)(files))


def _counted[S: (Pixels, ImageFiles)](source: S) -> S:
  """Notes how many images of which classes are missing.

  Raises:
    InputError: if there are more of a class than were published.
  """
  listing = source.listing
  missing = np.zeros((len(CLASSES), len(_PUBLISHED)), int)
  for column, (part, published) in enumerate(_PUBLISHED.items()):
    labels = listing.labels[listing.parts == part]
    counts = np.bincount(labels, minlength=len(CLASSES))
    if counts.max() > published:
      raise InputError(
        f"data.path: got {counts.max()} {part} images of the class "
        f"{CLASSES[counts.argmax()]!r}; valid: at most {published}, as "
        "published"
      )
    missing[:, column] = published - counts
  if not missing.any():
    return source
  notes = (*listing.notes, *_missing(missing))
  return dataclasses.replace(
    source, listing=dataclasses.replace(listing, notes=notes)
  )


def _missing(missing: np.ndarray) -> Iterator[str]:
  """Says what a copy lacks, a line each.

  Args:
    missing: i64[classes, 2], training and test images.
  """
  published = sum(_PUBLISHED.values())
  lacking = missing.sum(axis=1)
  complete, none = np.flatnonzero(lacking == 0), lacking == published
  listed = f": {_names(complete)}" if len(complete) else ""
  yield (
    f"{len(complete)} of {len(CLASSES)} classes complete "
    f"({_PUBLISHED['train']} training and {_PUBLISHED['test']} test images "
    f"each){listed}"
  )
  if none.any():
    yield f"no image of {none.sum()} classes: {_names(np.flatnonzero(none))}"
  some = np.flatnonzero((lacking > 0) & ~none)
  if len(some):
    train, test = missing[some].sum(axis=0)
    yield (
      f"{len(some)} classes incomplete: {train:,} training and {test:,} "
      f"test images are missing of {_names(some)}"
    )


def _names(labels: np.ndarray) -> str:
  names = [CLASSES[label] for label in labels[:_MOST_NAMED]]
  if len(labels) > len(names):
    names.append(f"{len(labels) - len(names)} more")
  return ", ".join(names)


def _read(files: Files, path: str) -> tuple[np.ndarray, np.ndarray]:
  """i64[n] labels and u8[n, 32, 32, 3] images of a part."""
  parse = _binary if path.endswith(".bin") else _pickled
  try:
    labels, coarse, rows = parse(files.read(path))
    if not len(labels) or not 0 <= labels.min() <= labels.max() < len(CLASSES):
      raise ValueError(f"labels outside 0 to {len(CLASSES) - 1}, or none")
    _check_superclasses(labels, coarse)
  except (OSError, KeyError, ValueError) as error:
    raise InputError(
      f"data.path: {path!r} is no part of CIFAR-100 ({error}); valid: "
      "cifar-100-binary.tar.gz or cifar-100-python.tar.gz as published"
    ) from None
  images = rows.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
  return labels, np.ascontiguousarray(images)


def _check_superclasses(labels: np.ndarray, coarse: np.ndarray) -> None:
  """Refuses labels, i64[n], that were mixed up among the images.

  Args:
    labels: classes.
    coarse: i64[n], superclasses; every class is in one.
  """
  for label in np.unique(labels):
    found = np.unique(coarse[labels == label])
    if len(found) > 1:
      raise ValueError(
        f"images of {CLASSES[label]!r} in {len(found)} superclasses"
      )


def _binary(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """One record is the coarse label, the fine label and the pixels."""
  if not data or len(data) % (2 + _PIXELS):
    raise ValueError(f"{len(data)} bytes; valid: a multiple of {2 + _PIXELS}")
  rows = np.frombuffer(data, np.uint8).reshape(-1, 2 + _PIXELS)
  coarse, labels = rows[:, :2].astype(np.int64).T
  return labels, coarse, rows[:, 2:]


def _pickled(data: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  content = restricted_pickle.load_dict(data)
  for key in ("fine_labels", "coarse_labels"):
    values = content[key]
    if not isinstance(values, list) or not all(type(n) is int for n in values):
      raise ValueError(f"{key!r} is no list of numbers")
  labels, coarse = content["fine_labels"], content["coarse_labels"]
  if len(coarse) != len(labels):
    raise ValueError(f"{len(coarse)} 'coarse_labels' of {len(labels)} images")
  pixels = content["data"]
  shape = (len(labels), _PIXELS)
  if not isinstance(pixels, np.ndarray) or pixels.shape != shape:
    raise ValueError(f"'data' is no array of {len(labels)} x {_PIXELS} bytes")
  return np.array(labels, np.int64), np.array(coarse, np.int64), pixels


def _source(parts: dict[str, tuple[np.ndarray, np.ndarray]]) -> Pixels:
  images = np.concatenate([pixels for _, pixels in parts.values()])
  rows = []
  for part, (labels, _) in parts.items():
    for number, label in enumerate(labels.tolist()):
      # Named as TFDS names them.
      name = f"{part}/{CLASSES[label]}/{part}_{number:05}.png"
      order = len(rows)
      stamp = zlib.crc32(images[order])
      rows.append((label, name, order, stamp, name, part, 0, 0))
  rows.sort()
  images = images[[row[2] for row in rows]]
  rows = [(label, name, name, *rest) for label, name, _, *rest in rows]
  return Pixels(Listing.of_rows(CLASSES, rows), images)


SPEC = DatasetSpec(
  title="CIFAR-100: photographs of 100 classes, 32x32",
  classes=CLASSES,
  image_size=SIZE,
  origin="Krizhevsky 2009",
  licence="none stated",
  open=open_source,
  images=60_000,
  split="fixed",
  web=Web(
    "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    # As TensorFlow Datasets 4.9.10 has it.
    "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    168_513_733,
  ),
  tfds=Tfds(
    "cifar100:3.0.2",
    "id",
    suffix=".png",
    parts=(("train", "train"), ("test", "test")),
  ),
)
