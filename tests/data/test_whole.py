"""Tests of whole images: packing, middle squares, random crops, batches."""

import math

import numpy as np
import pytest
from PIL import Image

from mn_jax.data import loader, packing, resizing, whole
from mn_jax.errors import InputError
from tests.data import toy_cache as toy

# Of 12 files: landscape, portrait, square, smaller than the short side, narrow.
_SIZES = ((30, 40), (45, 20), (24, 24), (9, 12), (10, 90)) * 2
_SHORT = 16


def _originals() -> list[np.ndarray]:
  draw = np.random.default_rng(0)
  return [draw.integers(0, 256, (*size, 3), np.uint8) for size in _SIZES]


@pytest.fixture
def files() -> toy.Memory:
  return toy.Memory(
    {f"{i:02}.png": toy.png(image) for i, image in enumerate(_originals())}
  )


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
  monkeypatch.setattr(packing, "_CHUNK_BYTES", 3000)


def _build(files, root, **options):
  values = {"size": 14, "other_sizes": "crop", "short_side": _SHORT, **options}
  return toy.build(files, root, **values)


def test_packed_images_are_whole_and_no_larger_than_needed(files, tmp_path):
  packed = _build(files, tmp_path)
  assert packed.whole.sizes[:5].tolist() == [
    [16, 21],
    [36, 16],
    [16, 16],
    [9, 12],
    [10, 80],  # eight times as long as wide
  ]
  for row, original in enumerate(_originals()):
    np.testing.assert_array_equal(
      packed.whole[row], resizing.shorten(original, _SHORT)
    )


@pytest.mark.parametrize(("size", "share"), [(16, 1.0), (14, 0.875), (8, 0.5)])
def test_squares_are_those_of_the_originals(files, tmp_path, size, share):
  packed = _build(files, tmp_path, size=size, crop_share=share)
  squares = _build(files, tmp_path, size=size, crop_share=share, short_side=0)
  assert packed.images.shape == squares.images.shape == (10, size, size, 3)
  np.testing.assert_array_equal(np.asarray(packed.images), squares.images)
  assert packed.images.nbytes == squares.images.nbytes
  for index in (
    3,
    np.int64(3),
    slice(2, 7, 2),
    slice(0, 0),
    np.array([[5, 1], [1, 0]]),
    np.arange(10) % 3 == 0,
  ):
    one, other = packed.images[index], squares.images[index]
    np.testing.assert_array_equal(one, other)
    assert (one.shape, one.dtype) == (other.shape, other.dtype)


def test_squares_of_another_size_are_made_of_the_same_cache(files, tmp_path):
  first = _build(files, tmp_path)
  other = _build(files, tmp_path, size=20, crop_share=0.95)
  assert len(files.reads) == len(_SIZES)
  assert other.sha256 == first.sha256
  expected = resizing.resize_and_crop(first.whole[1], 20, share=0.95)
  np.testing.assert_array_equal(other.images[1], expected)


def test_a_stopped_build_resumes(files, tmp_path):
  expected = _build(files, tmp_path / "whole")

  def stop(done, total):
    if done > total // 2:
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    _build(files, tmp_path / "stopped", progress=stop)
  before = len(files.reads)
  packed = _build(files, tmp_path / "stopped")
  assert 0 < len(files.reads) - before < len(_SIZES)
  assert packed.sha256 == expected.sha256
  np.testing.assert_array_equal(packed.whole.sizes, expected.whole.sizes)


def test_a_changed_byte_is_noticed(files, tmp_path):
  expected = _build(files, tmp_path).whole[9].copy()
  path = toy.only_folder(tmp_path) / "images.u8"
  data = bytearray(path.read_bytes())
  data[-1] ^= 1
  path.write_bytes(data)
  again = _build(files, tmp_path)
  assert "damaged" in again.notes[-1]
  np.testing.assert_array_equal(again.whole[9], expected)


def test_squeezed_images_are_not_whole(files, tmp_path):
  with pytest.raises(InputError, match=r"data\.short_side: got 16 .*'resize'"):
    _build(files, tmp_path, other_sizes="resize")
  with pytest.raises(InputError, match=r"data\.crop_share: got 0.5 .*'drop'"):
    packing.PackOptions(16, "drop", crop_share=0.5)


def _torchvision(size, uniforms, min_area):
  """RandomResizedCrop.get_params of torchvision 0.20, with given randomness."""
  height, width = size
  tries = (len(uniforms) - 2) // 2
  for area_draw, ratio_draw in zip(
    uniforms[:tries], uniforms[tries : 2 * tries], strict=True
  ):
    area = height * width * (min_area + (1 - min_area) * area_draw)
    low, high = math.log(3 / 4), math.log(4 / 3)
    ratio = math.exp(low + (high - low) * ratio_draw)
    w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
    if 0 < w <= width and 0 < h <= height:
      i = int(uniforms[-2] * (height - h + 1))
      j = int(uniforms[-1] * (width - w + 1))
      return i, j, h, w
  if width / height < 3 / 4:
    w, h = width, round(width / (3 / 4))
  elif width / height > 4 / 3:
    h, w = height, round(height * (4 / 3))
  else:
    w, h = width, height
  return (height - h) // 2, (width - w) // 2, h, w


def test_crops_are_those_of_torchvision():
  draw = np.random.default_rng(1)
  sizes = draw.integers(1, 60, (400, 2)).astype(np.int32)
  uniforms = draw.random((400, whole.UNIFORMS))
  boxes = whole.draw(sizes, uniforms, min_area=0.3)
  expected = [
    _torchvision(size, of_image, 0.3)
    for size, of_image in zip(sizes.tolist(), uniforms.tolist(), strict=True)
  ]
  np.testing.assert_array_equal(boxes, expected)
  assert len({h / w for _, _, h, w in expected}) > 100
  # Some are too narrow for any crop of that area.
  assert (sizes.max(1) > 4 * sizes.min(1)).sum() > 20


def test_crops_reach_all_of_an_image(files, tmp_path):
  packed = _build(files, tmp_path)
  sizes = np.tile(packed.whole.sizes[:1], (2000, 1))
  uniforms = np.random.default_rng(0).random((2000, whole.UNIFORMS))
  top, left, height, width = whole.draw(sizes, uniforms, min_area=0.08).T
  assert (left.min(), (left + width).max()) == (0, 21)
  assert (top.min(), (top + height).max()) == (0, 16)
  share = height * width / (16 * 21)
  assert share.min() < 0.12
  assert share.max() > 0.9


def test_a_crop_is_resized_as_by_pillow(files, tmp_path):
  packed = _build(files, tmp_path)
  crops = whole.RandomCrops(packed.whole, 8, 0.1)
  rows = np.array([0, 1, 0])
  uniforms = np.random.default_rng(2).random((3, whole.UNIFORMS))
  images = crops.take(rows, uniforms)
  boxes = whole.draw(packed.whole.sizes[rows], uniforms, min_area=0.1)
  for image, row, (top, left, h, w) in zip(images, rows, boxes, strict=True):
    cropped = Image.fromarray(packed.whole[row]).crop(
      (left, top, left + w, top + h)
    )
    expected = cropped.resize((8, 8), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(image, expected)


def _batches(packed, **options) -> loader.TrainBatches:
  values = {"batch_size": 4, "num_batches": 6, "seed": 3, **options}
  return loader.TrainBatches(
    packed.images,
    packed.labels,
    np.arange(10),
    crops=whole.RandomCrops(packed.whole, 8, 0.1),
    **values,
  )


def test_crops_depend_on_seed_and_batch_number_alone(files, tmp_path):
  packed = _build(files, tmp_path)
  everything = [*_batches(packed).iterate(start=0, prefetch=2)]
  assert everything[0]["image"].shape == (4, 8, 8, 3)
  resumed = [*_batches(packed).iterate(start=4, prefetch=2)]
  shares = [
    _batches(packed, process_index=i, process_count=2).span(5, 1)[0]
    for i in range(2)
  ]
  for batch in (
    resumed[1],
    _batches(packed).span(5, 1)[0],
    {key: np.concatenate([s[key] for s in shares]) for key in shares[0]},
  ):
    for key, value in everything[5].items():
      np.testing.assert_array_equal(batch[key], value)
  other = _batches(packed, seed=4).span(5, 1)[0]
  assert not np.array_equal(other["image"], everything[5]["image"])


def test_repeated_images_have_crops_of_their_own(files, tmp_path):
  packed = _build(files, tmp_path)
  batch = _batches(packed, repeats=2).span(0, 1)[0]
  np.testing.assert_array_equal(batch["id"][:2], batch["id"][2:])
  assert batch["id"][0] != batch["id"][1]
  assert not np.array_equal(batch["image"][:2], batch["image"][2:])


def test_repeated_images_come_once_in_so_many_epochs(files, tmp_path):
  packed = _build(files, tmp_path)
  batches = _batches(packed, repeats=2, num_batches=10)
  ids = np.concatenate([batches.ids(number) for number in range(5)])
  np.testing.assert_array_equal(np.sort(ids), np.repeat(np.arange(10), 2))
  np.testing.assert_array_equal(batches.ids(2, 2), ids[8:16])


def test_repeats_divide_a_batch(files, tmp_path):
  packed = _build(files, tmp_path)
  with pytest.raises(InputError, match=r"augment\.repeats: got 3; valid: a"):
    _batches(packed, repeats=3)
