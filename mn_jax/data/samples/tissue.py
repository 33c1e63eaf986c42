"""The embedded sample of tissue: drawn tiles in the layout of Kather's set.

It stands in for the real tiles of colorectal cancer where nothing can be
downloaded; it says nothing about medicine. Listing, splitting and decoding are
left to the code for the real set.

A tile spans 150 pixels of half a micrometre. It is drawn as amounts of
haematoxylin and eosin, which absorb light by the Beer-Lambert law, of few
motifs: fibres, nuclei, cells side by side, gaps. Classes share them: complex
stroma is stroma with more cells of other kinds, debris can look like either,
some tumours form glands, and fat may show hardly a wall. Ten slides differ in
stain, light and focus, and in which classes they have most of, so that what
tells slides apart helps to tell classes apart, but not on a slide left out.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable

import numpy as np
from numpy.random import Generator, Philox
from PIL import Image

from mn_jax.data.datasets import colorectal
from mn_jax.data.samples import generated
from mn_jax.data.samples.stains import STAINS, Canvas

_SIZE = 150  # Pixels per side of a tile.
_BORDER = 8  # Pixels drawn around it, so that cells may be cut by its edges.
_VERSION = 1  # To be raised whenever the same parameters give other pixels.
_FOLDER = "Kather_texture_2016_image_tiles_5000"  # As in the published archive.
_SLIDES = 10
_GOLDEN = 0.6180339887498949  # Its multiples modulo 1 are evenly spread.
_REGION = 400  # Tiles of a region, 20 in a row.
_PREDICTOR = 317  # TIFF tag; 2: differences of neighbours, which pack better.


@dataclasses.dataclass(frozen=True)
class _Slide:
  """What the tiles of one slide have in common."""

  stains: np.ndarray  # f64[2, 3] optical density as in STAINS.
  strength: np.ndarray  # f64[2] factors of haematoxylin and eosin.
  white: np.ndarray  # f64[3] RGB of empty glass, in [0, 255].
  blur: float  # Standard deviation of the optical blur, in pixels.


def write_tissue(
  root: pathlib.Path, *, seed: int = 0, tiles_per_class: int = 60
) -> int:
  """Writes the sample, or finds it written.

  The files are `Kather_texture_2016_image_tiles_5000/<class>/<tile>.tif`, named
  as in the real set, and `SAMPLE.json`, which names the parameters; see
  `generated.write_once`. A tile depends on the seed, its class and its number
  alone, so fewer tiles give a subset.

  Args:
    root: Folder that is missing, empty, or a sample of these parameters.
    seed: Number in [0, 2**64).
    tiles_per_class: Number of tiles of each class, positive.

  Returns:
    Number of tiles in the sample, written now or before.

  Raises:
    FileExistsError: `root` holds anything but a sample of these parameters.
    ValueError: A number is out of range.
  """
  for name, value, low, high in (
    ("seed", seed, 0, 2**64 - 1),
    ("tiles_per_class", tiles_per_class, 1, 2**31),
  ):
    if not low <= value <= high:
      raise ValueError(f"{name} must be in [{low}, {high}], got {value}")
  marker = {"sample": "mn_jax tissue", "version": _VERSION, "seed": seed}
  marker["tiles_per_class"] = tiles_per_class

  def write(folder: pathlib.Path) -> None:
    slides = [_draw_slide(_generator(seed, 0, n)) for n in range(_SLIDES)]
    for label, name in enumerate(colorectal.FOLDERS):
      place = folder / _FOLDER / name
      _write_class(place, seed, label, tiles_per_class, slides)

  generated.write_once(root, marker, write)
  return len(_DRAW) * tiles_per_class


def _write_class(
  folder: pathlib.Path, seed: int, label: int, count: int, slides: list[_Slide]
) -> None:
  folder.mkdir(parents=True)
  # Which slides have how much of the class: some a lot, some next to nothing.
  rng = _generator(seed, label + 1, 0)
  shares = np.exp(rng.normal(0, 1.1, _SLIDES))
  ends = np.cumsum(shares / shares.sum())
  start = rng.random()
  for number in range(1, count + 1):
    slide = int((ends < (start + number * _GOLDEN) % 1).sum())
    slide = min(slide, _SLIDES - 1)  # The last end may round to less than 1.
    rng = _generator(seed, label + 1, number)
    pixels = _draw_tile(rng, slides[slide], _DRAW[label])
    region, place = divmod(number - 1, _REGION)
    row, column = divmod(place, 20)
    name = (
      f"{(label + 1 << 12) + number:X}_CRC-Prim-HE-{slide + 1:02}_"
      f"{8 * region + label + 1:03}.tif_Row_{_SIZE * row + 1}_"
      f"Col_{_SIZE * column + 1}.tif"
    )
    Image.fromarray(pixels).save(
      folder / name,
      compression="tiff_adobe_deflate",
      tiffinfo={_PREDICTOR: 2},
    )


def _generator(seed: int, kind: int, number: int) -> Generator:
  """Generator of a slide (kind 0), a class (number 0) or one of its tiles."""
  key = np.array([seed, (kind << 32) + number], np.uint64)
  return Generator(Philox(key=key))


def _draw_slide(rng: Generator) -> _Slide:
  stains = STAINS * np.exp(rng.normal(0, 0.1, (2, 3)))
  return _Slide(
    stains=stains / np.linalg.norm(stains, axis=1, keepdims=True),
    strength=np.exp(rng.normal([0.1, 0.05], [0.18, 0.25])),
    white=rng.uniform(232, 250) + rng.normal(0, 3, 3),
    blur=rng.uniform(0.5, 1.1),
  )


def _draw_tile(
  rng: Generator,
  slide: _Slide,
  draw: Callable[[Canvas], tuple[np.ndarray, np.ndarray]],
) -> np.ndarray:
  """Draws a tile u8[150, 150, 3]: amounts, stains, light, optics, noise."""
  canvas = Canvas(rng, _SIZE + 2 * _BORDER)
  amounts = np.stack(draw(canvas), -1) * slide.strength
  amounts *= np.exp(rng.normal(0, 0.12, 2))
  rgb = slide.white * np.exp(-amounts @ slide.stains)
  rgb = _blur(rgb, slide.blur) * np.exp(rng.normal(0, 0.02))
  rgb += rng.normal(0, 0.6, (_SIZE, _SIZE, 1))
  return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


# The classes. Each draws haematoxylin and eosin, f64[166, 166] each.


def _tumor(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  cells = np.ones((canvas.size, canvas.size))
  if rng.random() < 0.6:
    cells = canvas.region(rng.uniform(35, 90), rng.uniform(0.55, 0.95))
  haematoxylin, eosin = _stroma_of(canvas, rng.uniform(14, 30))
  gap = rng.random() < 0.5  # beside the cells lies nothing, or stroma
  haematoxylin *= (1 - cells) * (1 - gap)
  eosin *= (1 - cells) * (1 - 0.9 * gap)
  radius = rng.uniform(6.5, 9.5)
  points = canvas.scatter(radius * rng.uniform(1.9, 2.4), 0.25)
  points = canvas.inside(points, cells)
  aspect, amount = rng.uniform(1.1, 1.8), rng.uniform(0.8, 1.5)
  nuclei = canvas.nuclei(points, radius, 0.16, aspect, amount)
  haematoxylin += cells * rng.uniform(0.25, 0.6)
  haematoxylin += _chromatin(canvas, nuclei, rng.uniform(0.1, 0.5))
  eosin += cells * rng.uniform(0.6, 1.4) * (1 + 0.15 * canvas.smooth(18))
  return haematoxylin, eosin


def _stroma(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  haematoxylin, eosin = _stroma_of(canvas, rng.uniform(22, 50))
  if rng.random() < 0.3:
    immune = _lymphocytes(canvas, rng.uniform(28, 45), rng.uniform(0.1, 0.3))
    haematoxylin = haematoxylin + immune
  return haematoxylin, eosin


def _complex(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  haematoxylin, eosin = _stroma_of(canvas, rng.uniform(15, 30))
  immune = _lymphocytes(canvas, rng.uniform(14, 26), rng.uniform(0.2, 0.8))
  haematoxylin = haematoxylin + immune
  if rng.random() < 0.5:  # single tumour cells
    nest = canvas.region(rng.uniform(30, 60), rng.uniform(0.05, 0.3))
    points = canvas.inside(canvas.scatter(18, 0.3), nest)
    nuclei = canvas.nuclei(points, 7.5, 0.15, 1.4, 0.9)
    haematoxylin += _chromatin(canvas, nuclei, 0.4) + 0.15 * nest
  return haematoxylin + rng.uniform(0, 0.15), eosin * rng.uniform(0.75, 1.0)


def _lympho(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  haematoxylin = _lymphocytes(
    canvas, rng.uniform(9.5, 13), rng.uniform(0.85, 1.0)
  )
  ground = rng.uniform(0.2, 1.0) * canvas.fibres(rng.uniform(0, np.pi), 3.0)
  ground *= _gaps(canvas, rng.uniform(8, 16), rng.uniform(0.05, 0.4))
  return haematoxylin + rng.uniform(0.05, 0.4), ground


def _debris(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  fibres = canvas.fibres(rng.uniform(0, np.pi), rng.uniform(2.0, 5.0))
  strands = _gaps(canvas, rng.uniform(14, 45), rng.uniform(0.1, 0.6))
  eosin = rng.uniform(0.2, 0.95) * fibres * strands
  eosin *= 1 + 0.15 * canvas.smooth(5)
  slime = np.maximum(1 + 0.5 * canvas.smooth(rng.uniform(20, 60)), 0)
  haematoxylin = rng.uniform(0.03, 0.3) * slime * fibres
  spread = rng.uniform(0.05, 0.6)
  points = canvas.scatter(rng.uniform(11, 22), 0.45)
  points = canvas.inside(points, canvas.region(40, spread))
  dying = canvas.nuclei(points, rng.uniform(2.0, 4.5), 0.4, 1.6, 0.9)
  return haematoxylin + _chromatin(canvas, dying, 0), eosin


def _mucosa(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  field = canvas.smooth(rng.uniform(80, 150))
  depth = field - np.quantile(field, rng.uniform(0.05, 0.6))
  crypt = 1 / (1 + np.exp(-25 * depth))
  wall, middle = _cells(canvas, rng.uniform(20, 40), rng.uniform(2.0, 5.0))
  haematoxylin, eosin = _stroma_of(canvas, rng.uniform(18, 34))
  haematoxylin += _lymphocytes(canvas, rng.uniform(14, 24), 0.5)
  slime = rng.uniform(0.12, 0.35) * (1 + 0.25 * canvas.smooth(5) * middle)
  wall = wall * (1 + 0.4 * canvas.smooth(25)).clip(0.1)
  haematoxylin = (1 - crypt) * haematoxylin + crypt * (slime + 0.55 * wall)
  eosin = (1 - crypt) * eosin + crypt * (0.08 + rng.uniform(0.3, 0.8) * wall)
  rim = np.exp(-(((depth - 0.05) / rng.uniform(0.08, 0.25)) ** 2))
  points = canvas.inside(canvas.scatter(rng.uniform(8, 11), 0.25), rim)
  nuclei = canvas.nuclei(points, 4.2, 0.1, 1.7, rng.uniform(0.9, 1.3))
  return haematoxylin + _chromatin(canvas, nuclei, 0), eosin + 0.3 * rim


def _adipose(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  wall, _ = _cells(canvas, rng.uniform(60, 130), rng.uniform(2.0, 9.0))
  amount = rng.uniform(0.06, 0.6)
  eosin = amount * wall * (1 + 0.3 * canvas.smooth(25)).clip(0)
  points = canvas.inside(canvas.scatter(rng.uniform(25, 60), 0.4), wall)
  nuclei = canvas.nuclei(points, 3.0, 0.2, 3.0, rng.uniform(0.4, 1.0))
  haematoxylin = _chromatin(canvas, nuclei, 0) + 0.3 * amount * wall
  if rng.random() < 0.3:
    film = canvas.region(rng.uniform(30, 60), rng.uniform(0.05, 0.3))
    eosin = eosin + rng.uniform(0.1, 0.4) * film * canvas.fibres(0.0, 2.0)
  return haematoxylin, eosin


def _empty(canvas: Canvas) -> tuple[np.ndarray, np.ndarray]:
  rng = canvas.rng
  specks = canvas.scatter(rng.uniform(30, 90), 0.5)
  dust = canvas.nuclei(specks, 1.0, 0.6, 1.3, rng.uniform(0, 0.4))
  eosin = rng.uniform(0, 0.03) * (1 + 0.5 * canvas.smooth(40)).clip(0)
  if rng.random() < 0.15:  # the edge of something
    edge = canvas.region(rng.uniform(60, 120), rng.uniform(0.01, 0.06))
    eosin = eosin + rng.uniform(0.1, 0.5) * edge
  return canvas.draw(dust), eosin


_DRAW = (
  _tumor,
  _stroma,
  _complex,
  _lympho,
  _debris,
  _mucosa,
  _adipose,
  _empty,
)


# The motifs.


def _stroma_of(canvas: Canvas, spacing: float) -> tuple[np.ndarray, np.ndarray]:
  """Fibres with fibroblasts so many pixels apart: haematoxylin and eosin."""
  rng = canvas.rng
  direction = rng.uniform(0, np.pi)
  eosin = rng.uniform(0.6, 1.25) * canvas.fibres(direction, rng.uniform(2, 4))
  eosin *= canvas.fibres(direction + rng.normal(0, 0.1), 1.0)
  eosin *= _gaps(canvas, rng.uniform(12, 35), 0.15 * rng.beta(1, 2))
  points = canvas.scatter(spacing, 0.4)
  nuclei = canvas.nuclei(points, 4.6, 0.2, 3.2, 0.8, direction)
  return _chromatin(canvas, nuclei, 0.25) + rng.uniform(0, 0.12), eosin


def _lymphocytes(canvas: Canvas, spacing: float, coverage: float) -> np.ndarray:
  """Haematoxylin of small dark nuclei in blobs that cover such a fraction."""
  points = canvas.scatter(spacing, 0.22)
  blobs = canvas.region(canvas.rng.uniform(30, 70), coverage)
  amount = canvas.rng.uniform(1.4, 2.2)
  nuclei = canvas.nuclei(canvas.inside(points, blobs), 5.0, 0.1, 1.15, amount)
  return _chromatin(canvas, nuclei, 0)


def _chromatin(canvas: Canvas, nuclei: np.ndarray, pale: float) -> np.ndarray:
  """Haematoxylin of f64[n, 6] nuclei, their middles paler by a fraction."""
  grain = 1 + 0.2 * canvas.smooth(3.5) + 0.15 * canvas.smooth(7)
  reach = math.ceil(nuclei[:, 2].max(initial=1)) + 2
  drawn = canvas.draw(nuclei, reach) * grain.clip(0.2)
  if not pale:
    return drawn
  inner = nuclei * np.array([1, 1, 0.65, 0.65, 1, 0]) + np.eye(6)[5]
  return drawn * (1 - pale * np.minimum(canvas.draw(inner, reach), 1))


def _cells(
  canvas: Canvas, spacing: float, width: float
) -> tuple[np.ndarray, np.ndarray]:
  """Cells side by side: walls so many pixels wide, and what they enclose."""
  around = math.ceil(spacing)  # for the cells that reach into the square
  wide = Canvas(canvas.rng, canvas.size + 2 * around)
  # Borders that are not quite straight.
  sway = 0.08 * spacing * canvas.smooth(spacing)
  row = np.arange(canvas.size)[:, None] + sway
  column = np.arange(canvas.size)[None] + sway
  nearest = np.full(sway.shape, np.inf)
  second = nearest
  for y, x in wide.scatter(spacing, 0.16) - around:
    square = (row - y) ** 2 + (column - x) ** 2
    second = np.minimum(second, np.maximum(nearest, square))
    nearest = np.minimum(nearest, square)
  wall = np.exp(-(((np.sqrt(second) - np.sqrt(nearest)) / width) ** 2))
  return wall, 1 - wall


def _gaps(canvas: Canvas, wavelength: float, share: float) -> np.ndarray:
  """1, and 0 in holes that take such a share: f64[166, 166]."""
  return 1 - canvas.region(wavelength, share)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
  """Gaussian blur of f64[166, 166, 3] without its border: f64[150, 150, 3]."""
  reach = 4  # More than three times the largest sigma, in pixels.
  taps = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
  taps /= taps.sum()
  starts = range(_BORDER - reach, _BORDER + reach + 1)
  pairs = list(zip(starts, taps.tolist(), strict=True))
  image = sum(tap * image[start : start + _SIZE] for start, tap in pairs)
  return sum(tap * image[:, start : start + _SIZE] for start, tap in pairs)
