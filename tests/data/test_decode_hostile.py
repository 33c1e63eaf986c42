"""Tests of decoding a corpus of plain, odd and hostile images, and damage."""

import pathlib
import struct
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from mn_jax.data import decode, plain_images
from tests.data import hostile_images as hostile

# As `decode` itself does, whose filter pytest's own ones hide.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

_CASES = hostile.cases()
_FAST = (
  "png",
  "png by Pillow",
  "png with a date",
  "png with a density",
  "png in pieces",
  "png of one pixel",
  "png of one column",
  "grey png",
  "grey jpeg",
  "jpeg and more",
  "jpeg with a profile",
  "jpeg with a comment",
)


def _plain(data: bytes, shortest: int = 0):
  return plain_images.decode(
    data, max_pixels=decode.MAX_PIXELS, shortest=shortest
  )


def test_the_corpus_is_large_and_its_files_distinct():
  assert len({case.data for case in _CASES}) == len(_CASES) >= 80
  assert sum(case.refusal is not None for case in _CASES) >= 40


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_every_image_has_its_stated_result(case, capfd):
  if case.refusal is None:
    pixels = decode.decode(case.data)
    assert pixels.dtype == np.uint8
    assert pixels.shape == case.pixels.shape
    assert np.abs(pixels.astype(int) - case.pixels).max() <= case.error
  else:
    with pytest.raises(decode.DecodeError, match=case.refusal) as caught:
      decode.decode(case.data)
    message = str(caught.value)
    assert message.isprintable()
    assert " at 0x" not in message  # nothing that changes between runs
  assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_the_fast_decoders_take_what_is_plain_and_agree(case):
  fast = _plain(case.data)
  is_plain = case.name in _FAST or case.name.startswith("jpeg progressive=")
  assert (fast is not None) == is_plain
  if fast is not None:
    slow, box = decode._decode_any(case.data, 0)
    np.testing.assert_array_equal(fast[0], slow)
    assert fast[1] is box is None


def test_nothing_is_warned_of_or_printed_in_a_process_of_its_own():
  program = """
    import hostile_images
    from mn_jax.data import decode

    for case in hostile_images.cases():
      try:
        decode.decode(case.data)
        assert case.refusal is None, case.name
      except decode.DecodeError as error:
        assert case.refusal in str(error), case.name
  """
  here = pathlib.Path(__file__).parent
  for warn in ("default", "error"):
    done = subprocess.run(
      [sys.executable, "-W", warn, "-c", textwrap.dedent(program)],
      env={"PYTHONPATH": f"{here}:{here.parents[1]}"},
      capture_output=True,
      text=True,
      check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("shape", [(1, 1), (3, 40), (17, 16), (33, 29)])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0", "grey"])
def test_both_decoders_agree_bit_by_bit(shape, progressive, subsampling):
  rng = np.random.default_rng(sum(shape))
  noise = rng.integers(0, 256, (*shape, 3), np.uint8)
  for image in (noise, hostile.smooth(*shape)):
    for quality, restart in ((10, 0), (75, 1), (98, 2)):
      grey = subsampling == "grey"
      data = hostile.save(
        image[..., 0] if grey else image,
        "JPEG",
        quality=quality,
        progressive=progressive,
        subsampling=0 if grey else subsampling,
        restart_marker_blocks=restart,
      )
      for shortest in (0, 1, 2, 4):
        fast, box = _plain(data, shortest)
        slow, expected = decode._decode_any(data, shortest)
        np.testing.assert_array_equal(fast, slow)
        assert box == expected


@pytest.mark.parametrize("subsampling", ["440", "411", "420"])
def test_rarer_subsamplings_agree(subsampling):
  noise = np.random.default_rng(1).integers(0, 256, (21, 35, 3), np.uint8)
  data = simplejpeg.encode_jpeg(noise, 80, colorsubsampling=subsampling)
  for shortest in (0, 4, 10):
    fast, box = _plain(data, shortest)
    slow, expected = decode._decode_any(data, shortest)
    np.testing.assert_array_equal(fast, slow)
    assert box == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("lossy", [False, True])
def test_damage_is_refused_or_decoded_alike(kind, lossy):
  """Byte flips, truncations and splices: DecodeError or u8[h, w, 3]."""
  options = {
    "PNG": ({}, {"optimize": True}),
    "JPEG": ({}, {"progressive": True}),
    "TIFF": ({}, {"compression": "tiff_lzw"}),
    "BMP": ({}, {}),
  }[kind][lossy]
  rng = np.random.default_rng(lossy)
  whole = hostile.save(hostile.smooth(), kind, **options)
  noise = rng.integers(0, 256, (33, 29, 3), np.uint8)
  other = hostile.save(noise, kind, **options)
  refused = decoded = 0
  for _ in range(250):
    data = bytearray(whole)
    for _ in range(rng.integers(1, 5)):
      reach = min(len(data), 400) if rng.random() < 0.7 else len(data)
      if reach:
        data[rng.integers(reach)] = rng.integers(256)
    if rng.random() < 0.1:
      del data[rng.integers(len(data)) :]
    if rng.random() < 0.1:
      data[rng.integers(len(data) + 1) :] = other[rng.integers(len(other)) :]
    data = bytes(data)
    fast = _plain(data)
    try:
      slow, _ = decode._decode_any(data, 0)
    except decode.DecodeError:
      refused += 1
      assert fast is None  # what Pillow refuses is refused
      continue
    decoded += 1
    assert slow.dtype == np.uint8
    assert slow.ndim == 3
    assert slow.shape[2] == 3
    if fast is not None:
      np.testing.assert_array_equal(fast[0], slow)
  assert refused
  assert decoded or kind == "PNG"  # whose checksums find every flip


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
  ("tag", "value", "checked"),
  [
    (269, 1, True),
    (256, 60_000, False),  # a second width
    (257, 60_000, False),
    (322, 60_000, False),  # tiles
    (32997, 60_000, False),  # depth
  ],
)
def test_tiffs_of_two_sizes_are_not_decoded_to_be_checked(
  tag, value, checked, order, monkeypatch
):
  entries = [(256, 5), (257, 7), (tag, value)]
  data = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(
    f"{order}IH", 8, len(entries)
  )
  for key, number in entries:
    data += struct.pack(f"{order}HHIHH", key, 3, 1, number, 0)
  seen = []
  monkeypatch.setattr(
    plain_images.imagecodecs, "tiff_decode", lambda *_, **__: seen.append(1)
  )
  plain_images.check_tiff(data, 7, 5)
  assert bool(seen) == checked
  seen.clear()
  plain_images.check_tiff(data, 7, 6)
  assert not seen
  with pytest.raises(ValueError, match="cut off"):
    plain_images.check_tiff(data[:20], 7, 5)


@pytest.mark.parametrize("turned", [False, True])
def test_resizing_while_decoding_is_close_to_resizing_after(turned):
  y, x = np.mgrid[:333, :417]
  waves = 128 + 60 * np.sin(x / 30) + 60 * np.cos(y / 25)
  image = np.stack([waves, waves[::-1], 255 - waves], -1).astype(np.uint8)
  exif = Image.Exif()
  if turned:
    exif[0x0112] = 6
  data = hostile.save(image, "JPEG", quality=90, exif=exif)
  for size in (20, 41, 60, 83):
    made = decode.decode_resized(data, size)
    full = decode.resize(decode.decode(data), size)
    assert made.shape == (size, size, 3)
    difference = np.abs(made.astype(int) - full)
    assert difference.mean() < 0.5
    assert difference.max() <= 2
    assert difference.any() != turned  # turned ones are not reduced


@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_resizing_is_exact_where_nothing_is_reduced(case):
  if case.refusal is None:
    expected = decode.resize(decode.decode(case.data), 12)
    made = decode.decode_resized(case.data, 12)
    np.testing.assert_array_equal(made, expected)
  else:
    with pytest.raises(decode.DecodeError, match=case.refusal):
      decode.decode_resized(case.data, 12)


def test_an_image_of_that_size_is_left_as_it_is():
  image = hostile.smooth(32, 32)
  data = hostile.save(image, "PNG")
  np.testing.assert_array_equal(decode.decode_resized(data, 32), image)


@pytest.mark.parametrize(
  ("height", "width", "shortest", "factor"),
  [
    (1000, 1000, 0, 1),
    (447, 900, 448, 1),
    (895, 2000, 448, 1),
    (896, 2000, 448, 2),
    (1791, 1792, 448, 2),
    (1792, 1792, 448, 4),
    (9000, 3584, 448, 8),
    (60_000, 60_000, 448, 8),
  ],
)
def test_both_sides_keep_what_resizing_needs(height, width, shortest, factor):
  assert plain_images.reduction(height, width, shortest) == factor
  assert plain_images.reduction(width, height, shortest) == factor
