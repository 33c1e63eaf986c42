"""Tests of decoding: orientation, size limit, resizing and cropping."""

import io
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from mn_jax.data import decode, resizing
from mn_jax.data.files import archive
from tests.data import hostile_images as hostile


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind, orientation):
  options = {"quality": 95} if kind == "JPEG" else {}
  image = hostile.smooth()
  data = hostile.save(image, kind, exif=hostile.exif(orientation), **options)
  # What each value asks for, by the EXIF standard.
  upright = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a),
  }[orientation](image)
  pixels = decode.decode(data)
  assert pixels.shape == upright.shape
  assert np.abs(pixels.astype(int) - upright).max() <= 8
  assert decode.header(data) == decode.Header(kind, "RGB", *pixels.shape[:2])


def test_pixel_bombs_are_refused_without_loading_them(monkeypatch):
  def load(self):
    raise AssertionError("loaded")

  monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
  for width, height in ((8193, 8192), (60_000, 60_000), (1 << 30, 1)):
    tracemalloc.start()
    try:
      with pytest.raises(decode.DecodeError, match=r"pixels|exceeds"):
        decode.decode(hostile.promise(width, height))
      _, peak = tracemalloc.get_traced_memory()
    finally:
      tracemalloc.stop()
    assert peak < 1 << 20


def test_a_header_that_cannot_be_read():
  for data in (b"", b"text", hostile.promise(60_000, 60_000)):
    with pytest.raises(decode.DecodeError):
      decode.header(data)


def test_too_little_memory_is_no_fault_of_the_file(monkeypatch):
  content = io.BytesIO()
  Image.new("RGB", (4, 4)).save(content, "PNG")

  def fail(*args):
    raise MemoryError

  monkeypatch.setattr(decode, "_to_rgb", fail)
  with pytest.raises(MemoryError):
    decode.decode(content.getvalue())


def test_bits_of_16_bit_grey_images():
  values = np.array([[0, 3, 4, 500, 1023]], np.uint16)
  for kind in ("PNG", "TIFF"):
    data = hostile.save(values, kind)
    for bits, expected in ((16, values >> 8), (10, values >> 2)):
      maxima = set()
      pixels = decode.decode(data, bits=bits, maxima=maxima)
      np.testing.assert_array_equal(
        pixels, hostile.grey3(expected.astype(np.uint8))
      )
      assert maxima == {1023}
    with pytest.raises(decode.DecodeError, match=r"1023; valid: at most 511 "):
      decode.decode(data, bits=9)
  assert "left; data.bits=10 keeps 256" in decode.unused_bits({1023, 7}, 16)
  assert "1 of 256 grey" in decode.unused_bits({200}, 16)
  assert "data.bits=8 keeps 201" in decode.unused_bits({200}, 16)
  for maxima, bits in (({4096}, 16), ({1023}, 10), (set(), 16), ({0}, 16)):
    assert decode.unused_bits(maxima, bits) is None
  # TIFF has files of 12 bits, which say so: two values in three bytes.
  data = hostile.save(np.array([[0x1280, 0]], np.uint16), "TIFF")
  data = data.replace(b"\x02\x01\3\0\1\0\0\0\x10", b"\x02\x01\3\0\1\0\0\0\x0c")
  maxima = set()
  assert decode.decode(data, maxima=maxima)[0, :, 0].tolist() == [0x80, 0x20]
  assert not maxima
  colour = hostile.png(bytes(13), header=hostile.png_header(2, 1, depth=16))
  assert decode.decode(colour).shape == (1, 2, 3)
  with pytest.raises(decode.DecodeError, match="16-bit colour; valid"):
    decode.decode(colour, bits=10)
  # A file of 8 bits has no others.
  data = hostile.save(hostile.RGB, "PNG")
  np.testing.assert_array_equal(decode.decode(data, bits=9), hostile.RGB)


@pytest.mark.parametrize("orientation", [1, 6])
def test_zero_is_white_where_a_tiff_says_so(orientation):
  """As some scanners of X-rays write; at 8 bits Pillow sees to it."""
  black = b"\x06\x01\x03\0\x01\0\0\0\x01\0"  # photometric interpretation 1
  tags = {0x0112: orientation}
  for values, bits, highest in (
    (hostile.GREY, 16, 255),
    (hostile.GREY.astype(np.uint16) * 257, 16, 65_535),
    (hostile.GREY.astype(np.uint16) * 4, 10, 1023),
  ):
    data = hostile.save(values, "TIFF", tiffinfo=tags)
    inverted = data.replace(black, black[:-2] + bytes(2))
    assert inverted != data
    expected = decode.decode(
      hostile.save(highest - values, "TIFF", tiffinfo=tags), bits=bits
    )
    np.testing.assert_array_equal(decode.decode(inverted, bits=bits), expected)
    with Image.open(io.BytesIO(inverted)) as image:
      pixels = decode.from_pil(image, bits=bits)
    np.testing.assert_array_equal(pixels, expected)


def test_a_file_of_very_many_pieces_is_refused(monkeypatch):
  monkeypatch.setattr(decode, "MAX_READS", 20_000)
  monkeypatch.setattr(decode, "_COUNTED_BYTES", 100_000)
  chunks = hostile.chunk(b"quIx") * 10_000
  for data in (
    hostile.png(bytes(112), before=chunks),
    hostile.save(hostile.RGB, "JPEG")[:2] + b"\xff\xe5\0\2" * 30_000,
  ):
    with pytest.raises(decode.DecodeError, match="more than 20000 pieces"):
      decode.decode(data)


def test_resize_fills_the_square_is_antialiased_and_keeps_the_axes():
  for height, width in ((50, 1), (1, 50), (23, 50)):
    constant = np.full((height, width, 3), (10, 20, 30), np.uint8)
    resized = resizing.resize(constant, 50)
    assert resized.shape == (50, 50, 3)
    assert resized.dtype == np.uint8
    assert (resized == (10, 20, 30)).all()
  stripes = np.zeros((64, 64, 3), np.uint8)
  stripes[:, ::2] = 200
  inner = resizing.resize(stripes, 8)[1:-1, 1:-1]
  assert np.abs(inner.astype(int) - 100).max() < 9
  ramp = np.zeros((60, 20, 3), np.uint8)
  ramp += np.arange(60, dtype=np.uint8)[:, None, None]
  resized = resizing.resize(ramp, 30).astype(int)
  assert (np.diff(resized[:, 0, 0]) > 0).all()
  assert np.ptp(resized[15]) == 0


@pytest.mark.parametrize("kind", ["bilinear", "bicubic"])
def test_crop_is_of_the_middle_of_the_whole_image_resized(kind):
  method = Image.Resampling[kind.upper()]
  for image_size, size, share, resized, (left, top) in (
    # Worked out by hand.
    ((256, 256), 224, 0.875, (256, 256), (16, 16)),
    ((341, 256), 224, 0.875, (341, 256), (58, 16)),
    ((256, 343), 224, 0.875, (256, 343), (16, 59)),
    ((500, 375), 224, 0.875, (341, 256), (58, 16)),
    ((90, 200), 64, 0.95, (67, 148), (1, 42)),
    ((41, 40), 75, 0.875, (87, 85), (6, 5)),
  ):
    shape = (*image_size[::-1], 3)
    image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    cropped = resizing.resize_and_crop(
      image, size, share=share, interpolation=kind
    )
    whole = np.asarray(Image.fromarray(image).resize(resized, method))
    middle = whole[top : top + size, left : left + size]
    np.testing.assert_array_equal(cropped, middle)


def test_crop_fills_the_square():
  for height, width in ((1, 1), (2, 1), (1, 40), (3, 900), (400, 224)):
    image = np.full((height, width, 3), (10, 20, 30), np.uint8)
    for share in (0.875, 1.0):
      cropped = resizing.resize_and_crop(
        image, 224, share=share, interpolation="bicubic"
      )
      assert cropped.shape == (224, 224, 3)
      assert cropped.dtype == np.uint8
      assert (cropped == (10, 20, 30)).all()


def test_crop_of_a_narrow_image_is_not_resized_as_a_whole():
  # As a whole it would have 256 times 512 million pixels.
  wide = np.zeros((2, 4_000_000, 3), np.uint8)
  wide[:, 1_999_999:2_000_001] = 200
  for image in (wide, wide.swapaxes(0, 1)):
    cropped = resizing.resize_and_crop(image, 224, share=0.875)
    assert (cropped[112, 112] == 200).all()
    assert cropped.min() < 200


def test_real_images_decode(shared_data):
  for name, count, size in (
    ("colorectal-histology-24-tiles.zip", 24, 150),
    ("chest-xray-original-size-sample.zip", 24, None),
  ):
    files = archive.open_files(shared_data / name)
    images = [
      decode.decode(files.read(path))
      for path in files.names()
      if path.lower().endswith((".tif", ".tiff", ".jpeg", ".jpg"))
    ]
    files.close()
    assert len(images) == count
    if size:
      assert {image.shape for image in images} == {(size, size, 3)}
    assert all(len(np.unique(image)) > 20 for image in images)


def test_what_pillow_holds_is_converted_as_files_are():
  """Every mode and orientation gives the pixels that the file gives."""
  colour = hostile.smooth()
  grey = np.ascontiguousarray(colour[..., 0])
  files = [
    hostile.save(colour, "JPEG", exif=hostile.exif(6), quality=95),
    hostile.save(grey, "PNG"),
    hostile.save(grey.astype(np.uint16) * 257, "PNG"),
  ]
  for mode in ("RGBA", "P", "LA", "CMYK"):
    buffer = io.BytesIO()
    Image.fromarray(colour).convert(mode).save(buffer, "TIFF")
    files.append(buffer.getvalue())
  for data in files:
    with Image.open(io.BytesIO(data)) as image:
      before = image.size, image.mode
      pixels = decode.from_pil(image)
      assert (image.size, image.mode) == before
    np.testing.assert_array_equal(pixels, decode.decode(data))
  deep = Image.fromarray(grey.astype(np.uint16) * 4)
  np.testing.assert_array_equal(
    decode.from_pil(deep, bits=10), hostile.grey3(grey)
  )
  cut = Image.open(io.BytesIO(files[0][:-40]))
  for image, message in (
    (Image.new("F", (4, 4)), "no fixed range"),
    (Image.new("1", (8193, 8192)), "8193x8192 pixels; valid"),
    (cut, "truncated"),
  ):
    with pytest.raises(decode.DecodeError, match=message):
      decode.from_pil(image)
