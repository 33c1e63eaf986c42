"""Tests of the layout with one folder per class."""

import itertools

import numpy as np
import pytest
from PIL import Image

from mn_jax.data import decode
from mn_jax.data.datasets import class_folders, registry
from mn_jax.data.files import archive
from mn_jax.errors import InputError
from tests.data.datasets.named_files import NamedFiles

_CLASSES = ("dog", "cat")  # Labels follow this order, not the alphabet.
_GOOD = ("x/dog/333.jpg", "x/cat/1.jpg", "x/cat/22.png")


def _list(*names: str, **options):
  return class_folders.list_images(NamedFiles(*names), _CLASSES, **options)


def _refusal(*names: str) -> str:
  with pytest.raises(InputError) as caught:
    _list(*names)
  message = str(caught.value)
  assert message.startswith("data.path: ")
  assert "valid: " in message
  assert message.isprintable()  # one line, too
  return message


def test_class_and_name_come_from_the_path():
  listing = _list(*_GOOD)
  assert listing.names.tolist() == ["dog/333.jpg", "cat/1.jpg", "cat/22.png"]
  assert listing.paths == list(_GOOD)
  assert listing.labels.tolist() == [0, 1, 1]
  assert listing.groups.tolist() == listing.names.tolist()
  assert listing.stamps.tolist() == [107, 105, 106]
  assert listing.positions.tolist() == [[0, 0]] * 3
  assert listing.labels.dtype == listing.positions.dtype == np.int32
  assert listing.stamps.dtype == np.int64
  for names in itertools.permutations(_GOOD):
    assert _list(*names).paths == list(_GOOD)
  # Folders above the classes may differ, and images may lie beside these.
  names = ("train/dog/1.jpg", "test/dog/2.jpg", "test/cat/1.jpg")
  assert _list("preview.jpg", *names).names.tolist() == [
    "dog/1.jpg",
    "dog/2.jpg",
    "cat/1.jpg",
  ]


def test_what_lies_above_changes_nothing_but_paths():
  plain = _list(*_GOOD)
  for above in ("", "2750/", "a folder/2750/", "cat/", "./", "a//"):
    names = [name.replace("x/", above) for name in _GOOD]
    moved = _list(*names)
    assert moved.paths == names
    np.testing.assert_array_equal(moved.names, plain.names)
    np.testing.assert_array_equal(moved.labels, plain.labels)
    assert moved.fingerprint() == plain.fingerprint()


def test_what_is_no_image_of_a_class_is_skipped():
  for junk in (
    "__MACOSX/x/dog/2.jpg",
    "x/__MACOSX/2.jpg",
    "x/dog/._1.jpg",
    "x/.thumbnails/1.jpg",
    ".hidden/dog/2.jpg",
    "x/dog/labels.txt",
    "x/dog/1.jpg.txt",
    "x/dog/Thumbs.db",
    "x/dog/jpg",
    "x/SAMPLE.json",
    "x/preview.jpg",
    "preview.jpg",
    "other/bird/1.jpg",
    "x/bird/readme.md",
    "x/dog/more/2.jpg",
    "Dog/2.jpg",
    ".",
  ):
    assert _list(junk, *_GOOD).paths == list(_GOOD), junk
    assert "no image in a folder named after a class" in _refusal(junk), junk


def test_suffixes_are_read_in_any_case_and_can_be_chosen():
  names = ("dog/a.JPG", "dog/b.Tiff", "cat/c.bmp", "cat/d.jpg")
  assert _list(*names).paths == list(names)
  chosen = _list(*names, suffixes=(".jpg",))
  assert chosen.paths == ["dog/a.JPG", "cat/d.jpg"]
  formats = Image.registered_extensions()
  decoded = {formats[suffix] for suffix in decode.SUFFIXES}
  assert decoded == set(decode.FORMATS)


def test_folders_that_do_not_fit_are_refused():
  message = _refusal("a.txt", "images/1.jpg")
  assert "among 2 files; valid: CLASS/FILE" in message
  assert "dog, cat" in message
  message = _refusal("dog/1.jpg", "cat/readme.txt")
  assert "no image of the class cat;" in message
  for above in ("", "x/"):
    names = [f"{above}{c}/1.jpg" for c in ("dog", "cat", "bird", "ant")]
    assert "'ant' lies among the class folders" in _refusal(*names)
    # Not what is known, but what is there: labels would shift silently.
    assert "'bird' lies among" in _refusal(names[0], names[2])


def test_an_image_that_is_there_twice_is_refused():
  first, second = "b/dog/1.jpg", "a/b/dog/1.jpg"
  for names in ((first, second), (second, first)):
    message = _refusal(*names, "b/cat/1.jpg")
    assert "'dog/1.jpg' is there twice, 'a/b/dog/1.jpg' and 'b/do" in message


def test_the_real_tiles(shared_data):
  files = archive.open_files(shared_data / "EuroSAT.zip")
  listing = registry.get("eurosat").open(files).listing
  classes = registry.get("eurosat").classes
  assert np.bincount(listing.labels).tolist() == [600] * 10
  assert len(set(listing.names.tolist())) == 6_000
  for row in range(0, 6_000, 601):
    label = classes[listing.labels[row]]
    assert listing.paths[row].startswith(f"2750/{label}/{label}_")
    assert listing.names[row] == listing.paths[row].removeprefix("2750/")
    image = decode.decode(files.read(listing.paths[row]))
    assert image.shape == (64, 64, 3)
    assert image.std() > 1
  files.close()
