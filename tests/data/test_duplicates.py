"""Tests of finding duplicates among images of one kind."""

import functools
import io

import numpy as np
import pytest
from PIL import Image

from mn_jax.data import duplicates

_LIMITS = {"max_distance": 6, "min_correlation": 0.97}


@functools.cache
def _scenes(count: int, size: int = 64, seed: int = 0) -> np.ndarray:
  """Smooth random colour fields with some grain, u8[count, size, size, 3]."""
  rng = np.random.default_rng(seed)
  light = rng.integers(40, 200, (count, 7, 7, 1))
  small = (light + rng.integers(-20, 20, (count, 1, 1, 3))).astype(np.uint8)
  large = [
    np.asarray(
      Image.fromarray(s).resize((size, size), Image.Resampling.BICUBIC)
    )
    for s in small
  ]
  grain = rng.normal(0, 3, (count, size, size, 3))
  return np.clip(np.stack(large) + grain, 0, 255).astype(np.uint8)


def _prints(images: np.ndarray) -> duplicates.Fingerprints:
  return duplicates.fingerprints(images, np.arange(len(images)))


def _jpeg(image: np.ndarray) -> np.ndarray:
  buffer = io.BytesIO()
  Image.fromarray(image).save(buffer, "JPEG", quality=50)
  return np.asarray(Image.open(buffer).convert("RGB"))


def _brighter(image: np.ndarray) -> np.ndarray:
  return np.clip(image.astype(int) + 15, 0, 255).astype(np.uint8)


def _halved(image: np.ndarray) -> np.ndarray:
  size = len(image)
  half = Image.fromarray(image).resize((size // 2,) * 2)
  return np.asarray(half.resize((size,) * 2))


@pytest.mark.parametrize("change", [_jpeg, _brighter, _halved])
@pytest.mark.parametrize("size", [50, 64, 224])
def test_changed_copies_are_found_and_others_are_not(change, size):
  images = _scenes(40, size)
  copies = np.stack([change(image) for image in images[::-1]])
  pairs = duplicates.similar_pairs(_prints(images), _prints(copies), **_LIMITS)
  assert (pairs.sum(axis=1) == 39).all()  # each with its own copy alone
  assert len(pairs) >= 38


def test_equal_pixels_are_exact_and_not_near():
  images = _scenes(10)
  other = np.concatenate([_scenes(5, seed=1), images[[7, 2, 7]]])
  one, two = _prints(images), _prints(other)
  assert duplicates.equal_pairs(one, two).tolist() == [[7, 5], [2, 6], [7, 7]]
  assert duplicates.similar_pairs(one, two, **_LIMITS).shape == (0, 2)
  again = _prints(np.concatenate([images, images[:1]]))
  pairs = duplicates.equal_pairs(again, _prints(images[:1]))
  assert pairs.tolist() == [[0, 0], [10, 0]]
  rows = np.array([8, 3, 5])
  some = duplicates.fingerprints(images, rows)
  assert some.hashes.tolist() == one.hashes[rows].tolist()
  assert some.digests.tolist() == one.digests[rows].tolist()


def test_blank_images_are_compared_by_content_only():
  rng = np.random.default_rng(0)
  blank = np.clip(240 + rng.normal(0, 2, (6, 50, 50, 3)), 0, 255)
  one = _prints(blank[:3].astype(np.uint8))
  two = _prints(blank[2:].astype(np.uint8))
  assert one.blank.all()
  assert np.isfinite(one.thumbnails).all()
  assert duplicates.similar_pairs(one, two, **_LIMITS).shape == (0, 2)
  assert duplicates.equal_pairs(one, two).tolist() == [[2, 0]]
  flat = _prints(np.full((2, 50, 50, 3), 255, np.uint8))
  assert flat.blank.all()
  assert not flat.thumbnails.any()


def test_blocks_do_not_change_what_is_found(monkeypatch):
  images = _scenes(30)
  copies = np.stack([_jpeg(image) for image in images[::3]])
  whole = duplicates.similar_pairs(_prints(images), _prints(copies), **_LIMITS)
  assert len(whole) == 10
  monkeypatch.setattr(duplicates, "_PAIRS", 64)
  monkeypatch.setattr(duplicates, "_BATCH", 7)
  seen = []
  parts = duplicates.similar_pairs(
    _prints(images),
    _prints(copies),
    **_LIMITS,
    progress=lambda *done: seen.append(done),
  )
  np.testing.assert_array_equal(parts, whole)
  assert seen[-1] == (10, 10)
  assert len(seen) == 5


def test_the_hash_is_that_of_a_plain_transcription():
  """By scipy's cosine transform of a thumbnail that was made before."""
  import scipy.fft

  images = _scenes(6, size=32)
  grey = images @ np.array([0.299, 0.587, 0.114])
  waves = scipy.fft.dctn(grey, axes=(1, 2))[:, :8, :8].reshape(6, -1)
  # scipy halves nothing: the first row and column carry no factor here either.
  bits = waves > np.median(waves, axis=1, keepdims=True)
  expected = np.packbits(bits, axis=1).view(np.uint64)[:, 0]
  assert _prints(images).hashes.tolist() == expected.tolist()
