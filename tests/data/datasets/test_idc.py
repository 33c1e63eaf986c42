"""Tests of the layout of the IDC patches, and of listings."""

import dataclasses
import itertools

import numpy as np
import pytest

from mn_jax.data.datasets import idc
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.files import archive
from mn_jax.errors import InputError
from tests.data.datasets.named_files import NamedFiles


def _patch(case: str, x: int, y: int, label: int) -> str:
  return f"{case}/{label}/{case}_idx5_x{x}_y{y}_class{label}.png"


def test_everything_is_in_the_name():
  # The folders contradict the name, which wins.
  listing = idc.list_images(NamedFiles("7/0/8863_idx5_x51_y1251_class1.png"))
  assert len(listing) == 1
  assert listing.paths == ["7/0/8863_idx5_x51_y1251_class1.png"]
  assert listing.names.tolist() == ["8863_idx5_x51_y1251_class1.png"]
  assert listing.labels.tolist() == [1]
  assert listing.groups.tolist() == ["8863"]
  assert listing.positions.tolist() == [[51, 1251]]
  assert listing.stamps.tolist() == [130]
  assert listing.labels.dtype == np.int32
  assert listing.positions.dtype == np.int32
  assert listing.stamps.dtype == np.int64


def test_order_is_numeric_and_not_that_of_the_files():
  expected = [
    _patch("8863", 51, 1251, 0),
    _patch("8863", 51, 10001, 1),
    _patch("8863", 1001, 1, 0),
    _patch("10254", 1, 1, 0),
    _patch("10254", 1, 2, 0),
  ]
  for names in itertools.permutations(expected):
    assert idc.list_images(NamedFiles(*names)).paths == expected


def test_second_copy_is_ignored_in_any_order():
  first = [_patch("8863", x, 1, x % 2) for x in range(4)]
  second = [f"IDC_regular_ps50_idx5/{name}" for name in first]
  # The second copy alone has this one.
  extra = f"IDC_regular_ps50_idx5/{_patch('8863', 9, 1, 0)}"
  names = [*first, *second, extra]
  rng = np.random.default_rng(0)
  for _ in range(20):
    listing = idc.list_images(NamedFiles(*rng.permutation(names).tolist()))
    assert listing.paths == [*first, extra]
  names = [f"{folder}/{_patch('1', 1, 1, 0)}" for folder in "ba"]
  for order in (names, names[::-1]):  # at equal depth
    assert idc.list_images(NamedFiles(*order)).paths == [names[1]]


def test_fingerprint_follows_names_and_sizes_and_not_folders():
  names = [_patch("1", x, 1, 0) for x in range(3)]

  def list_(*names: str) -> Listing:
    return idc.list_images(NamedFiles(*names))

  listing = list_(*names)
  for same in (names[::-1], [f"IDC/some folder/{name}" for name in names]):
    assert sorted(list_(*same).paths) == sorted(same)
    assert list_(*same).names.tolist() == listing.names.tolist()
    assert list_(*same).fingerprint() == listing.fingerprint()
  others = [
    list_(*names[:2]),
    list_(*names, _patch("1", 3, 1, 0)),
    list_(*names[:2], _patch("1", 2, 1, 1)),
    dataclasses.replace(listing, stamps=np.array([100, 100, 101])),
    dataclasses.replace(listing, stamps=np.array([100, 101, 100])),
  ]
  prints = {other.fingerprint() for other in [listing, *others]}
  assert len(prints) == 1 + len(others)


def test_junk_is_ignored():
  good = _patch("9", 1, 1, 0)
  for junk in (
    "__MACOSX/8863/0/._8863_idx5_x51_y1251_class0.png",
    "8863/0/Thumbs.db",
    "8863/.DS_Store",
    "README.md",
    "8863/0/8863_idx5_x51_y1251_class0.png.txt",
    "8863/0/8863_idx5_x51_y1251_class2.png",
    "8863/0/8863_idx5_x-51_y1251_class0.png",
    "8863/0/8863_idx5_x51_y1251_class0.jpg",
    "8863/0/٣_idx5_x51_y1251_class0.png",
    # Too large for the table of positions.
    "8863/0/8863_idx5_x9999999999_y1_class0.png",
  ):
    assert idc.list_images(NamedFiles(junk, good)).paths == [good], junk
    with pytest.raises(InputError) as caught:
      idc.list_images(NamedFiles(junk, "a.txt"))
    assert "8863_idx5_x51_y1251_class0.png among 2 files" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_real_set(shared_data):
  files = archive.open_files(shared_data / "breast-histopathology-images.zip")
  listing = idc.list_images(files)
  files.close()
  assert len(listing) == 11_081
  assert np.bincount(listing.labels).tolist() == [7_954, 3_127]
  assert len(set(listing.groups.tolist())) == 239
  cases, counts = np.unique(listing.groups, return_counts=True)
  dense = dict(zip(cases.tolist(), counts.tolist(), strict=True))
  assert (dense["14082"], dense["14306"]) == (478, 431)
  assert (listing.positions % 50 == 1).all()
