"""Writes generated textures in the layouts of real data sets.

They stand in for the real images where nothing can be downloaded, and say
nothing about medicine or the Earth. Each has what its layout is about: parts,
persons or slides, uneven classes, file formats. Listing, splitting and decoding
are left to the code for the real data set.
"""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.random import Generator, Philox
from PIL import Image

from mn_jax.data.datasets import cifar100, colorectal_histology, eurosat
from mn_jax.data.samples import folder, textures

_VERSION = 1  # Raised whenever the same parameters give other files.
_GOLDEN = 0.6180339887498949  # Its multiples modulo 1 are evenly spread.
_PLAIN = np.ones(4)  # The look where images have nothing in common.


@dataclasses.dataclass(frozen=True)
class _File:
  """An image that is still to be drawn."""

  path: str  # Below the root; records of one .bin file are appended to it.
  label: int
  key: tuple[int, int]  # Kind and number of its random numbers.
  look: np.ndarray  # f64[4], as `textures.draw` takes it.


@dataclasses.dataclass(frozen=True)
class _Layout:
  """How a data set is laid out."""

  list_files: Callable[[int], Iterator[_File]]  # Of count.
  count: int  # By default, of images of each class or of persons.
  classes: int
  sides: tuple[int, int]  # Smallest and largest side of an image, in pixels.
  mode: str = "RGB"  # Of an image and its file format, as Pillow names it.
  options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write_textures(
  root: pathlib.Path, *, layout: str, count: int | None = None
) -> None:
  """Writes generated images in the layout of a data set, unless they are there.

  An image depends on the layout and its own place alone, so a smaller count
  gives a part of the same images.

  Args:
    root: folder that is missing, empty, or has these images.
    layout: name of the data set, a key of `LAYOUTS`.
    count: number of images of each class, for CIFAR-100 of its training part,
      and for chest X-rays number of persons; None: enough to train on.

  Raises:
    FileExistsError: `root` holds anything else.
  """
  chosen = LAYOUTS[layout]
  count = chosen.count if count is None else count

  def write(temp: pathlib.Path) -> None:
    for file in chosen.list_files(count):
      _write_file(temp, file, chosen)

  marker = {
    "sample": f"mn_jax {layout}",
    "version": _VERSION,
    "seed": 0,
    "count": count,
  }
  folder.write_once(root, write, marker)


def _write_file(root: pathlib.Path, file: _File, layout: _Layout) -> None:
  path = root / file.path
  path.parent.mkdir(parents=True, exist_ok=True)
  rng = _generator(*file.key)
  low, high = layout.sides
  height, width = rng.integers(low, high + 1, 2).tolist()
  pixels = textures.draw(
    rng,
    file.label,
    layout.classes,
    height=height,
    width=width,
    look=file.look,
  )
  if path.suffix == ".bin":
    labels = bytes([0, file.label])  # coarse, which nothing reads, and fine
    with path.open("ab") as records:
      records.write(labels + pixels.transpose(2, 0, 1).tobytes())
  else:
    Image.fromarray(pixels).convert(layout.mode).save(path, **layout.options)


def _generator(kind: int, number: int) -> Generator:
  """Generator of an image, or of what several have in common."""
  return Generator(Philox(key=np.array([0, (kind << 48) + number], "u8")))


def _look(kind: int, number: int) -> np.ndarray:
  """Look f64[4] of a slide or person."""
  return np.exp(_generator(kind, number).normal(0, 0.1, 4))


def _eurosat(count: int) -> Iterator[_File]:
  for label, name in enumerate(eurosat.CLASSES):
    for number in range(1, count + 1):
      path = f"2750/{name}/{name}_{number}.jpg"
      yield _File(path, label, (label, number), _PLAIN)


def _cifar100(count: int) -> Iterator[_File]:
  """Classes 0 to 9, which take turns; a third as many images to test."""
  for part, images in (("train", 10 * count), ("test", 10 * (count // 3))):
    for number in range(images):
      path = f"cifar-100-binary/{part}.bin"
      yield _File(path, number % 10, (int(part == "test"), number), _PLAIN)


def _colorectal(count: int) -> Iterator[_File]:
  """Ten slides, which have a lot of some classes and next to none of others.

  What tells slides apart helps to tell classes apart, but not on a slide that
  is left out.
  """
  looks = [_look(0, slide) for slide in range(10)]
  for label, name in enumerate(colorectal_histology.FOLDERS):
    rng = _generator(label + 1, 0)
    shares = np.exp(rng.normal(0, 0.9, len(looks)))
    ends = np.cumsum(shares / shares.sum())[:-1]
    start = rng.random()
    for number in range(1, count + 1):
      slide = int((ends < (start + number * _GOLDEN) % 1).sum())
      region, index = divmod(number - 1, 400)  # of 20 by 20 tiles
      row, column = divmod(index, 20)
      file = (
        f"{(label + 1 << 12) + number:X}_CRC-Prim-HE-{slide + 1:02}_"
        f"{8 * region + label + 1:03}.tif_Row_{150 * row + 1}_"
        f"Col_{150 * column + 1}.tif"
      )
      path = f"Kather_texture_2016_image_tiles_5000/{name}/{file}"
      yield _File(path, label, (label + 1, number), looks[slide])


_VALIDATION = 16  # Persons, half of them normal, an image each, as published.
# What other persons are, and up to which rank. With these numbers of images
# 26 % of training and 37 % of test images are normal, about as published.
_KINDS = (
  (0.535, "train", "PNEUMONIA"),
  (0.85, "train", "NORMAL"),
  (0.925, "test", "PNEUMONIA"),
  (1.0, "test", "NORMAL"),
)
# Probabilities of 1, 2, ... images of a person.
_IMAGES = {"NORMAL": (0.92, 0.08), "PNEUMONIA": (0.5, 0.25, 0.15, 0.07, 0.03)}
_SHARED = 0.25  # Of the persons with pneumonia in the test; also in training.


def _chest_xray(count: int) -> Iterator[_File]:
  # The ranks of successive persons are evenly spread, so that even a small
  # sample has about the same shares.
  start = _generator(0, 0).random()
  for person in range(1, _VALIDATION + count + 1):
    rank = (start + person * _GOLDEN) % 1
    part, name = next((p, n) for end, p, n in _KINDS if rank < end)
    rng = _generator(0, person)
    chances = _IMAGES[name]
    if person <= _VALIDATION:
      part, name, chances = "val", ("NORMAL", "PNEUMONIA")[person % 2], (1.0,)
    parts = [part] * (1 + int(rng.choice(len(chances), p=chances)))
    if name == "PNEUMONIA" and part == "test" and rng.random() < _SHARED:
      parts.append("train")
    cause = rng.choice(["bacteria", "virus"], p=[0.65, 0.35])
    series = rng.choice(["", "NORMAL2-"])
    look = _look(1, person)
    for index, part in enumerate(parts):
      file = f"person{person}_{cause}_{6 * person + index}.jpeg"
      if name == "NORMAL":
        file = f"{series}IM-{person:04}-0001-{index + 1:04}.jpeg"
      path = f"chest_xray/{part}/{name}/{file}"
      label = int(name == "PNEUMONIA")
      yield _File(path, label, (2 + index, person), look)


LAYOUTS = {
  # The published tiles are of this quality, too.
  "eurosat": _Layout(_eurosat, 150, 10, (64, 64), options={"quality": 100}),
  "cifar100": _Layout(_cifar100, 60, 10, (cifar100.SIZE, cifar100.SIZE)),
  "colorectal_histology": _Layout(
    _colorectal,
    60,
    8,
    (150, 150),
    # Predictor 2: differences of neighbours, which pack better.
    options={"compression": "tiff_adobe_deflate", "tiffinfo": {317: 2}},
  ),
  "chest_xray": _Layout(
    _chest_xray, 530, 2, (150, 256), mode="L", options={"quality": 80}
  ),
}
