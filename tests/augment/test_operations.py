"""Tests of RandAugment's operations: Pillow's functions are the reference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mn_jax.augment import operations

_SIZE = (23, 30)
_GREY = (128, 128, 128)


def _images() -> list[Image.Image]:
  """Noise, a smooth image, one of few levels, and one colour."""
  draw = np.random.default_rng(0)
  noise = draw.integers(0, 256, (*_SIZE, 3))
  rows, columns = np.indices(_SIZE)
  smooth = np.stack([40 + 5 * rows, 3 * columns, 90 + rows + columns], axis=-1)
  few = draw.integers(0, 3, (*_SIZE, 3)) * 60 + 20
  plain = np.full((*_SIZE, 3), (7, 130, 255))
  return [
    Image.fromarray(array.astype(np.uint8))
    for array in (noise, smooth, few, plain)
  ]


def _solarize_add(image: Image.Image, addition: float) -> Image.Image:
  """timm's: a table of values below 128 with the addition, at most 255."""
  table = [min(255, i + int(addition)) if i < 128 else i for i in range(256)]
  return image.point(table * 3)


_PILLOW = {
  "autocontrast": lambda image, _: ImageOps.autocontrast(image),
  "equalize": lambda image, _: ImageOps.equalize(image),
  "invert": lambda image, _: ImageOps.invert(image),
  "posterize": lambda image, bits: ImageOps.posterize(image, int(bits)),
  "solarize": lambda image, threshold: ImageOps.solarize(image, threshold),
  "solarize_add": _solarize_add,
  "color": lambda image, f: ImageEnhance.Color(image).enhance(f),
  "contrast": lambda image, f: ImageEnhance.Contrast(image).enhance(f),
  "brightness": lambda image, f: ImageEnhance.Brightness(image).enhance(f),
  "sharpness": lambda image, f: ImageEnhance.Sharpness(image).enhance(f),
}
_ARGUMENTS = {
  "posterize": (8, 6, 3, 1),
  "solarize": (0, 25, 128, 256),
  "solarize_add": (0, 11, 60, 110),
  **dict.fromkeys(
    ("color", "contrast", "brightness", "sharpness"), (0.1, 0.73, 1.0, 1.9)
  ),
}


def _compare(ours, theirs, *, most_off):
  difference = np.abs(np.asarray(ours) - np.asarray(theirs, np.float32))
  assert difference.max() <= 1
  assert (difference > 0).mean() <= most_off


@pytest.mark.parametrize("name", operations.COLOURS)
def test_an_operation_is_pillows(name):
  operation = jax.jit(operations.COLOURS[name])
  images = _images()
  stacked = jnp.array(np.stack(images), jnp.float32)
  arguments = _ARGUMENTS.get(name, (0,))
  # Every image with every argument, in one batch.
  tiled = jnp.tile(stacked, (len(arguments), 1, 1, 1))
  ours = operation(
    tiled,
    jnp.repeat(jnp.array(arguments, jnp.float32), len(images)),
  )
  theirs = np.stack(
    [_PILLOW[name](image, a) for a in arguments for image in images]
  )
  assert not np.array_equal(ours, tiled)
  # Autocontrast computes whole numbers in Pillow as a bit less, at times.
  _compare(ours, theirs, most_off=0.01)


def test_histograms_are_the_same_in_both_forms():
  pixels = np.random.default_rng(0).integers(0, 256, (3, 5000))
  expected = np.stack([np.bincount(row, minlength=256) for row in pixels])
  for count in (operations._scattered, operations._multiplied):
    np.testing.assert_array_equal(count(jnp.array(pixels, jnp.int32)), expected)


def _affine(image, *matrix):
  return image.transform(
    image.size,
    Image.Transform.AFFINE,
    matrix,
    Image.Resampling.BILINEAR,
    fillcolor=_GREY,
  )


_MOVES = {
  "rotate": lambda image, degrees: image.rotate(
    degrees, Image.Resampling.BILINEAR, fillcolor=_GREY
  ),
  "shear_x": lambda image, by: _affine(image, 1, by, 0, 0, 1, 0),
  "shear_y": lambda image, by: _affine(image, 1, 0, 0, by, 1, 0),
  "translate_x": lambda image, by: _affine(image, 1, 0, by, 0, 1, 0),
  "translate_y": lambda image, by: _affine(image, 1, 0, 0, 0, 1, by),
}


@pytest.mark.parametrize(
  ("name", "arguments"),
  [
    ("rotate", (0.0, 27.0, -13.0)),
    ("shear_x", (0.3, -0.17)),
    ("shear_y", (0.3, -0.17)),
    ("translate_x", (7.0, -3.5)),
    ("translate_y", (7.0, -3.5)),
  ],
)
def test_a_move_is_pillows(name, arguments):
  images = _images()[:2]
  zeros = jnp.zeros(len(images))
  for argument in arguments:
    moves = dict.fromkeys(operations.GEOMETRY, zeros)
    moves[name] = jnp.full(len(images), argument)
    stacked = jnp.array(np.stack(images), jnp.float32)
    ours = operations.warp(stacked, moves, fill=128)
    theirs = np.stack([_MOVES[name](image, argument) for image in images])
    # Pillow rounds coordinates to 16 bits, and values down in some versions.
    _compare(ours, theirs, most_off=0.6)
    filled = (np.asarray(ours) == 128).all(-1)
    expected = (theirs == 128).all(-1)
    assert (filled != expected).mean() < 0.01
    assert argument == 0 or expected.mean() > 0.02


def test_cutout_covers_a_square_that_may_leave_the_image():
  images = jnp.zeros((200, 20, 30, 3))
  pad = jnp.where(jnp.arange(200) < 100, 4.0, 0.0)
  out = operations.cutout(images, pad, jax.random.key(0), fill=128)
  covered = np.asarray(out[..., 0] == 128).sum(axis=(1, 2))
  assert (covered[100:] == 0).all()
  assert covered[:100].max() == 64
  assert 16 <= covered[:100].min() < 64
