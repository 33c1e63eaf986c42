"""Tests of CIFAR-100 as its publisher and others give it."""

import pickle  # noqa: TID251 - the published files are pickles

import numpy as np
import pytest

from mn_jax.data.datasets import cifar100
from mn_jax.data.files import archive
from mn_jax.errors import InputError
from tests.data import toy_cache as toy

_COUNTS = {"train": 12, "test": 7}


def _rows(part: str) -> tuple[np.ndarray, np.ndarray]:
  """Labels and pixel rows of a part, as published: channels first."""
  rng = np.random.default_rng(len(part))
  count = _COUNTS[part]
  labels = rng.integers(0, 100, count)
  return labels, rng.integers(0, 256, (count, 3072), np.uint8)


def _binary(part: str) -> bytes:
  labels, pixels = _rows(part)
  head = np.stack([labels // 5, labels], 1).astype(np.uint8)
  return np.concatenate([head, pixels], 1).tobytes()


def _pickled(part: str, **changes) -> bytes:
  labels, pixels = _rows(part)
  content = {
    "filenames": [f"x_{i}.png" for i in range(len(labels))],
    "fine_labels": labels.tolist(),
    "coarse_labels": (labels // 5).tolist(),
    "data": pixels,
    **changes,
  }
  return pickle.dumps(content, 2)


def _memory(**changes) -> toy.Memory:
  parts = {f"cifar-100-python/{p}": _pickled(p) for p in _COUNTS}
  return toy.Memory({**parts, "cifar-100-python/meta": b"", **changes})


def test_all_publications_are_read():
  binary = toy.Memory(
    {f"cifar-100-binary/{part}.bin": _binary(part) for part in _COUNTS}
  )
  one, other = cifar100.open_source(binary), cifar100.open_source(_memory())
  assert one.listing.fingerprint() == other.listing.fingerprint()
  np.testing.assert_array_equal(one.images, other.images)
  np.testing.assert_array_equal(one.listing.labels, other.listing.labels)
  pixels = _rows("train")[1].copy()
  pixels[3, 100] ^= 1
  train = _pickled("train", data=pixels)
  changed = cifar100.open_source(_memory(**{"cifar-100-python/train": train}))
  assert changed.listing.fingerprint() != one.listing.fingerprint()
  files = {
    f"c/{part}/{name}/{i}.png": toy.png(np.full((32, 32, 3), i, np.uint8))
    for part in ("train", "test")
    for i, name in enumerate(cifar100.CLASSES)
  }
  copy = cifar100.open_source(toy.Memory(files))
  assert len(copy.listing) == 200
  assert (copy.read(7) == copy.listing.labels[7]).all()


def test_pixels_and_names_belong_together():
  source = cifar100.open_source(_memory())
  listing = source.listing
  assert len(listing) == 19
  for row in range(19):
    part, name, file = listing.names[row].split("/")
    number = int(file.removeprefix(f"{part}_").removesuffix(".png"))
    labels, pixels = _rows(part)
    assert listing.parts[row] == part
    assert name == cifar100.CLASSES[labels[number]]
    assert listing.labels[row] == labels[number]
    expected = pixels[number].reshape(3, 32, 32).transpose(1, 2, 0)
    np.testing.assert_array_equal(source.read(row), expected)


def test_a_broken_part_is_refused():
  for content, message in (
    (b"no pickle", "broken"),
    (pickle.dumps([1], 2), "no dictionary"),
    (pickle.dumps({}, 2), "fine_labels"),
    (_pickled("train", fine_labels=[1.5]), "list of numbers"),
    (_pickled("train", fine_labels=[1]), "12 'coarse_labels' of 1 images"),
    (_pickled("train", coarse_labels=["1"]), "list of numbers"),
    (_pickled("train", fine_labels=[7] * 12), "'beetle' in"),
    (_pickled("train", fine_labels=[100] * 12), "labels outside 0 to 99"),
    (_pickled("train", fine_labels=[-1] * 12), "labels outside 0 to 99"),
    (_pickled("train", data=[1]), "no array of 12 x 3072"),
    (pickle.dumps(pytest.raises, 2), "names"),
  ):
    with pytest.raises(InputError, match=r"train' is no part of CIF") as caught:
      cifar100.open_source(_memory(**{"cifar-100-python/train": content}))
    assert message in str(caught.value)
  for data in (b"", b"x", _binary("train")[:-1]):
    files = toy.Memory({"train.bin": data, "test.bin": _binary("test")})
    with pytest.raises(InputError, match="multiple of 3074"):
      cifar100.open_source(files)
  with pytest.raises(InputError, match="no image in a folder named after a cl"):
    cifar100.open_source(toy.Memory({"a/b.txt": b""}))


def _binary_of(counts: dict[int, int]) -> bytes:
  """A part with so many images of each class."""
  labels = np.repeat([*counts], [*counts.values()])
  head = np.stack([labels // 5, labels], 1).astype(np.uint8)
  pixels = np.arange(len(labels))[:, None] % 251 * np.ones(3072, int)
  return np.concatenate([head, pixels.astype(np.uint8)], 1).tobytes()


def _of_counts(train: dict[int, int], test: dict[int, int]) -> toy.Memory:
  return toy.Memory(
    {"train.bin": _binary_of(train), "test.bin": _binary_of(test)}
  )


def test_what_a_copy_lacks_is_counted():
  every = range(100)
  whole = _of_counts(dict.fromkeys(every, 500), dict.fromkeys(every, 100))
  assert cifar100.open_source(whole).listing.notes == ()
  part = _of_counts({0: 500, 1: 500, 2: 3}, {0: 100, 1: 99, 3: 1})
  complete, missing, some = cifar100.open_source(part).listing.notes
  assert complete == (
    "1 of 100 classes complete (500 training and 100 test images each): apple"
  )
  assert missing.startswith("no image of 96 classes: beaver, bed, bee")
  assert missing.endswith(", 86 more")
  assert some == (
    "3 classes incomplete: 997 training and 200 test images are missing of "
    "aquarium_fish, baby, bear"
  )


def test_more_images_than_published_are_refused():
  with pytest.raises(InputError, match=r"501 train images of the class 'bed'"):
    cifar100.open_source(_of_counts({5: 501}, {5: 1}))
  with pytest.raises(InputError, match=r"101 test images .* at most 100"):
    cifar100.open_source(_of_counts({5: 500}, {4: 100, 5: 101}))


def test_the_first_ten_classes_are_complete(shared_data):
  files = archive.open_files(shared_data / "cifar-100-python-first10.zip")
  listing = cifar100.open_source(files).listing
  files.close()
  assert (np.bincount(listing.labels[listing.parts == "train"]) == 500).all()
  assert (np.bincount(listing.labels[listing.parts == "test"]) == 100).all()
  complete, missing = listing.notes
  assert complete.startswith("10 of 100 classes complete")
  assert complete.endswith(
    "apple, aquarium_fish, baby, bear, beaver, bed, bee, "
    "beetle, bicycle, bottle"
  )
  assert missing.startswith("no image of 90 classes: bowl, boy")


def test_the_real_part(shared_data):
  files = archive.open_files(shared_data / "cifar-100-python-part.zip")
  source = cifar100.open_source(files)
  files.close()
  listing = source.listing
  first_ten = listing.labels < 10
  counts = {p: (listing.parts[first_ten] == p).sum() for p in _COUNTS}
  assert counts == {"train": 47, "test": 55}
  assert 10 < source.images.std() < 100
