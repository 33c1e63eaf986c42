"""CIFAR-100 as published: the binary files, or the pickles for Python.

The pickles are read without running their code (`restricted_pickle`). Copies
as image files, `{train,test}/{class}/{file}`, are listed as any class folders.

An image is named by part, class and its number within the part, which is the
same in both publications.
"""

import importlib.resources
import json
import zlib

import numpy as np

from mn_jax.data.datasets import class_folders, restricted_pickle
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import Pixels, Source
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
      return _source({part: _read(files, paths[part]) for part in _PARTS})
  return class_folders.opener(CLASSES, parts=_PARTS)(files)


def _read(files: Files, path: str) -> tuple[np.ndarray, np.ndarray]:
  """i64[n] labels and u8[n, 32, 32, 3] images of a part."""
  parse = _binary if path.endswith(".bin") else _pickled
  try:
    labels, rows = parse(files.read(path))
    if not len(labels) or not 0 <= labels.min() <= labels.max() < len(CLASSES):
      raise ValueError(f"labels outside 0 to {len(CLASSES) - 1}, or none")
  except (OSError, KeyError, ValueError) as error:
    raise InputError(
      f"data.path: {path!r} is no part of CIFAR-100 ({error}); valid: "
      "cifar-100-binary.tar.gz or cifar-100-python.tar.gz as published"
    ) from None
  images = rows.reshape(-1, 3, SIZE, SIZE).transpose(0, 2, 3, 1)
  return labels, np.ascontiguousarray(images)


def _binary(data: bytes) -> tuple[np.ndarray, np.ndarray]:
  """One record is the coarse label, the fine label and the pixels."""
  if not data or len(data) % (2 + _PIXELS):
    raise ValueError(f"{len(data)} bytes; valid: a multiple of {2 + _PIXELS}")
  rows = np.frombuffer(data, np.uint8).reshape(-1, 2 + _PIXELS)
  return rows[:, 1].astype(np.int64), rows[:, 2:]


def _pickled(data: bytes) -> tuple[np.ndarray, np.ndarray]:
  content = restricted_pickle.load_dict(data)
  labels = content["fine_labels"]
  pixels = content["data"]
  if not isinstance(labels, list) or not all(type(n) is int for n in labels):
    raise ValueError("'fine_labels' is no list of numbers")
  shape = (len(labels), _PIXELS)
  if not isinstance(pixels, np.ndarray) or pixels.shape != shape:
    raise ValueError(f"'data' is no array of {len(labels)} x {_PIXELS} bytes")
  return np.array(labels, np.int64), pixels


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
