"""Tests of generated textures in the layouts of data sets."""

import collections
import pathlib

import numpy as np
import pytest
from PIL import Image

from mn_jax.data.datasets import cifar100, eurosat, registry
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.datasets.source import Source
from mn_jax.data.files import archive
from mn_jax.data.samples import layouts, textures
from tests.data.datasets.named_files import NamedFiles

_COUNTS = {
  "eurosat": 4,
  "cifar100": 6,
  "colorectal_histology": 3,
  "chest_xray": 20,
}


def _open(name: str, root: pathlib.Path) -> Source:
  """The sample as the code for the real data set reads it."""
  return registry.get(name).open(archive.open_files(root))


def _bytes(root: pathlib.Path) -> dict[str, bytes]:
  return {
    path.relative_to(root).as_posix(): path.read_bytes()
    for path in root.rglob("*")
    if path.is_file() and path.name != "SAMPLE.json"
  }


@pytest.fixture(scope="module")
def roots(tmp_path_factory) -> dict[str, pathlib.Path]:
  """A small sample in every layout."""
  base = tmp_path_factory.mktemp("samples")
  for name, count in _COUNTS.items():
    layouts.write_textures(base / name, layout=name, count=count)
  return {name: base / name for name in _COUNTS}


def _list(name: str) -> Listing:
  """The listing of a sample of the default size, which is not drawn."""
  layout = layouts.LAYOUTS[name]
  files = layout.list_files(layout.count)
  return (
    registry.get(name).open(NamedFiles(*(file.path for file in files))).listing
  )


def test_nothing_but_listed_files_is_written(roots):
  for name, root in roots.items():
    listing = _open(name, root).listing
    if name != "cifar100":
      assert set(_bytes(root)) == set(listing.paths)
    assert {len(path.relative_to(root).parts) for path in root.iterdir()} == {1}
    top = sorted(path.name for path in root.iterdir())
    assert len(top) == 2  # and the published folder
    assert "SAMPLE.json" in top


def test_no_image_is_a_copy_or_blank(roots):
  for name, root in roots.items():
    source = _open(name, root)
    images = [source.read(row) for row in range(len(source.listing))]
    assert len({image.tobytes() for image in images}) == len(images)
    assert min(image.std() for image in images) > 5


def test_counts_are_those_of_the_registry(roots):
  for name, root in roots.items():
    layout = layouts.LAYOUTS[name]
    count = sum(1 for _ in layout.list_files(layout.count))
    assert count == registry.get(f"{name}_sample").images, name
    written = sum(1 for _ in layout.list_files(_COUNTS[name]))
    assert written == len(_open(name, root).listing), name


def test_images_depend_on_their_place_alone(tmp_path, roots):
  for name, root in roots.items():
    count = {"chest_xray": 16, "cifar100": 3}.get(name, 1)
    layouts.write_textures(tmp_path / name, layout=name, count=count)
    expected = _bytes(root)
    for path, data in _bytes(tmp_path / name).items():
      assert expected[path].startswith(data), path


def test_every_image_has_random_numbers_of_its_own(tmp_path, monkeypatch):
  first_numbers = []

  def draw(rng, label, classes, *, height, width, look):
    first_numbers.append(rng.random())
    return np.zeros((32, 32, 3), np.uint8)

  monkeypatch.setattr(textures, "draw", draw)
  for name, count in _COUNTS.items():
    first_numbers.clear()
    layouts.write_textures(tmp_path / name, layout=name, count=count)
    images = sum(1 for _ in layouts.LAYOUTS[name].list_files(count))
    assert len(set(first_numbers)) == len(first_numbers) == images


def test_image_files_are_those_of_the_published_kind(roots):
  assert set(_bytes(roots["eurosat"])) == {
    f"2750/{name}/{name}_{number}.jpg"
    for name in eurosat.CLASSES
    for number in range(1, _COUNTS["eurosat"] + 1)
  }
  for path in roots["colorectal_histology"].rglob("*.tif"):
    with Image.open(path) as image:
      assert (image.format, image.mode) == ("TIFF", "RGB")
      assert image.size == (150, 150)
      assert image.info["compression"] == "tiff_adobe_deflate"
  sizes = []
  for path in roots["chest_xray"].rglob("*.jpeg"):
    with Image.open(path) as image:
      assert (image.format, image.mode) == ("JPEG", "L")
      sizes.append(image.size)
  assert len(set(sizes)) > 0.8 * len(sizes) > 0
  assert all(150 <= side <= 256 for size in sizes for side in size)


def test_cifar_has_ten_balanced_classes_in_both_parts(roots):
  source = _open("cifar100", roots["cifar100"])
  listing = source.listing
  for part, count in (("train", 6), ("test", 2)):
    labels = listing.labels[listing.parts == part]
    assert np.bincount(labels).tolist() == [count] * 10
  rows = np.frombuffer(
    (roots["cifar100"] / "cifar-100-binary/train.bin").read_bytes(), np.uint8
  ).reshape(60, -1)
  assert rows[17, 1] == 7
  row = listing.names.tolist().index(
    f"train/{cifar100.CLASSES[7]}/train_00017.png"
  )
  channels = rows[17, 2:].reshape(3, 32, 32)
  np.testing.assert_array_equal(source.read(row).transpose(2, 0, 1), channels)


def test_ten_slides_share_the_classes_unevenly():
  listing = _list("colorectal_histology")
  slides = sorted(set(listing.groups.tolist()))
  assert slides == [f"CRC-Prim-HE-{n:02}" for n in range(1, 11)]
  table = np.zeros((8, 10), int)
  np.add.at(table, (listing.labels, np.searchsorted(slides, listing.groups)), 1)
  assert (table.sum(1) == 60).all()
  assert table.sum(0).min() >= 20  # enough to test on
  assert (table.max(1) >= 9).all()  # 6 would be even
  assert table.max(1).mean() > 12
  assert (table > 0).sum(0).min() >= 5  # classes
  # Slide, region and position are those of no other tile.
  files = [file.path.rpartition("/")[2] for file in layouts._colorectal(450)]
  assert len({file.split("_")[0] for file in files}) == len(files)
  assert len({file.split("HE-")[1] for file in files}) == len(files)


def test_xrays_have_about_the_published_shares_of_classes():
  folders = collections.Counter(
    tuple(path.split("/")[1:3]) for path in _list("chest_xray").paths
  )
  assert folders["val", "NORMAL"] == folders["val", "PNEUMONIA"] == 8
  for part, low, high, share, error in (
    ("train", 650, 750, 1341 / 5216, 0.02),
    ("test", 100, 130, 234 / 624, 0.03),
  ):
    normal, ill = folders[part, "NORMAL"], folders[part, "PNEUMONIA"]
    assert low < normal + ill < high
    assert abs(normal / (normal + ill) - share) < error


def test_persons_are_named_and_some_are_in_both_parts():
  listing = _list("chest_xray")
  parts, labels = collections.defaultdict(set), collections.defaultdict(set)
  rows = zip(listing.groups, listing.parts, listing.labels, strict=True)
  for group, part, label in rows:
    parts[group].add(part)
    labels[group].add(label)
    assert group.startswith("person") == bool(label)
  assert all(len(classes) == 1 for classes in labels.values())
  shared = {group for group, names in parts.items() if len(names) == 2}
  ill = {
    g for g, names in parts.items() if "test" in names and labels[g] == {1}
  }
  assert 0.1 < len(shared) / len(ill) < 0.5
  assert shared < ill
  assert set(collections.Counter(listing.groups).values()) >= {1, 2, 3, 4}
  for word in ("/IM-", "NORMAL2-IM-", "_bacteria_", "_virus_"):
    assert sum(word in path for path in listing.paths) > 50, word
