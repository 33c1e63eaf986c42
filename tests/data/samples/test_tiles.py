"""Tests of the embedded sample of land-cover tiles."""

import json
import pathlib

import numpy as np
import pytest
from PIL import Image

from mn_jax.data.datasets import registry
from mn_jax.data.samples import tiles as sample_tiles

_COUNT = 20


def _read(root: pathlib.Path) -> dict[str, np.ndarray]:
  """Pixels u8[h, w, 3] of all tiles by path below `root`."""
  pixels = {}
  for path in sorted(root.rglob("*.jpg")):
    with Image.open(path) as image:
      assert (image.format, image.mode) == ("JPEG", "RGB")
      pixels[path.relative_to(root).as_posix()] = np.asarray(image)
  return pixels


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("tiles") / "root"
  assert sample_tiles.write_tiles(path, tiles_per_class=_COUNT) == 10 * _COUNT
  return path


@pytest.fixture(scope="module")
def tiles(root) -> dict[str, np.ndarray]:
  return _read(root)


def test_layout_is_that_of_the_real_set(root, tiles):
  assert set(tiles) == {
    f"2750/{name}/{name}_{number}.jpg"
    for name in registry.get("eurosat").classes
    for number in range(1, _COUNT + 1)
  }
  assert {path.name for path in root.iterdir()} == {"2750", "SAMPLE.json"}
  assert [path.name for path in root.parent.iterdir()] == ["root"]


def test_tiles_are_64x64_and_none_is_a_copy_or_blank(tiles):
  assert {tile.shape for tile in tiles.values()} == {(64, 64, 3)}
  assert len({tile.tobytes() for tile in tiles.values()}) == len(tiles)
  assert min(tile.std((0, 1)).max() for tile in tiles.values()) > 0.5


def test_tiles_depend_on_seed_class_and_number_alone(tmp_path, tiles):
  sample_tiles.write_tiles(tmp_path / "few", tiles_per_class=2)
  few = _read(tmp_path / "few")
  assert len(few) == 20
  for name, tile in few.items():
    np.testing.assert_array_equal(tile, tiles[name], err_msg=name)
  sample_tiles.write_tiles(tmp_path / "other", seed=1, tiles_per_class=2)
  other = {tile.tobytes() for tile in _read(tmp_path / "other").values()}
  assert other.isdisjoint(tile.tobytes() for tile in tiles.values())


def test_every_tile_has_random_numbers_of_its_own(tmp_path, monkeypatch):
  seen = []

  def draw(rng, _):
    seen.append(rng.random())
    return np.zeros((64, 64, 3), np.uint8)

  monkeypatch.setattr(sample_tiles, "_draw_tile", draw)
  sample_tiles.write_tiles(tmp_path / "root", tiles_per_class=3)
  assert len(seen) == len(set(seen)) == 30


def _accuracy(features: np.ndarray, labels: np.ndarray) -> float:
  """Of the nearest other tile's label, in features f[n, k] scaled alike."""
  features = (features - features.mean(0)) / features.std(0)
  distance = np.square(features[:, None] - features[None]).sum(-1)
  np.fill_diagonal(distance, np.inf)
  return float((labels[distance.argmin(1)] == labels).mean())


def test_texture_tells_more_than_colour_and_neither_tells_all(tiles):
  pixels = np.stack(list(tiles.values())).astype(np.float64)
  labels = np.array([name.split("/")[1] for name in tiles])
  colour = pixels.mean((1, 2))
  grey = pixels.mean(3)
  texture = np.log(
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
  chance = 0.1
  assert 2 * chance < _accuracy(colour, labels) < 0.6
  both = _accuracy(np.hstack([colour, texture]), labels)
  assert _accuracy(colour, labels) < both < 0.85


def test_finished_sample_is_left_alone(root, monkeypatch):
  monkeypatch.setattr(sample_tiles, "_write_class", None)  # A call would raise.
  assert sample_tiles.write_tiles(root, tiles_per_class=_COUNT) == 10 * _COUNT


@pytest.mark.parametrize(
  "found", [{"sample": "mn_jax", "version": 1, "seed": 0}, {"seed": 7}]
)
def test_another_sample_is_refused(tmp_path, found):
  (tmp_path / "SAMPLE.json").write_text(json.dumps(found))
  with pytest.raises(FileExistsError, match="is another sample") as error:
    sample_tiles.write_tiles(tmp_path, tiles_per_class=1)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("wrong", [{"seed": -1}, {"tiles_per_class": 0}])
def test_number_out_of_range_is_refused(tmp_path, wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    sample_tiles.write_tiles(tmp_path / "root", **wrong)
  assert list(tmp_path.iterdir()) == []


def test_colours_resemble_the_real_tiles(shared_data, tiles):
  from mn_jax.data import decode
  from mn_jax.data.files import archive

  files = archive.open_files(shared_data / "EuroSAT.zip")
  for name in registry.get("eurosat").classes:
    listing = [n for n, _ in files.names() if n.split("/")[1] == name]
    real = [decode.decode(files.read(n)).mean() for n in listing[::60]]
    drawn = [t.mean() for n, t in tiles.items() if n.split("/")[1] == name]
    assert abs(np.mean(drawn) - np.mean(real)) < 45, name
  files.close()
