"""Tests of the embedded sample of photographs."""

import json
import pathlib

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from mn_jax.data.datasets import cifar, registry, restricted_pickle
from mn_jax.data.datasets.source import Source
from mn_jax.data.files import archive
from mn_jax.data.samples import photos

_COUNT = 36
_ROW = 2 + 3 * 32 * 32


def _open(root: pathlib.Path) -> Source:
  """The sample as the code for the real set reads it."""
  return registry.get("cifar100").open(archive.open_files(root))


def _file(root: pathlib.Path, name: str) -> bytes:
  return (root / "cifar-100-binary" / name).read_bytes()


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("photos") / "root"
  assert photos.write_photos(path, per_class=_COUNT) == 480
  return path


@pytest.fixture(scope="module")
def source(root) -> Source:
  return _open(root)


@pytest.fixture(scope="module")
def images(source) -> np.ndarray:
  """u8[n, 32, 32, 3] in the order of the listing."""
  return np.stack([source.read(row) for row in range(480)])


def test_layout_is_that_of_the_real_set(root):
  files = {p.relative_to(root).as_posix() for p in root.rglob("*.*")}
  assert files == {
    "SAMPLE.json",
    "cifar-100-binary/train.bin",
    "cifar-100-binary/test.bin",
    "cifar-100-binary/fine_label_names.txt",
    "cifar-100-binary/coarse_label_names.txt",
  }
  assert len(_file(root, "train.bin")) == 10 * _COUNT * _ROW
  assert len(_file(root, "test.bin")) == 10 * (_COUNT // 3) * _ROW
  assert [path.name for path in root.parent.iterdir()] == ["root"]


def test_the_two_label_bytes_agree_with_the_names(root):
  fine = _file(root, "fine_label_names.txt").decode().split()
  coarse = _file(root, "coarse_label_names.txt").decode().split()
  assert fine == list(cifar.CLASSES)
  assert len(coarse) == 20
  assert coarse == sorted(coarse)
  for part in ("train.bin", "test.bin"):
    rows = np.frombuffer(_file(root, part), np.uint8).reshape(-1, _ROW)
    pairs = {(fine[b], coarse[a]) for a, b in rows[:, :2].tolist()}
    assert pairs == {
      ("apple", "fruit_and_vegetables"),
      ("aquarium_fish", "fish"),
      ("baby", "people"),
      ("bear", "large_carnivores"),
      ("beaver", "aquatic_mammals"),
      ("bed", "household_furniture"),
      ("bee", "insects"),
      ("beetle", "insects"),
      ("bicycle", "vehicles_1"),
      ("bottle", "food_containers"),
    }


def test_classes_are_balanced_in_both_parts(source):
  listing = source.listing
  assert listing.classes == registry.get("cifar100_sample").classes
  for part, count in (("train", _COUNT), ("test", _COUNT // 3)):
    labels = listing.labels[listing.parts == part]
    assert np.bincount(labels).tolist() == [count] * 10


def test_pixels_are_stored_channel_by_channel(root, source, images):
  rows = np.frombuffer(_file(root, "train.bin"), np.uint8).reshape(-1, _ROW)
  red, green, blue = rows[17, 2:].reshape(3, 32, 32)
  row = source.listing.names.tolist().index("train/beetle/train_00017.png")
  np.testing.assert_array_equal(images[row], np.stack([red, green, blue], -1))
  # Neighbours in space are alike, those across the ends of rows are not.
  smooth = np.abs(np.diff(images.astype(int), axis=2)).mean()
  assert smooth < 0.5 * images.std()


def test_table_counts_the_images(tmp_path, monkeypatch):
  black = np.zeros((32, 32, 3), np.uint8)
  monkeypatch.setattr(photos, "_draw_photo", lambda *_: black)
  spec = registry.get("cifar100_sample")
  assert spec.generate(tmp_path) == spec.images
  assert len(_open(tmp_path).listing.names) == spec.images


def test_no_image_is_a_copy_or_blank(images):
  assert len({image.tobytes() for image in images}) == len(images)
  assert min(image.std() for image in images) > 5


def test_images_depend_on_seed_part_class_and_number_alone(tmp_path, root):
  photos.write_photos(tmp_path / "few", per_class=6)
  for part, count in (("train.bin", 60), ("test.bin", 20)):
    few = _file(tmp_path / "few", part)
    assert few == _file(root, part)[: count * _ROW]
  photos.write_photos(tmp_path / "other", seed=1, per_class=6)
  images = {image.tobytes() for image in _open(root).images}
  other = _open(tmp_path / "other").images
  assert images.isdisjoint(image.tobytes() for image in other)


def test_linear_model_learns_something_but_not_all(source, images):
  labels, test = source.listing.labels, source.listing.parts == "test"
  cells = images.reshape(-1, 16, 2, 16, 2, 3).mean((2, 4)) / 255
  pixels = cells.reshape(len(images), -1)
  model = RidgeClassifier(alpha=300).fit(pixels[~test], labels[~test])
  assert 0.22 < model.score(pixels[test], labels[test]) < 0.9
  colour = cells.mean((1, 2))
  model = RidgeClassifier(alpha=0.1).fit(colour[~test], labels[~test])
  assert model.score(colour[test], labels[test]) < 0.4


def test_finished_sample_is_left_alone(root, monkeypatch):
  monkeypatch.setattr(photos, "_row", None)  # A call would raise.
  assert photos.write_photos(root, per_class=_COUNT) == 480


def test_another_sample_is_refused(tmp_path):
  (tmp_path / "SAMPLE.json").write_text(json.dumps({"seed": 0}))
  with pytest.raises(FileExistsError, match="is another sample") as error:
    photos.write_photos(tmp_path)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"per_class": 2}])
def test_number_out_of_range_is_refused(tmp_path, wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    photos.write_photos(tmp_path / "root", **wrong)
  assert list(tmp_path.iterdir()) == []


def test_labels_and_brightness_are_those_of_the_real_set(
  shared_data, root, images
):
  files = archive.open_files(shared_data / "cifar-100-python-part.zip")
  meta = restricted_pickle.load_dict(files.read("cifar-100-python/meta"))
  names = _file(root, "coarse_label_names.txt").decode().split()
  assert names == meta["coarse_label_names"]
  train = restricted_pickle.load_dict(files.read("cifar-100-python/train"))
  files.close()
  real = set(zip(train["fine_labels"], train["coarse_labels"], strict=True))
  rows = np.frombuffer(_file(root, "train.bin"), np.uint8).reshape(-1, _ROW)
  assert {(b, a) for a, b in rows[:, :2].tolist()} <= real
  pixels = train["data"]
  assert abs(images.mean() - pixels.mean()) < 25
  assert 0.6 < images.std() / pixels.std() < 1.5
