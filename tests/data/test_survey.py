"""Tests of the survey of images that are not packed."""

import contextlib
import weakref

import numpy as np
import pytest
from PIL import Image

from mn_jax.data import decode, survey
from mn_jax.data.datasets import image_folder
from mn_jax.data.datasets.source import of_files
from mn_jax.data.files import archive
from mn_jax.errors import InputError


def image(seed: int, height: int = 90, width: int = 120) -> Image.Image:
  """Blobs, of which those of two seeds look different."""
  small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
  return Image.fromarray(small).resize((width, height), Image.BICUBIC)


@contextlib.contextmanager
def opened(folder):
  open_source = of_files(image_folder.list_images)
  with contextlib.closing(archive.open_files(folder)) as files:
    yield open_source(files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  root = tmp_path_factory.mktemp("images")
  for name in ("a", "b"):
    (root / name).mkdir()
  for seed in range(8):
    image(seed).save(root / "a" / f"{seed}.png")
  image(20, 300, 200).save(root / "b" / "tall.jpg", quality=90)
  image(21).convert("L").save(root / "b" / "grey.bmp")
  whole = (root / "a" / "3.png").read_bytes()
  # The same file in another class, and one that looks like it.
  (root / "b" / "copy.png").write_bytes(whole)
  (root / "a" / "again.png").write_bytes(whole)
  image(3).save(root / "b" / "like.jpg", quality=70)
  (root / "b" / "short.png").write_bytes(whole[: len(whole) // 2])
  return root


def test_every_image_is_decoded(folder, monkeypatch):
  # Several chunks give what one gives.
  monkeypatch.setattr(survey, "_CHUNK", 5)
  done = []
  with opened(folder) as source:
    found = survey.survey(source, progress=lambda *at: done.append(at))
  names = source.listing.names[found.rows].tolist()
  assert done[-1] == (14, 14)
  assert [source.listing.names[row] for row, _ in found.unreadable] == [
    "b/short.png"
  ]
  headers = dict(zip(names, found.headers, strict=True))
  assert headers["b/tall.jpg"] == decode.Header("JPEG", "RGB", 300, 200)
  assert headers["b/grey.bmp"] == decode.Header("BMP", "L", 90, 120)
  assert found.sizes[names.index("b/tall.jpg")].tolist() == [300, 200]
  sizes = [(folder / name).stat().st_size for name in names]
  assert found.num_bytes.tolist() == sizes


def test_pixels_of_one_chunk_are_in_memory(folder, monkeypatch):
  monkeypatch.setattr(survey, "_CHUNK", 5)
  decoded, alive = [], []
  decode_image = decode.decode

  def copy(*args, **options):
    pixels = decode_image(*args, **options).copy()
    decoded.append(weakref.ref(pixels))
    return pixels

  def count(*_):
    alive.append(sum(pixels() is not None for pixels in decoded))

  monkeypatch.setattr(survey.decode, "decode", copy)
  with opened(folder) as source:
    survey.survey(source, progress=count)
  assert len(decoded) == 13
  assert max(alive) <= 5 + 1  # the last of the chunk before has a name still


def test_duplicates_are_found_once(folder):
  with opened(folder) as source:
    found = survey.survey(source)
  pairs = survey.look_alikes(found, max_distance=6, min_correlation=0.97)
  names = source.listing.names
  (equal,) = survey.equal_files(found)
  assert names[equal].tolist() == ["a/3.png", "a/again.png", "b/copy.png"]
  assert names[pairs].tolist() == [["a/3.png", "b/like.jpg"]]


def test_images_of_which_none_can_be_read(tmp_path):
  for name in ("a", "b"):
    (tmp_path / name).mkdir()
    (tmp_path / name / "x.png").write_bytes(b"nothing")
  with (
    opened(tmp_path) as source,
    pytest.raises(InputError, match="got 2"),
  ):
    survey.survey(source)
