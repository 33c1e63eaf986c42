"""The embedded sample of photographs: drawn things in the layout of CIFAR-100.

It stands in for classes 0 to 9 of the real set where nothing can be downloaded.
Reading, naming and splitting are left to the code for the real set.

`sample_things` paints them in many poses, colours and places. Some pairs are
hard to tell apart: apples and bottles have the same colours, bears and beavers
the same coats, bees and beetles the same places. Light, blur and noise differ
by image.
"""

import pathlib

import numpy as np
from numpy.random import Generator, Philox

from mn_jax.data.datasets import cifar
from mn_jax.data.samples import generated, things

_VERSION = 1  # To be raised whenever the same parameters give other pixels.
_FOLDER = "cifar-100-binary"  # As in the published archive.
_FINE = things.SIDE // cifar.SIZE  # Painted pixels, per side and pixel.

# In the order of the labels, as `coarse_label_names.txt` has them.
_COARSE = (
  "aquatic_mammals",
  "fish",
  "flowers",
  "food_containers",
  "fruit_and_vegetables",
  "household_electrical_devices",
  "household_furniture",
  "insects",
  "large_carnivores",
  "large_man-made_outdoor_things",
  "large_natural_outdoor_scenes",
  "large_omnivores_and_herbivores",
  "medium_mammals",
  "non-insect_invertebrates",
  "people",
  "reptiles",
  "small_mammals",
  "trees",
  "vehicles_1",
  "vehicles_2",
)

# Of classes 0 to 9, as in the published rows.
_COARSE_OF = (
  "fruit_and_vegetables",
  "fish",
  "people",
  "large_carnivores",
  "aquatic_mammals",
  "household_furniture",
  "insects",
  "insects",
  "vehicles_1",
  "food_containers",
)


def write_photos(
  root: pathlib.Path, *, seed: int = 0, per_class: int = 60
) -> int:
  """Writes the sample, or finds it written.

  The files are `cifar-100-binary/train.bin`, `test.bin` and the names of the
  labels as in the real set, and `SAMPLE.json`, which names the parameters; see
  `generated.write_once`. The test part has a third as many images. An image
  depends on the seed, its part, class and number alone, and the classes take
  turns, so fewer images are the first ones of more.

  Args:
    root: Folder that is missing, empty, or a sample of these parameters.
    seed: Number in [0, 2**64).
    per_class: Number of training images of each of the ten classes, at least 3.

  Returns:
    Number of images in the sample, written now or before.

  Raises:
    FileExistsError: `root` holds anything but a sample of these parameters.
    ValueError: A number is out of range.
  """
  for name, value, low, high in (
    ("seed", seed, 0, 2**64 - 1),
    ("per_class", per_class, 3, 2**31),
  ):
    if not low <= value <= high:
      raise ValueError(f"{name} must be in [{low}, {high}], got {value}")
  marker = {"sample": "mn_jax photographs", "version": _VERSION, "seed": seed}
  marker["per_class"] = per_class
  counts = {"train": per_class, "test": per_class // 3}

  def write(folder: pathlib.Path) -> None:
    folder = folder / _FOLDER
    folder.mkdir()
    for names, kind in ((cifar.CLASSES, "fine"), (_COARSE, "coarse")):
      text = "".join(f"{name}\n" for name in names)
      (folder / f"{kind}_label_names.txt").write_text(text)
    for place, (part, count) in enumerate(counts.items()):
      with (folder / f"{part}.bin").open("wb") as file:
        for number in range(count):
          for label in range(len(_COARSE_OF)):
            file.write(_row(seed, place, label, number))

  generated.write_once(root, marker, write)
  return len(_COARSE_OF) * sum(counts.values())


def _row(seed: int, part: int, label: int, number: int) -> bytes:
  """A record of the binary files: labels, then pixels channel by channel."""
  key = np.array([seed, (part << 48) + (label << 32) + number], np.uint64)
  pixels = _draw_photo(Generator(Philox(key=key)), label)
  labels = bytes([_COARSE.index(_COARSE_OF[label]), label])
  return labels + pixels.transpose(2, 0, 1).tobytes()


def _draw_photo(rng: Generator, label: int) -> np.ndarray:
  """Draws an image u8[32, 32, 3]: thing and ground, optics, light, noise."""
  rgb = things.paint(rng, label)
  rgb = rgb.reshape(cifar.SIZE, _FINE, cifar.SIZE, _FINE, 3).mean((1, 3))
  rgb = _blur(rgb, rng.uniform(0.3, 0.7))
  rgb *= np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.05, 3))
  rgb += rng.normal(0, 8) + rng.normal(0, rng.uniform(1, 6), rgb.shape)
  return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _blur(rgb: np.ndarray, sigma: float) -> np.ndarray:
  """Gaussian blur of f64[32, 32, 3]; `sigma` in pixels."""
  line = np.arange(cifar.SIZE)
  kernel = np.exp(-0.5 * (np.subtract.outer(line, line) / sigma) ** 2)
  kernel /= kernel.sum(1, keepdims=True)
  return np.moveaxis(kernel @ np.moveaxis(rgb, 2, 0) @ kernel.T, 0, 2)
