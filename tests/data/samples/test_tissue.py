"""Tests of the embedded sample of tissue tiles."""

import collections
import json
import pathlib

import numpy as np
import pytest
from PIL import Image
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mn_jax.data.datasets import colorectal, registry
from mn_jax.data.datasets.source import ImageFiles
from mn_jax.data.files import archive
from mn_jax.data.samples import tissue as sample_tissue

_COUNT = 12


def _open(root: pathlib.Path) -> ImageFiles:
  """The sample as the code for the real set reads it."""
  return registry.get("colorectal_histology").open(archive.open_files(root))


def _bytes(root: pathlib.Path) -> dict[str, bytes]:
  return {
    path.relative_to(root).as_posix(): path.read_bytes()
    for path in root.rglob("*.tif")
  }


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("tissue") / "root"
  count = sample_tissue.write_tissue(path, tiles_per_class=_COUNT)
  assert count == 8 * _COUNT
  return path


@pytest.fixture(scope="module")
def source(root) -> ImageFiles:
  return _open(root)


@pytest.fixture(scope="module")
def tiles(source) -> np.ndarray:
  """u8[n, 150, 150, 3] in the order of the listing."""
  return np.stack([source.read(row) for row in range(8 * _COUNT)])


@pytest.fixture
def blank(monkeypatch):
  """Draws nothing, so that a sample of full size takes no time."""
  black = np.zeros((8, 8, 3), np.uint8)
  monkeypatch.setattr(sample_tissue, "_draw_tile", lambda *_: black)


def test_nothing_but_listed_tiles_is_written(root, source):
  folder = "Kather_texture_2016_image_tiles_5000"
  files = {p.relative_to(root).as_posix() for p in root.rglob("*.*")}
  assert files == {*source.listing.paths, "SAMPLE.json"}
  assert {path.rpartition("/")[0] for path in source.listing.paths} == {
    f"{folder}/{name}" for name in colorectal.FOLDERS
  }
  assert np.bincount(source.listing.labels).tolist() == [_COUNT] * 8
  assert [path.name for path in root.parent.iterdir()] == ["root"]


@pytest.mark.usefixtures("blank")
def test_ten_slides_share_the_classes_unevenly(tmp_path):
  spec = registry.get("colorectal_histology_sample")
  assert spec.generate(tmp_path) == spec.images
  listing = _open(tmp_path).listing
  assert len(listing.names) == spec.images
  slides = sorted(set(listing.groups.tolist()))
  assert slides == [f"CRC-Prim-HE-{n:02}" for n in range(1, 11)]
  table = np.zeros((8, 10), int)
  np.add.at(table, (listing.labels, np.searchsorted(slides, listing.groups)), 1)
  assert (table.sum(1) == 60).all()
  assert table.sum(0).min() >= 20  # enough to test on
  assert (table.max(1) >= 9).all()  # 6 would be even
  assert table.max(1).mean() > 12
  assert (table > 0).sum(0).min() >= 5  # classes


@pytest.mark.usefixtures("blank")
def test_every_tile_has_a_place_of_its_own(tmp_path, monkeypatch):
  monkeypatch.setattr(sample_tissue, "_REGION", 22)
  sample_tissue.write_tissue(tmp_path, tiles_per_class=50)
  listing = _open(tmp_path).listing
  files = [path.rpartition("/")[2] for path in listing.paths]
  assert len({file.split("_")[0] for file in files}) == len(files)
  places = {file.split("HE-")[1] for file in files}  # slide, region, position
  assert len(places) == len(files)
  assert (listing.positions % 150 == 1).all()


def test_tiles_are_compressed_150x150_rgb(root, source, tiles):
  assert tiles.shape == (8 * _COUNT, 150, 150, 3)
  assert len({tile.tobytes() for tile in tiles}) == len(tiles)
  size = 0
  for path in source.listing.paths:
    size += (root / path).stat().st_size
    with Image.open(root / path) as image:
      assert (image.format, image.mode) == ("TIFF", "RGB")
      assert image.info["compression"] == "tiff_adobe_deflate"
  assert size < 0.7 * tiles.nbytes


def test_tiles_depend_on_seed_class_and_number_alone(tmp_path, root):
  whole = _bytes(root)
  sample_tissue.write_tissue(tmp_path / "few", tiles_per_class=2)
  few = _bytes(tmp_path / "few")
  assert len(few) == 16
  assert few.items() < whole.items()
  sample_tissue.write_tissue(tmp_path / "other", seed=1, tiles_per_class=2)
  other = _bytes(tmp_path / "other")
  assert set(other.values()).isdisjoint(whole.values())


def test_every_tile_has_random_numbers_of_its_own(tmp_path, monkeypatch):
  seen = []

  def draw(rng, *_):
    seen.append(rng.random())
    return np.zeros((8, 8, 3), np.uint8)

  monkeypatch.setattr(sample_tissue, "_draw_tile", draw)
  sample_tissue.write_tissue(tmp_path / "root", tiles_per_class=3)
  assert len(seen) == len(set(seen)) == 24


def _accuracy(features: np.ndarray, labels: np.ndarray) -> float:
  """Of the nearest other tile's label, in features f[n, k] scaled alike."""
  scaled = StandardScaler().fit_transform(features)
  nearest = KNeighborsClassifier(1).fit(scaled, labels).kneighbors(scaled, 2)
  return float((labels[nearest[1][:, 1]] == labels).mean())


def test_texture_tells_more_than_colour_and_neither_tells_all(source, tiles):
  labels = source.listing.labels
  pixels = tiles.astype(np.float64)
  colour = pixels.mean((1, 2))
  grey = pixels.mean(3)
  texture = np.log1p(
    np.stack(
      [
        np.abs(np.diff(grey, n, axis)).mean((1, 2))
        for axis in (1, 2)
        for n in (1, 2)
      ]
      + [grey.std((1, 2))],
      axis=1,
    )
  )
  chance = 1 / 8
  both = _accuracy(np.hstack([colour, texture]), labels)
  assert 2.5 * chance < _accuracy(colour, labels) < both < 0.92
  # Stain and light tell something of the slide.
  tissue = labels != 7
  assert _accuracy(colour[tissue], source.listing.groups[tissue]) > 0.2


def test_classes_look_as_they_are_called(source, tiles):
  bright = tiles.mean((1, 2, 3))
  rank = [bright[source.listing.labels == n].mean() for n in range(8)]
  names = dict(zip(colorectal.CLASSES, rank, strict=True))
  assert names["empty"] > names["adipose"] > names["debris"] > names["stroma"]
  assert names["stroma"] > names["tumor"]


def test_classes_are_learned_on_other_slides(source, tiles):
  labels, slides = source.listing.labels, source.listing.groups
  thumbs = tiles.reshape(-1, 5, 30, 5, 30, 3).astype(np.float64)
  features = np.hstack(
    [
      thumbs.mean((1, 2, 3, 4)),
      np.log1p(thumbs.std((2, 4)).mean((1, 2, 3)))[:, None],
    ]
  )
  most = collections.Counter(slides.tolist()).most_common(3)
  test = np.isin(slides, [slide for slide, _ in most])
  model = make_pipeline(StandardScaler(), KNeighborsClassifier(5))
  model.fit(features[~test], labels[~test])
  assert 0.35 < model.score(features[test], labels[test]) < 0.9


def test_finished_sample_is_left_alone(root, monkeypatch):
  monkeypatch.setattr(
    sample_tissue, "_write_class", None
  )  # A call would raise.
  count = sample_tissue.write_tissue(root, tiles_per_class=_COUNT)
  assert count == 8 * _COUNT


def test_another_sample_is_refused(tmp_path):
  (tmp_path / "SAMPLE.json").write_text(json.dumps({"seed": 0}))
  with pytest.raises(FileExistsError, match="is another sample") as error:
    sample_tissue.write_tissue(tmp_path, tiles_per_class=1)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"tiles_per_class": 0}])
def test_number_out_of_range_is_refused(tmp_path, wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    sample_tissue.write_tissue(tmp_path / "root", **wrong)
  assert list(tmp_path.iterdir()) == []


def test_colours_resemble_the_real_tiles(shared_data, source, tiles):
  path = shared_data / "colorectal-histology-24-tiles.zip"
  files = archive.open_files(path)
  real = registry.get("colorectal_histology").open(files)
  labels = real.listing.labels
  means = np.stack([real.read(n).mean((0, 1)) for n in range(len(labels))])
  files.close()
  for label, name in enumerate(colorectal.CLASSES):
    drawn = tiles[source.listing.labels == label].mean((0, 1, 2))
    expected = means[labels == label].mean(0)
    np.testing.assert_allclose(drawn, expected, atol=60, err_msg=name)
