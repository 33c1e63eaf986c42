"""The embedded sample of X-rays: drawn chests in the layout of Kaggle's set.

It stands in for the real X-rays of children where nothing can be downloaded; it
says nothing about medicine. Listing, splitting and decoding are left to the
code for the real set.

An image is drawn as what absorbs: body, lungs full of air, heart, spine, ribs,
clavicles and the organs below the diaphragm. Anatomy belongs to the person;
pose, breath, exposure, film and marker to the image. Pneumonia fills air: in a
lobe or two (bacteria) or here and there on both sides (virus). Some of it is
faint, some normal lungs are hazy, and exposure varies more than opacities
absorb, so brightness does not tell and no classifier can be perfect.
"""

import dataclasses
import math
import pathlib

import numpy as np
from numpy.random import Generator, Philox
from PIL import Image

from mn_jax.data.samples import generated

_VERSION = 1  # To be raised whenever the same parameters give other pixels.
_FOLDER = "chest_xray"  # As in the published archive.
_GOLDEN = 0.6180339887498949  # Its multiples modulo 1 are evenly spread.
_VALIDATION = 16  # Persons, half of them normal, an image each, as published.

# What persons are, and up to which rank. With the numbers of images below it is
# 26 % of normal images in training and 37 % in the test, about as published.
_KINDS = (
  (0.535, "train", 1),
  (0.85, "train", 0),
  (0.925, "test", 1),
  (1.0, "test", 0),
)
# Probabilities of 1, 2, ... images of a person.
_IMAGES = {0: (0.92, 0.08), 1: (0.5, 0.25, 0.15, 0.07, 0.03)}
_SHARED = 0.25  # Of the persons with pneumonia in the test; see `_files`.
_VIRAL = 0.35  # Of the persons with pneumonia.

# The letter R as films are marked with it.
_MARKER = np.array(
  [[c == "#" for c in row] for row in ["###.", "#..#", "###.", "#.#.", "#..#"]]
)


@dataclasses.dataclass(frozen=True)
class _Person:
  """What the images of one person have in common; lengths in half images."""

  chest: float  # Half the width of the rib cage.
  apex: float  # Row of the tops of the lungs.
  diaphragm: float  # Row of the domes' feet.
  heart: np.ndarray  # f64[4] column, row and half axes.
  spine: float  # Half the width.
  bend: float  # Columns that the spine sways by.
  ribs: float  # Distance of neighbours.
  slope: float  # Rows that a rib falls to the side.
  flesh: float  # Amount of soft tissue.
  bubble: np.ndarray  # f64[3] column, row and radius of the stomach's air.
  viral: bool  # Kind of the pneumonia.
  lobes: np.ndarray  # f64[2, 4] column, row and half axes of what it fills.


def write_xrays(
  root: pathlib.Path, *, seed: int = 0, num_persons: int = 530
) -> int:
  """Writes the sample, or finds it written.

  The files are `chest_xray/<part>/<CLASS>/<file>.jpeg`, named as in the real
  set, and `SAMPLE.json`, which names the parameters; see
  `generated.write_once`. An image depends on the seed, the person and its
  number alone, so fewer persons give a subset.

  Args:
    root: Folder that is missing, empty, or a sample of these parameters.
    seed: Number in [0, 2**64).
    num_persons: Number of persons in the training and test parts, in
      [16, 2**31]; the validation part has 16 images of others.

  Returns:
    Number of images in the sample, written now or before.

  Raises:
    FileExistsError: `root` holds anything but a sample of these parameters.
    ValueError: A number is out of range.
  """
  for name, value, low, high in (
    ("seed", seed, 0, 2**64 - 1),
    ("num_persons", num_persons, 16, 2**31),
  ):
    if not low <= value <= high:
      raise ValueError(f"{name} must be in [{low}, {high}], got {value}")
  marker = {"sample": "mn_jax X-rays", "version": _VERSION, "seed": seed}
  marker["num_persons"] = num_persons
  persons = range(1, _VALIDATION + num_persons + 1)
  files = {number: _files(seed, number) for number in persons}

  def write(folder: pathlib.Path) -> None:
    for part in ("train", "val", "test"):
      for name in ("NORMAL", "PNEUMONIA"):
        (folder / _FOLDER / part / name).mkdir(parents=True)
    for number, paths in files.items():
      _write_person(folder / _FOLDER, seed, number, paths)

  generated.write_once(root, marker, write)
  return sum(len(paths) for paths in files.values())


def _files(seed: int, number: int) -> list[str]:
  """The paths of a person's images, in order.

  A few of the persons in the test are in training as well, as many of the real
  set's numbers are.
  """
  rng = _generator(seed, number, 0)
  if number <= _VALIDATION:
    part, label = "val", number % 2
  else:
    # The ranks of successive persons are evenly spread, so that even a small
    # sample has about the same shares.
    rank = (_generator(seed, 0, 0).random() + number * _GOLDEN) % 1
    part, label = next((p, c) for end, p, c in _KINDS if rank < end)
  chances = _IMAGES[label] if part != "val" else (1.0,)
  count = 1 + int(rng.choice(len(chances), p=chances))
  if not label:
    stem = f"{rng.choice(['', 'NORMAL2-'])}IM-{number:04}-0001"
    ends = [f"-{k:04}" for k in range(1, count + 1)] if count > 1 else [""]
    return [f"{part}/NORMAL/{stem}{end}.jpeg" for end in ends]
  parts = [part] * count
  if part == "test" and rng.random() < _SHARED:
    parts.append("train")
  cause = "virus" if _draw_person(seed, number).viral else "bacteria"
  first = number * (len(chances) + 1)  # One number for each image of the set.
  return [
    f"{part}/PNEUMONIA/person{number}_{cause}_{first + k}.jpeg"
    for k, part in enumerate(parts)
  ]


def _write_person(
  folder: pathlib.Path, seed: int, number: int, paths: list[str]
) -> None:
  person = _draw_person(seed, number)
  for index, path in enumerate(paths):
    rng = _generator(seed, number, 2 + index)
    pixels = _draw_xray(rng, person, int("PNEUMONIA" in path))
    image = Image.fromarray(pixels)
    if rng.random() < 0.05:  # as some of the real ones
      image = image.convert("RGB")
    image.save(folder / path, quality=80)


def _generator(seed: int, number: int, index: int) -> Generator:
  """Generator of a person's files (0), anatomy (1) or images (2, 3, ...)."""
  key = np.array([seed, (number << 8) + index], np.uint64)
  return Generator(Philox(key=key))


def _draw_person(seed: int, number: int) -> _Person:
  rng = _generator(seed, number, 1)
  chest = rng.uniform(0.62, 0.8)
  diaphragm = rng.uniform(0.56, 0.8)
  sides = rng.permutation([-1.0, 1.0])
  return _Person(
    chest=chest,
    apex=rng.uniform(-0.9, -0.72),
    diaphragm=diaphragm,
    heart=np.array([0.16, diaphragm - 0.3, 0.33, 0.42])
    * rng.normal(1, 0.08, 4),
    spine=rng.uniform(0.075, 0.11),
    bend=rng.normal(0, 0.03),
    ribs=rng.uniform(0.15, 0.2),
    slope=rng.uniform(0.12, 0.34),
    flesh=rng.uniform(0.85, 1.2),
    bubble=np.array(
      [rng.uniform(0.2, 0.55), rng.uniform(0.75, 1.0), rng.uniform(0.0, 0.2)]
    ),
    viral=bool(rng.random() < _VIRAL),
    lobes=np.column_stack(
      [
        sides * rng.uniform(0.45, 0.7, 2) * chest,
        rng.uniform(-0.55, 0.45, 2),
        rng.uniform(0.2, 0.4, 2),
        rng.uniform(0.22, 0.5, 2),
      ]
    ),
  )


def _draw_xray(rng: Generator, person: _Person, label: int) -> np.ndarray:
  """Draws an image of class `label` from its own generator: u8[h, w]."""
  width = int(rng.integers(164, 257))
  height = int(np.clip(width / rng.uniform(1.0, 1.6), 150, 224))
  x, y = _pose(rng, height, width)
  side = np.abs(x)
  breath = rng.normal(0, 0.05)

  # Where the lungs are: within the ribs, above the domes, beside the middle.
  wall = _wall(y, person)
  lean = side / person.chest - 0.5
  dome = 0.2 - 0.15 * lean**2 - 0.4 * np.maximum(lean, 0) ** 2
  floor = person.diaphragm + breath - dome + 0.03 * np.sign(x)
  heart = _ellipse(x, y, person.heart, 9)
  lungs = _soft(wall - 0.02 - side) * _soft(floor - y)
  lungs *= _soft(side - person.spine - 0.05 - 0.03 * (y + 0.2) ** 2)
  lungs *= 1 - 0.95 * heart

  # What absorbs, where 1 is the body at its thickest.
  flesh = person.flesh * _body(x, y, rng.uniform(0.84, 1.0))
  film = 0.85 * flesh * (1 + 0.08 * _smooth(rng, x.shape, 60))
  below = _soft(y - floor) * _soft(wall + 0.04 - side)
  film += 0.25 * below + 0.16 * heart
  film -= 0.25 * below * _ellipse(x, y, person.bubble[[0, 1, 2, 2]] + 1e-3)
  # Vessels, thick at the root of a lung and thin at its edge.
  root = np.exp(-(((side - 0.2) / 0.2) ** 2 + ((y - 0.02) / 0.35) ** 2))
  vessels = _smooth(rng, x.shape, 10) * (0.04 + 0.12 * root) + 0.25 * root
  air = np.clip(1 - vessels, 0, 1)
  air *= 1 - _opacity(rng, person, label, x, y, root)
  film -= rng.uniform(0.46, 0.62) * lungs * air
  film += _bones(rng, person, x, y, wall, floor) * (0.5 + 0.5 * lungs)

  film = np.maximum(film, 0) + rng.uniform(0, 0.05)
  bright = 1 - np.exp(-rng.uniform(0.85, 1.5) * film)
  grey = rng.uniform(215, 300) * bright ** rng.uniform(0.8, 1.35)
  grain = rng.standard_normal(grey.shape, np.float32)
  grey += rng.uniform(0.8, 2.5) * grain
  _mark(rng, grey)
  return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


def _pose(
  rng: Generator, height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
  """Columns and rows f32[h, w] of the body, about [-1, 1] across the image.

  Negative columns are the right side, which is on the left of a film.
  """
  tilt = rng.normal(0, 0.045)
  zoom = rng.uniform(0.9, 1.12, 2).tolist()
  row = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
  column = np.linspace(-1, 1, width, dtype=np.float32)[None]
  row = row - rng.normal(0, 0.05)
  column = column - rng.normal(0, 0.05)
  sine, cosine = math.sin(tilt), math.cos(tilt)
  x = (column * cosine + row * sine) * zoom[0]
  y = (row * cosine - column * sine) * zoom[1]
  return x, y


def _body(x: np.ndarray, y: np.ndarray, half: float) -> np.ndarray:
  """Thickness f32[h, w] of trunk, raised arms, neck and head, in [0, 1]."""
  side = np.abs(x)
  half = half + 0.35 * np.clip(-y - 0.35, 0, 1)
  flat = (side / half) ** 2
  trunk = np.sqrt(np.clip(1 - flat * flat, 0, 1))
  trunk *= _soft(y + 1.0 - 0.35 * np.clip(side - 0.2, 0, 1), 15)
  neck = 0.8 * _soft(0.24 - side, 25)
  head = _ellipse(x, y, np.array([0, -1.25, 0.42, 0.4]))
  return np.maximum(np.maximum(trunk, neck * (y < 0)), 1.1 * head)


def _wall(y: np.ndarray, person: _Person) -> np.ndarray:
  """Half the width f32[h, w] of the rib cage in every row; 0 above it."""
  rise = np.clip((0.4 - y) / (0.4 - person.apex), 0, 1)
  arch = np.sqrt(1 - rise * rise * np.sqrt(rise))
  return person.chest * arch + 0.05 * np.maximum(y - 0.4, 0)


def _bones(
  rng: Generator,
  person: _Person,
  x: np.ndarray,
  y: np.ndarray,
  wall: np.ndarray,
  floor: np.ndarray,
) -> np.ndarray:
  """What ribs, spine and clavicles f32[h, w] absorb."""
  side = np.abs(x) / person.chest
  cage = _soft(wall + 0.02 - np.abs(x)) * _soft(floor + 0.3 - y, 12)
  # A rib leaves the spine, and turns down at the side; its front end rises.
  back = (y - person.slope * side**2 + 0.08 * side) / person.ribs
  front = (y + 0.55 * side - 0.4 * side**2) / (1.15 * person.ribs)
  hard = rng.uniform(0.7, 1.3)
  ribs = (
    0.24 * np.clip(np.cos(2 * np.pi * back) - 0.2, 0, 0.6) * (0.4 + 0.6 * side)
  )
  ribs += 0.08 * np.clip(np.cos(2 * np.pi * front) - 0.2, 0, 0.6) * side
  ribs += 0.14 * np.exp(-(((np.abs(x) - wall) / 0.03) ** 2))
  line = x - person.bend * np.sin(2 * y)
  spine = _soft(person.spine - np.abs(line))
  discs = 1 - 0.35 * np.clip(np.cos(2 * np.pi * y / (0.9 * person.ribs)), 0, 1)
  clavicle = y - (
    person.apex + 0.12 - 0.25 * (side - 0.2) + rng.normal(0, 0.03)
  )
  ends = _soft(side - 0.15) * _soft(1.1 - side)
  return hard * (
    ribs * cage
    + 0.36 * spine * discs
    + 0.22 * np.exp(-((clavicle / 0.03) ** 2)) * ends
  )


def _opacity(
  rng: Generator,
  person: _Person,
  label: int,
  x: np.ndarray,
  y: np.ndarray,
  root: np.ndarray,
) -> np.ndarray:
  """What share f32[h, w] of the air is filled."""
  patches = _step(2.5 * _smooth(rng, x.shape, rng.uniform(18, 45)) - 0.5)
  haze = rng.uniform(0, 0.15) * (0.4 + patches)  # A poor breath, motion, fat.
  if not label:
    return haze
  if person.viral:
    strength = 0.2 + 0.8 * rng.beta(1.8, 1.4)
    filled = strength * (0.25 + 0.35 * root + 0.75 * patches)
  else:
    filled = 0.0
    for lobe, chance in zip(person.lobes, (1.0, 0.5), strict=True):
      strength = (0.25 + 0.75 * rng.beta(2.2, 1.2)) * (rng.random() < chance)
      shape = _ellipse(x, y, lobe * rng.normal(1, 0.08, 4), 5)
      filled = np.maximum(filled, strength * shape * (0.6 + 0.6 * patches))
  return np.clip(haze + filled, 0, 0.97)


def _mark(rng: Generator, grey: np.ndarray) -> None:
  """Lays a marker and the edge of a plate over f32[h, w]."""
  height, width = grey.shape
  if rng.random() < 0.75:
    size = int(rng.integers(1, 3))
    letter = np.kron(_MARKER, np.ones((size, size), bool))
    row = int(rng.integers(2, height // 2))
    column = int(rng.integers(2, width // 12))
    place = grey[row : row + letter.shape[0], column : column + letter.shape[1]]
    place[letter] = 250
  if rng.random() < 0.12:  # the edge of another plate
    grey[:, -int(rng.integers(3, 14)) :] = rng.uniform(180, 250)


def _ellipse(
  x: np.ndarray, y: np.ndarray, ellipse: np.ndarray, sharpness: float = 14
) -> np.ndarray:
  """Soft mask f32[h, w] of an f64[4]: column, row and half axes."""
  column, row, across, along = ellipse.tolist()
  distance = np.hypot((x - column) / across, (y - row) / along)
  return _step(sharpness * (1 - distance))


def _soft(depth: np.ndarray, sharpness: float = 45) -> np.ndarray:
  """Soft mask f32[h, w] of what lies within an edge."""
  return _step(sharpness * depth)


def _step(x: np.ndarray) -> np.ndarray:
  """A cubic step; the logistic function would take most of the time."""
  step = np.clip(0.5 + x / 7, 0, 1)
  return step * step * (3 - 2 * step)


def _smooth(
  rng: Generator, shape: tuple[int, ...], wavelength: float
) -> np.ndarray:
  """Random field f32[shape] of zero mean and unit variance; in pixels."""
  angle = rng.uniform(0, 2 * np.pi, 16)
  wave = 2 * np.pi / (wavelength * rng.uniform(0.5, 1.8, 16))
  phase = rng.uniform(0, 2 * np.pi, 16)
  lines = [1j * np.arange(n)[:, None] for n in shape]
  rows = np.exp(lines[0] * wave * np.sin(angle) + 1j * phase)
  columns = np.exp(lines[1] * wave * np.cos(angle))
  # The real part of the product. A matrix product would have threads, which are
  # many times slower where other processes keep the cores busy.
  rows = rows.astype(np.complex64).view(np.float32)
  columns = columns.conj().astype(np.complex64).view(np.float32)
  return np.einsum("ik,jk->ij", rows, columns) / math.sqrt(8)
