"""The embedded sample: synthetic patches in the layout of Kaggle's IDC set.

It stands in for the real breast-histopathology patches where nothing can be
downloaded; it says nothing about medicine. Reading, splitting and converting
are left to the code for the real set.

A patch is drawn as amounts of haematoxylin and eosin, which absorb light by
the Beer-Lambert law. Scale and palette resemble the real set: 50 pixels span
about 200 micrometres, a nucleus a few pixels (up to 1.5 times too many, so that
a small network sees it).

Class 1 has nests and sheets of large, pale, irregular nuclei. Class 0 has bare
stroma, fat, glands with rings of regular nuclei, and lymphocytes: small, dark
and as dense as a tumour. Any of these may stand in class 1, too. Some tumours
are faint or only touch the patch, and some patches of class 0 catch a few
tumour nuclei, so no classifier can be perfect.
"""

import dataclasses
import pathlib

import numpy as np
from numpy.random import Generator, Philox
from PIL import Image

from mn_jax.data.samples import folder
from mn_jax.data.samples.canvas import STAINS, Canvas

_SIZE = 50  # Pixels per side of a patch.
_VERSION = 1  # To be raised whenever the same parameters give other pixels.
_FIRST_CASE = 90001  # Real case ids are below 20000.

# Patches per row of a slide. It does not depend on the number of patches, so
# that a larger sample extends a smaller one.
_COLUMNS = 8

_GOLDEN = 0.6180339887498949  # Its multiples modulo 1 are evenly spread.


@dataclasses.dataclass(frozen=True)
class _Patient:
  """What the patches of one patient have in common."""

  share: float  # Fraction of patches of class 1.
  phase: float  # Start of the tumour on the slide, in widths of the slide.
  drift: float  # Shift of the tumour per row of patches, in the same unit.
  origin: tuple[int, int]  # Column and row of the first patch, in patches.
  stains: np.ndarray  # f64[2, 3] optical density as in STAINS.
  strength: np.ndarray  # f64[2] factors of haematoxylin and eosin.
  white: np.ndarray  # f64[3] RGB of empty glass, in [0, 255].
  blur: float  # Standard deviation of the optical blur, in pixels.
  radius: float  # Typical radius of tumour nuclei, in pixels.
  pleomorphism: float  # Spread of the log radius of tumour nuclei.
  crowding: float  # Distance of tumour nuclei over their radius.
  adiposity: float  # Probability of fat in a patch.


def write_sample(
  root: pathlib.Path, *, num_patients: int = 40, patches_per_patient: int = 50
) -> None:
  """Writes the sample, or finds it written.

  The files are `<case>/<class>/<case>_idx5_x<X>_y<Y>_class<class>.png` as in
  the real set, and `SAMPLE.json`, which names the parameters. They appear under
  `root` all at once or not at all; several processes may write at the same
  time. A patch depends on the case and its index alone, so fewer patients or
  patches give a subset.

  Args:
    root: Folder that is missing, empty, or a sample of these parameters.
    num_patients: Number of patients, in [1, 9999].
    patches_per_patient: Number of patches of each patient, positive.

  Raises:
    FileExistsError: `root` holds anything but a sample of these parameters.
  """

  def write(temp: pathlib.Path) -> None:
    for case in range(_FIRST_CASE, _FIRST_CASE + num_patients):
      _write_case(temp, case, patches_per_patient)

  marker = {
    "sample": "mn_jax",
    "version": _VERSION,
    "seed": 0,
    "num_patients": num_patients,
    "patches_per_patient": patches_per_patient,
  }
  folder.write_once(root, write, marker)


def _write_case(root: pathlib.Path, case: int, count: int) -> None:
  patient = _draw_patient(case)
  for index in range(count):
    row, column = divmod(index, _COLUMNS)
    # The tumour is a slanted band that wraps around the sides of the slide, so
    # each row has about the same share of it, whatever the number of rows.
    position = (column / _COLUMNS + patient.phase + patient.drift * row) % 1
    label = int(position < patient.share)
    place = root / str(case) / str(label)
    place.mkdir(parents=True, exist_ok=True)
    x = (patient.origin[0] + column) * _SIZE + 1
    y = (patient.origin[1] + row) * _SIZE + 1
    pixels = _draw_patch(_generator(case, index), patient, label)
    name = f"{case}_idx5_x{x}_y{y}_class{label}.png"
    Image.fromarray(pixels).save(place / name)


def _generator(case: int, index: int) -> Generator:
  """Generator of a patch, or for index -1 of what its patient has."""
  key = np.array([0, (case << 32) + index + 1], np.uint64)
  return Generator(Philox(key=key))


def _draw_patient(case: int) -> _Patient:
  # The ranks of successive cases are evenly spread, so that even a small sample
  # has about 31 % of class 1.
  rank = (_generator(0, -1).random() + case * _GOLDEN) % 1
  rng = _generator(case, -1)
  stains = STAINS * np.exp(rng.normal(0, 0.05, (2, 3)))
  return _Patient(
    share=0.82 * max(0.0, (rank - 0.06) / 0.94) ** 1.45,
    phase=rng.random(),
    drift=rng.uniform(-0.2, 0.2),
    origin=(int(rng.integers(5, 40)), int(rng.integers(5, 40))),
    stains=stains / np.linalg.norm(stains, axis=1, keepdims=True),
    strength=np.exp(rng.normal([-0.15, -0.25], [0.18, 0.25])),
    white=rng.uniform(238, 248) + rng.normal(0, 1.5, 3),
    blur=rng.uniform(0.3, 0.65),
    radius=rng.uniform(1.5, 2.1),
    pleomorphism=rng.uniform(0.16, 0.32),
    crowding=rng.uniform(1.9, 2.5),
    adiposity=rng.uniform(0.1, 0.65),
  )


def _draw_patch(rng: Generator, patient: _Patient, label: int) -> np.ndarray:
  """Draws a patch of class `label` from its own generator: u8[50, 50, 3]."""
  canvas = Canvas(rng, _SIZE)
  # Eosin in the fibres of the stroma, which fat and open space displace.
  direction = rng.uniform(0, np.pi)
  eosin = rng.uniform(0.45, 0.9) * canvas.fibres(direction)
  solid = np.ones((_SIZE, _SIZE))
  if rng.random() < patient.adiposity * (0.6 if label else 1):
    fat = canvas.region(22, rng.beta(1.2, 1.6) * (0.6 if label else 1))
    eosin = eosin * (1 - fat) + fat * _draw_membranes(canvas)
    solid *= 1 - fat
  if rng.random() < 0.2:
    glass = canvas.region(30, rng.beta(1, 3))
    eosin *= 1 - 0.97 * glass
    solid *= 1 - glass

  # Fibroblasts along the fibres, lymphocytes, glands, tumour.
  points = canvas.scatter(rng.uniform(5, 11), 0.4)
  nuclei = [canvas.nuclei(points, 0.85, 0.15, 3.0, 0.9, direction)]
  epithelium = np.zeros((_SIZE, _SIZE))
  if rng.random() < (0.2 if label else 0.48):
    spots = canvas.region(rng.uniform(10, 25), rng.uniform(0.1, 0.95))
    points = canvas.inside(canvas.scatter(rng.uniform(2.4, 3.4), 0.3), spots)
    nuclei.append(canvas.nuclei(points, 1.05, 0.07, 1.1, 1.7))
  if rng.random() < (0.15 if label else 0.45):
    for _ in range(rng.integers(1, 4)):
      ring, gland, lumen = _draw_gland(canvas)
      nuclei.append(ring)
      epithelium = np.maximum(epithelium, gland)
      eosin *= 1 - 0.9 * lumen
      solid *= 1 - lumen
  # Little tumour in class 1 and some in class 0 stand for what the border of a
  # coarse annotation does to real labels.
  if label or rng.random() < 0.1:
    coverage = rng.beta(1.6, 1.6) if label else rng.uniform(0.02, 0.15)
    tumour = canvas.region(rng.uniform(8, 28), 0.1 + 0.9 * coverage)
    size = patient.radius * rng.uniform(0.85, 1.15)
    points = canvas.inside(
      canvas.scatter(size * patient.crowding, 0.35), tumour
    )
    amount = rng.uniform(0.65, 1.05)
    nuclei.append(
      canvas.nuclei(points, size, patient.pleomorphism, 1.45, amount)
    )
    epithelium = np.maximum(epithelium, tumour)

  chromatin = 1 + 0.3 * rng.standard_normal((_SIZE, _SIZE)).clip(-2, 2)
  drawn = canvas.draw(canvas.inside(np.concatenate(nuclei), solid))
  haematoxylin = chromatin * drawn + solid * (0.04 + 0.12 * epithelium)
  eosin *= np.maximum(1 + 0.1 * canvas.smooth(20), 0)
  amounts = np.stack([haematoxylin, eosin], -1) * patient.strength
  rgb = _blur(patient.white * np.exp(-amounts @ patient.stains), patient.blur)
  rgb += rng.normal(0, 2.5, rgb.shape)
  return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _draw_membranes(canvas: Canvas) -> np.ndarray:
  """Eosin f64[50, 50] of fat: thin walls between empty cells."""
  row, column = canvas.scatter(canvas.rng.uniform(9, 15), 0.16).T
  line = np.arange(_SIZE)[:, None]
  distance = np.hypot((line - row)[:, None], (line - column)[None])
  nearest = np.partition(distance, 1, axis=-1)
  return 0.02 + 0.6 * np.exp(-((nearest[..., 1] - nearest[..., 0]) ** 2))


def _draw_gland(canvas: Canvas) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Nuclei f64[n, 6] of a gland, its mask and its lumen's f64[50, 50]."""
  rng = canvas.rng
  centre = rng.uniform(0, _SIZE, 2)
  squeeze = np.array([1.0, rng.uniform(0.7, 1.0)])
  inner = rng.uniform(1.5, 9)
  layers = int(rng.integers(1, 4))
  nuclei = []
  for layer in range(layers):
    radius = inner + 1.8 + 2.8 * layer
    n = int(2 * np.pi * radius / rng.uniform(2.7, 3.3))
    angle = 2 * np.pi * (np.arange(n) + rng.random()) / n
    ring = radius * squeeze * np.stack([np.sin(angle), np.cos(angle)], -1)
    points = centre + ring + 0.2 * rng.standard_normal((n, 2))
    nuclei.append(canvas.nuclei(points, 1.25, 0.08, 1.3, 1.1, angle))
  offset = (np.arange(_SIZE)[:, None] - centre) / squeeze
  distance = np.hypot(offset[:, :1], offset[:, 1])
  gland = 1 / (1 + np.exp(2 * (distance - inner - 2.8 * layers - 0.5)))
  lumen = 1 / (1 + np.exp(3 * (distance - inner)))
  return np.concatenate(nuclei), gland, lumen


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
  """Gaussian blur of f64[50, 50, 3]; `sigma` in pixels."""
  distance = np.subtract.outer(np.arange(_SIZE), np.arange(_SIZE))
  kernel = np.exp(-0.5 * (distance / sigma) ** 2)
  kernel /= kernel.sum(1, keepdims=True)
  return np.moveaxis(kernel @ np.moveaxis(image, 2, 0) @ kernel.T, 0, 2)
