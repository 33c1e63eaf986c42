"""The embedded sample of tiles: synthetic land cover in the layout of EuroSAT.

It stands in for the real Sentinel-2 tiles where nothing can be downloaded; it
says nothing about the Earth. Listing, splitting and decoding are left to the
code for the real set.

A tile spans 64 pixels of 10 metres. Ten classes are drawn from few motifs:
parcels between straight borders, rough terrain, water, roads, roofs and rows of
plants. Classes share motifs and colours: a highway and a river cross the same
fields that annual crops are, pastures and permanent crops can look like them,
forests and lakes are both dark. Sun and haze change the colours of a whole tile
more than some classes differ. So colour alone does not tell the classes apart,
and the hardest tiles stay doubtful.
"""

import functools
import pathlib
from collections.abc import Callable

import numpy as np
from numpy.random import Generator, Philox
from PIL import Image

from mn_jax.data.samples import generated

_SIZE = 64  # Pixels per side of a tile.
_VERSION = 1  # To be raised whenever the same parameters give other pixels.
_FOLDER = "2750"  # As in the published archive.

# Colours f64[n, 3], RGB in [0, 255], as such ground looks in the real set.
_SOIL = np.array([[205, 160, 135], [165, 128, 115], [120, 98, 96]], float)
_CROP = np.array([[40, 88, 62], [66, 122, 74], [110, 118, 82]], float)
_GRASS = np.array([[58, 98, 78], [72, 108, 86], [92, 112, 84]], float)
_SHRUB = np.array([[92, 92, 78], [70, 82, 74], [112, 98, 84]], float)
_TREES = np.array([[28, 64, 58], [34, 76, 52], [36, 60, 70]], float)
_WATER = np.array([[26, 44, 76], [30, 70, 84], [84, 118, 112]], float)
_ROOFS = np.array([[232, 232, 230], [150, 150, 158], [105, 120, 160]], float)
_TILES = np.array([[168, 112, 98], [120, 96, 92], [196, 186, 176]], float)
_ROAD = np.array([[128, 126, 128], [104, 108, 114], [158, 148, 140]], float)


def write_tiles(
  root: pathlib.Path, *, seed: int = 0, tiles_per_class: int = 150
) -> int:
  """Writes the sample, or finds it written.

  The files are `2750/<Class>/<Class>_<n>.jpg` as in the real set, and
  `SAMPLE.json`, which names the parameters; see `generated.write_once`. A tile
  depends on the seed, its class and its number alone, so fewer tiles give a
  subset.

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
  marker = {"sample": "mn_jax tiles", "version": _VERSION, "seed": seed}
  marker["tiles_per_class"] = tiles_per_class

  def write(folder: pathlib.Path) -> None:
    for label, name in enumerate(_DRAW):
      _write_class(folder / _FOLDER / name, seed, label, tiles_per_class)

  generated.write_once(root, marker, write)
  return len(_DRAW) * tiles_per_class


def _write_class(
  folder: pathlib.Path, seed: int, label: int, count: int
) -> None:
  folder.mkdir(parents=True)
  for number in range(1, count + 1):
    key = np.array([seed, (label << 32) + number], np.uint64)
    pixels = _draw_tile(Generator(Philox(key=key)), _DRAW[folder.name])
    # The published tiles are of this quality, too.
    Image.fromarray(pixels).save(
      folder / f"{folder.name}_{number}.jpg", quality=100
    )


def _draw_tile(
  rng: Generator, draw: Callable[[Generator], np.ndarray]
) -> np.ndarray:
  """Draws a tile u8[64, 64, 3]: ground, optics, sun, haze and noise."""
  rgb = _blur(draw(rng))
  sun = np.exp(rng.normal(0, 0.16) + rng.normal(0, 0.05, 3))
  haze = 0.45 * rng.beta(1, 2.2)
  air = np.array([105, 112, 138]) + rng.normal(0, 10, 3)
  rgb = (1 - haze) * sun * rgb + haze * air
  rgb += rng.normal(0, 1.5, rgb.shape)
  return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


# The classes. Each draws the ground f64[64, 64, 3] from the tile's generator.


def _annual_crop(rng: Generator) -> np.ndarray:
  parcels = _Parcels(rng, rng.uniform(10, 34), rng.uniform(22, 70))
  bare = parcels.pick(rng.random(parcels.shape) < rng.beta(2, 2))
  rgb = np.where(
    bare[..., None], parcels.colours(rng, _SOIL), parcels.colours(rng, _CROP)
  )
  rgb *= 1 + rng.uniform(0, 0.05) * parcels.rows(rng, rng.uniform(2.5, 5))
  if rng.random() < 0.4:
    _paint(rgb, 0.7 * parcels.borders(), _colour(rng, _ROAD))
  return rgb * (1 + 0.05 * _noise(rng, 1.0))[..., None]


def _forest(rng: Generator) -> np.ndarray:
  rgb = _rough(rng, _colour(rng, _TREES), rng.uniform(0.05, 0.2), 0.4)
  rgb *= 1 + rng.uniform(0.03, 0.12) * _noise(rng, 0.0)[..., None]
  if rng.random() < 0.3:
    clearing = _above(_noise(rng, 1.4), rng.uniform(0.8, 0.97))
    _paint(rgb, 0.7 * clearing, _colour(rng, _SHRUB))
  return rgb


def _herbaceous_vegetation(rng: Generator) -> np.ndarray:
  rgb = _rough(rng, _colour(rng, _SHRUB), rng.uniform(0.1, 0.25), 1.0)
  for palette in (_SOIL, _GRASS, _TREES):
    if rng.random() < 0.6:
      cover = _above(_noise(rng, rng.uniform(0.7, 1.4)), rng.uniform(0.55, 0.9))
      _paint(rgb, rng.uniform(0.4, 0.9) * cover, _colour(rng, palette))
  if rng.random() < 0.4:
    path = _band(rng, rng.uniform(0.4, 1.0), bend=9.0)
    _paint(rgb, 0.6 * path, _colour(rng, _SOIL))
  return rgb


def _highway(rng: Generator) -> np.ndarray:
  rgb = _land(rng)
  for _ in range(1 + (rng.random() < 0.35)):
    road = _band(rng, rng.uniform(0.8, 2.4), bend=2.0)
    _paint(rgb, rng.uniform(0.6, 1.0) * road, _colour(rng, _ROAD))
  return rgb


def _industrial(rng: Generator) -> np.ndarray:
  parcels = _Parcels(rng, rng.uniform(7, 14), rng.uniform(8, 22))
  rgb = parcels.colours(rng, _ROAD)
  green = parcels.pick(rng.random(parcels.shape) < rng.uniform(0.1, 0.4))
  _paint(rgb, green, _colour(rng, _GRASS))
  built = parcels.pick(rng.random(parcels.shape) < rng.uniform(0.4, 0.8))
  roof = built & parcels.inside(rng.uniform(1, 2.5)) & ~green
  rgb = np.where(roof[..., None], parcels.colours(rng, _ROOFS), rgb)
  rgb *= 1 + 0.06 * roof[..., None] * parcels.rows(rng, rng.uniform(3, 5))
  return rgb * (1 + 0.07 * _noise(rng, 0.3))[..., None]


def _pasture(rng: Generator) -> np.ndarray:
  parcels = _Parcels(rng, rng.uniform(14, 40), rng.uniform(18, 50), warp=2.5)
  rgb = parcels.colours(rng, _GRASS, spread=rng.uniform(0.02, 0.1))
  rgb *= 1 + rng.uniform(0.03, 0.09) * _noise(rng, 1.2)[..., None]
  trees = _colour(rng, _TREES)
  if rng.random() < 0.75:
    hedge = parcels.borders() * _above(_noise(rng, 0.4), 0.3)
    _paint(rgb, rng.uniform(0.4, 0.9) * hedge, trees)
  _paint(rgb, 0.8 * _above(_noise(rng, 0.5), rng.uniform(0.93, 1)), trees)
  return rgb


def _permanent_crop(rng: Generator) -> np.ndarray:
  parcels = _Parcels(rng, rng.uniform(9, 26), rng.uniform(12, 40), warp=1.0)
  rgb = parcels.colours(rng, rng.permutation(np.vstack([_SOIL, _SHRUB]))[:3])
  rows = parcels.rows(rng, rng.uniform(2.6, 5.0))
  if rng.random() < 0.5:  # an orchard: single trees, not rows of vines
    rows = rows * parcels.rows(rng, rng.uniform(2.6, 5.0))
  planted = parcels.pick(rng.random(parcels.shape) < 0.8)[..., None]
  cover = rng.uniform(0.15, 0.55) * planted * (rows > rng.uniform(-0.2, 0.5))
  _paint(rgb, cover[..., 0], _colour(rng, _TREES))
  if rng.random() < 0.5:
    _paint(rgb, 0.6 * parcels.borders(), _colour(rng, _SOIL))
  return rgb * (1 + 0.06 * _noise(rng, 0.8))[..., None]


def _residential(rng: Generator) -> np.ndarray:
  parcels = _Parcels(rng, rng.uniform(4, 7), rng.uniform(4, 7), warp=0.6)
  rgb = _rough(rng, _colour(rng, _GRASS), 0.15, 0.5)
  _paint(rgb, 0.8 * _above(_noise(rng, 0.3), 0.7), _colour(rng, _TREES))
  built = parcels.pick(rng.random(parcels.shape) < rng.uniform(0.6, 0.95))
  house = built & parcels.inside(rng.uniform(0.9, 1.6))
  rgb = np.where(house[..., None], parcels.colours(rng, _TILES), rgb)
  for _ in range(rng.integers(1, 4)):
    street = _band(rng, rng.uniform(0.5, 0.9), bend=2.0)
    _paint(rgb, 0.8 * street, _colour(rng, _ROAD))
  return rgb


def _river(rng: Generator) -> np.ndarray:
  rgb = _land(rng)
  half = rng.uniform(2.5, 9)
  water = _rough(rng, _colour(rng, _WATER), 0.02, 1.0)
  bank = rng.uniform(0.5, 2.5)
  course = _course(rng, bend=7.0)
  _paint(rgb, 0.7 * _covered(half + bank - course), _colour(rng, _TREES))
  return rgb + _covered(half - course)[..., None] * (water - rgb)


def _sea_lake(rng: Generator) -> np.ndarray:
  rgb = _rough(rng, _colour(rng, _WATER), rng.uniform(0.005, 0.05), 1.5)
  if rng.random() < 0.15:
    _paint(rgb, _above(_noise(rng, 1.6), 0.97), _colour(rng, _SOIL))
  return rgb


_DRAW = {
  "AnnualCrop": _annual_crop,
  "Forest": _forest,
  "HerbaceousVegetation": _herbaceous_vegetation,
  "Highway": _highway,
  "Industrial": _industrial,
  "Pasture": _pasture,
  "PermanentCrop": _permanent_crop,
  "Residential": _residential,
  "River": _river,
  "SeaLake": _sea_lake,
}


# The motifs.


def _land(rng: Generator) -> np.ndarray:
  """What highways and rivers run through."""
  kinds = (_annual_crop, _pasture, _forest, _herbaceous_vegetation)
  return kinds[rng.choice(4, p=(0.45, 0.25, 0.15, 0.15))](rng)


class _Parcels:
  """A tile divided into oblongs, turned by a random angle.

  Attributes:
    shape: rows and columns of the tables that hold a value per parcel.
  """

  def __init__(
    self, rng: Generator, width: float, length: float, warp: float = 0.0
  ):
    """Divides the tile; `width`, `length` and `warp` are in pixels."""
    self._across, self._along = _turned(rng)
    if warp:
      self._across = self._across + warp * _noise(rng, 1.2).clip(-4, 4)
    # No pixel is farther than half a diagonal, and the warp, from the middle.
    reach = 0.71 * _SIZE + 4 * warp
    # As many strips as the narrowest need, and one on each side.
    ratios = rng.uniform(0.6, 1.4, int(2 * reach / (0.6 * width)) + 6)
    edges = width * (np.cumsum(ratios) - 2.4) - reach
    self._row = np.searchsorted(edges, self._across) - 1
    lengths = length * rng.uniform(0.6, 1.4, len(edges))
    start = -lengths * rng.random(len(edges)) - reach
    lengths = lengths[self._row]
    place = (self._along - start[self._row]) / lengths
    self._column = place.astype(int)
    self._margin = np.minimum(
      np.minimum(
        self._across - edges[self._row], edges[self._row + 1] - self._across
      ),
      lengths * np.minimum(place % 1, 1 - place % 1),
    )
    self.shape = (len(edges), int(self._column.max()) + 1)

  def pick(self, table: np.ndarray) -> np.ndarray:
    """[64, 64, ...]: each pixel's value in a table [rows, columns, ...]."""
    return table[self._row, self._column]

  def colours(
    self, rng: Generator, palette: np.ndarray, spread: float = 0.1
  ) -> np.ndarray:
    """f64[64, 64, 3]: a colour per parcel between those of f64[3, 3]."""
    mixture = rng.dirichlet((0.6, 0.6, 0.6), self.shape)
    shade = np.exp(rng.normal(0, spread, self.shape))
    return self.pick((mixture @ palette) * shade[..., None])

  def inside(self, margin: float) -> np.ndarray:
    """bool[64, 64]: farther than so many pixels from every border."""
    return self._margin > margin

  def borders(self) -> np.ndarray:
    """f64[64, 64] in [0, 1]: lines about a pixel wide."""
    return _covered(0.7 - self._margin)

  def rows(self, rng: Generator, period: float) -> np.ndarray:
    """f64[64, 64, 1] in [-1, 1]: waves along or across each parcel."""
    along = self.pick(rng.random(self.shape) < 0.5)
    place = np.where(along, self._along, self._across)
    return np.cos(place * (2 * np.pi / period))[..., None]


def _turned(rng: Generator) -> tuple[np.ndarray, np.ndarray]:
  """Two coordinates f64[64, 64] in pixels, from a random point, turned."""
  angle = rng.uniform(0, np.pi)
  line = np.arange(_SIZE) - _SIZE / 2
  row, column = line[:, None], line[None]
  return (
    row * np.cos(angle) + column * np.sin(angle),
    column * np.cos(angle) - row * np.sin(angle),
  )


def _course(rng: Generator, bend: float) -> np.ndarray:
  """Distance f64[64, 64] in pixels from a line that sways by `bend` pixels."""
  across, along = _turned(rng)
  wave = 2 * np.pi / rng.uniform(60, 140)
  sway = bend * rng.normal()
  phase = along * wave + rng.uniform(0, 2 * np.pi)
  slope = sway * wave * np.cos(phase)
  offset = rng.uniform(-16, 16) + sway * np.sin(phase)
  return np.abs(across - offset) / np.sqrt(1 + slope**2)


def _band(rng: Generator, half: float, bend: float) -> np.ndarray:
  """Soft mask f64[64, 64] of a line of half a width in pixels."""
  return _covered(half - _course(rng, bend))


def _covered(depth: np.ndarray) -> np.ndarray:
  """What share of a pixel lies within an edge; `depth` is in pixels."""
  return np.clip(depth + 0.5, 0, 1)


def _rough(
  rng: Generator, colour: np.ndarray, contrast: float, smoothness: float
) -> np.ndarray:
  """f64[64, 64, 3]: one colour, lighter and darker by a relative contrast."""
  return colour * np.exp(contrast * _noise(rng, smoothness))[..., None]


def _above(field: np.ndarray, share: float) -> np.ndarray:
  """Soft mask f64[64, 64] of what is above such a share of a normal field."""
  return 1 / (1 + np.exp(-6 * (field - np.quantile(field, share))))


def _noise(rng: Generator, smoothness: float) -> np.ndarray:
  """Random field f64[64, 64] of zero mean and unit variance.

  The amplitude of its waves falls with their frequency to this power.
  """
  white = rng.standard_normal((_SIZE, _SIZE // 2 + 1, 2)).view(complex)[..., 0]
  field = np.fft.irfft2(white * _amplitude(round(smoothness, 1)))
  return field / field.std()


@functools.cache
def _amplitude(smoothness: float) -> np.ndarray:
  """f64[64, 33] of the waves of `_noise`; the finest are left out."""
  frequency = np.hypot(
    np.fft.fftfreq(_SIZE)[:, None], np.fft.rfftfreq(_SIZE)[None]
  )
  frequency[0, 0] = np.inf
  return frequency**-smoothness * np.exp(-((2.5 * frequency) ** 2))


def _colour(rng: Generator, palette: np.ndarray) -> np.ndarray:
  """A colour f64[3] between those of a palette f64[3, 3]."""
  return rng.dirichlet((0.6, 0.6, 0.6)) @ palette


def _paint(rgb: np.ndarray, mask: np.ndarray, colour: np.ndarray) -> None:
  """Lays a colour f64[3] over f64[64, 64, 3] where f64[64, 64] is 1."""
  rgb += mask[..., None] * (colour - rgb)


def _blur(rgb: np.ndarray) -> np.ndarray:
  """Blurs f64[64, 64, 3] as optics do: a pixel gives a sixth to each side."""
  kernel = (4 * np.eye(_SIZE) + np.eye(_SIZE, k=1) + np.eye(_SIZE, k=-1)) / 6
  kernel /= kernel.sum(1, keepdims=True)
  return np.moveaxis(kernel @ np.moveaxis(rgb, 2, 0) @ kernel.T, 0, 2)
