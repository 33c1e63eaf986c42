"""Tests of the embedded sample of X-rays."""

import collections
import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict

from mn_jax.data.datasets import registry
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import ImageFiles
from mn_jax.data.files import archive
from mn_jax.data.samples import xrays

_PERSONS = 130


def _open(root: pathlib.Path) -> ImageFiles:
  """The sample as the code for the real set reads it."""
  return registry.get("chest_xray").open(archive.open_files(root))


def _bytes(root: pathlib.Path) -> dict[str, bytes]:
  return {
    path.relative_to(root).as_posix(): path.read_bytes()
    for path in root.rglob("*.jpeg")
  }


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("xrays") / "root"
  count = xrays.write_xrays(path, num_persons=_PERSONS)
  assert count == len(list(path.rglob("*.jpeg")))
  return path


@pytest.fixture(scope="module")
def source(root) -> ImageFiles:
  return _open(root)


@pytest.fixture(scope="module")
def images(source) -> list[np.ndarray]:
  return [source.read(row) for row in range(len(source.listing.names))]


@pytest.fixture(scope="module")
def full(tmp_path_factory) -> tuple[int, Listing]:
  """The count and listing of the sample at its full size, its images blank."""
  path = tmp_path_factory.mktemp("full") / "root"
  black = np.zeros((8, 8), np.uint8)
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(xrays, "_draw_xray", lambda *_: black)
    count = registry.get("chest_xray_sample").generate(path)
  return count, _open(path).listing


def test_nothing_but_listed_images_is_written(root, source):
  places = {
    f"chest_xray/{part}/{name}"
    for part in ("train", "val", "test")
    for name in ("NORMAL", "PNEUMONIA")
  }
  files = {p.relative_to(root).as_posix() for p in root.rglob("*.*")}
  assert files == {*source.listing.paths, "SAMPLE.json"}
  assert {name.rpartition("/")[0] for name in source.listing.paths} == places
  assert [path.name for path in root.parent.iterdir()] == ["root"]


def test_counts_are_those_of_the_table_and_shares_those_of_the_real_set(full):
  count, listing = full
  assert count == len(listing.names)
  assert count == registry.get("chest_xray_sample").images
  folders = collections.Counter(
    tuple(path.split("/")[1:3]) for path in listing.paths
  )
  assert folders["val", "NORMAL"] == folders["val", "PNEUMONIA"] == 8
  normal, ill = folders["train", "NORMAL"], folders["train", "PNEUMONIA"]
  assert 650 < normal + ill < 750
  assert abs(normal / (normal + ill) - 1341 / 5216) < 0.02
  normal, ill = folders["test", "NORMAL"], folders["test", "PNEUMONIA"]
  assert 110 < normal + ill < 130
  assert abs(normal / (normal + ill) - 234 / 624) < 0.03


def test_persons_are_named_and_some_are_in_both_parts(full):
  listing = full[1]
  parts = collections.defaultdict(set)
  counts = collections.Counter(listing.groups.tolist())
  labels = collections.defaultdict(set)
  for name, group, part, label in zip(
    listing.paths, listing.groups, listing.parts, listing.labels, strict=True
  ):
    parts[str(group)].add(part)
    labels[str(group)].add(int(label))
    assert str(group).startswith("person") == bool(label), name
  assert all(len(found) == 1 for found in labels.values())
  shared = {group for group, found in parts.items() if len(found) == 2}
  ill = {
    g for g, found in parts.items() if "test" in found and labels[g] == {1}
  }
  assert 0.1 < len(shared) / len(ill) < 0.5
  assert shared < ill
  assert set(counts.values()) >= {1, 2, 3, 4}
  for word in ("/IM-", "NORMAL2-IM-", "_bacteria_", "_virus_"):
    assert sum(word in path for path in listing.paths) > 50, word


def test_images_are_grey_with_few_exceptions_and_of_many_sizes(root, source):
  modes = collections.Counter()
  sizes = set()
  for path in source.listing.paths:
    with Image.open(root / path) as image:
      assert image.format == "JPEG"
      modes[image.mode] += 1
      sizes.add(image.size)
  assert set(modes) == {"L", "RGB"}
  assert 0 < modes["RGB"] < 0.15 * modes.total()
  assert len(sizes) > 0.8 * modes.total()
  assert all(150 <= side <= 260 for size in sizes for side in size)
  ratios = [width / height for width, height in sizes]
  assert min(ratios) < 1.1
  assert max(ratios) > 1.5


def test_no_image_is_a_copy_or_blank(images):
  assert len({image.tobytes() for image in images}) == len(images)
  assert min(image.std() for image in images) > 20


def test_images_depend_on_seed_person_and_number_alone(tmp_path, root):
  whole = _bytes(root)
  xrays.write_xrays(tmp_path / "few", num_persons=16)
  few = _bytes(tmp_path / "few")
  assert 32 <= len(few) < 80
  assert few.items() < whole.items()
  xrays.write_xrays(tmp_path / "other", seed=1, num_persons=16)
  other = _bytes(tmp_path / "other")
  assert set(other.values()).isdisjoint(whole.values())


def test_anatomy_is_the_person_s_and_chance_the_image_s(tmp_path, monkeypatch):
  calls = []

  def draw(rng, person, label):
    calls.append((person.chest, label, rng.random()))
    return np.zeros((8, 8), np.uint8)

  monkeypatch.setattr(xrays, "_draw_xray", draw)
  xrays.write_xrays(tmp_path, num_persons=40)
  listing = _open(tmp_path).listing
  chests, labels, chances = zip(*calls, strict=True)
  assert len(calls) == len(set(chances)) == len(listing.names)
  assert collections.Counter(labels) == collections.Counter(
    listing.labels.tolist()
  )
  counts = collections.Counter(listing.groups.tolist()).values()
  assert sorted(collections.Counter(chests).values()) == sorted(counts)


def test_shape_tells_the_classes_apart_but_brightness_does_not(source):
  labels, groups = source.listing.labels, source.listing.groups
  rows = range(len(labels))
  small = [source.read_resized(row, 16)[..., 0].ravel() for row in rows]
  thumbs = np.stack(small).astype(np.float64)
  mean = thumbs.mean(1)
  assert 0.35 < roc_auc_score(labels, mean) < 0.75
  for sign in (1, -1):
    best = max(
      balanced_accuracy_score(labels, sign * mean > sign * t) for t in mean
    )
    assert best < 0.75
  model = LogisticRegression(C=0.1, class_weight="balanced", max_iter=2000)
  guess = cross_val_predict(
    model, thumbs / 64, labels, groups=groups, cv=GroupKFold(4)
  )
  assert 0.65 < balanced_accuracy_score(labels, guess) < 0.97


def test_finished_sample_is_left_alone(root, source, monkeypatch):
  monkeypatch.setattr(xrays, "_write_person", None)  # A call would raise.
  count = xrays.write_xrays(root, num_persons=_PERSONS)
  assert count == len(source.listing.names)


def test_another_sample_is_refused(tmp_path):
  found = {"sample": "mn_jax X-rays", "version": 1, "seed": 0}
  (tmp_path / "SAMPLE.json").write_text(json.dumps(found))
  with pytest.raises(FileExistsError, match="is another sample") as error:
    xrays.write_xrays(tmp_path)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"num_persons": 15}])
def test_number_out_of_range_is_refused(tmp_path, wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    xrays.write_xrays(tmp_path / "root", **wrong)
  assert list(tmp_path.iterdir()) == []


def test_brightness_resembles_the_real_images(shared_data, images):
  files = archive.open_files(shared_data / "chest-xray-pneumonia.zip")
  real = registry.get("chest_xray").open(files)
  rows = range(0, len(real.listing.names), 60)
  means = np.array([real.read(row).mean() for row in rows])
  drawn = np.array([image.mean() for image in images])
  files.close()
  assert abs(drawn.mean() - means.mean()) < 25
  assert 0.5 < drawn.std() / means.std() < 2
