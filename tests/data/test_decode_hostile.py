"""Tests of decoding plain, odd, hostile and damaged image files."""

import pathlib
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from mn_jax.data import decode, resizing
from tests.data import hostile_images as hostile

# As `decode` itself does, whose filter pytest's own ones hide.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

_CASES = hostile.cases()


def test_the_corpus_is_large_and_its_files_distinct():
  assert len({case.data for case in _CASES}) == len(_CASES) >= 80
  assert sum(case.refusal is not None for case in _CASES) >= 40


def test_every_file_decodes_or_is_refused_as_stated(capfd):
  for case in _CASES:
    if case.refusal is None:
      pixels = decode.decode(case.data)
      assert pixels.dtype == np.uint8, case.name
      assert pixels.shape == case.pixels.shape, case.name
      difference = np.abs(pixels.astype(int) - case.pixels)
      assert difference.max() <= case.error, case.name
      # A file this small is never decoded at a part of its size.
      resized = decode.decode(case.data, 21)
      np.testing.assert_array_equal(
        resized, resizing.resize(pixels, 21), err_msg=case.name
      )
    else:
      for read in (decode.decode, lambda data: decode.decode(data, 12)):
        with pytest.raises(decode.DecodeError) as caught:
          read(case.data)
        message = str(caught.value)
        assert case.refusal in message, case.name
        assert message.isprintable(), case.name
        assert " at 0x" not in message  # nothing that changes between runs
    assert capfd.readouterr() == ("", ""), case.name


def test_nothing_is_warned_of_or_printed_in_a_process_of_its_own():
  program = """
    import hostile_images
    from mn_jax.data import decode, resizing

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


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("packed", [False, True])
def test_damage_is_refused_or_decoded(kind, packed):
  """Byte flips, truncations and splices: DecodeError or u8[h, w, 3]."""
  options = {
    "PNG": ({}, {"optimize": True}),
    "JPEG": ({}, {"progressive": True}),
    "TIFF": ({}, {"compression": "tiff_lzw"}),
    "BMP": ({}, {}),
  }[kind][packed]
  rng = np.random.default_rng(packed)
  intact = hostile.save(hostile.smooth(), kind, **options)
  noise = rng.integers(0, 256, (33, 29, 3), np.uint8)
  other = hostile.save(noise, kind, **options)
  refused = decoded = 0
  for _ in range(250):
    data = bytearray(intact)
    for _ in range(rng.integers(1, 5)):
      reach = min(len(data), 400) if rng.random() < 0.7 else len(data)
      if reach:
        data[rng.integers(reach)] = rng.integers(256)
    if rng.random() < 0.1:
      del data[rng.integers(len(data)) :]
    if rng.random() < 0.1:
      data[rng.integers(len(data) + 1) :] = other[rng.integers(len(other)) :]
    try:
      pixels = decode.decode(bytes(data))
    except decode.DecodeError:
      refused += 1
      continue
    decoded += 1
    assert pixels.dtype == np.uint8
    assert pixels.ndim == 3
    assert pixels.shape[2] == 3
  assert refused
  assert decoded or kind == "PNG"  # whose checksums find every flip


@pytest.mark.parametrize("turned", [False, True])
def test_decoding_a_jpeg_at_a_part_of_its_size_is_close_to_resizing(turned):
  y, x = np.mgrid[:333, :417]
  waves = 128 + 60 * np.sin(x / 30) + 60 * np.cos(y / 25)
  image = np.stack([waves, waves[::-1], 255 - waves], -1).astype(np.uint8)
  exif = hostile.exif(6 if turned else 1)
  data = hostile.save(image, "JPEG", quality=90, exif=exif)
  for size in (20, 41, 60, 83):
    resized = decode.decode(data, size)
    full = resizing.resize(decode.decode(data), size)
    assert resized.shape == (size, size, 3)
    difference = np.abs(resized.astype(int) - full)
    assert difference.mean() < 0.5
    assert difference.max() <= 2
    assert difference.any() != turned  # turned ones are not reduced


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_only_jpegs_of_four_times_the_size_are_reduced(kind):
  noise = np.random.default_rng(0).integers(0, 256, (90, 61, 3), np.uint8)
  data = hostile.save(noise, kind, quality=90)
  image = decode.decode(data)
  for size, reduced in ((7, True), (15, True), (16, False), (61, False)):
    resized = decode.decode(data, size)
    equal = np.array_equal(resized, resizing.resize(image, size))
    assert equal != (reduced and kind == "JPEG"), size
