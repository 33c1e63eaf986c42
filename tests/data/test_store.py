"""Tests of finding and opening data sets."""

import dataclasses
import functools
import json
import pathlib
import shutil
import zipfile

import numpy as np
import pytest

from mn_jax.data import manifest, store
from mn_jax.data.datasets import registry
from mn_jax.data.packing import PackOptions
from mn_jax.errors import InputError


def _load(name: str, root: pathlib.Path, path: str = "", size=50, **options):
  return store.load(
    name, path=path, root=root, options=PackOptions(size), **options
  )


@pytest.fixture
def small_sample(monkeypatch):
  """Generates less than the sample's usual 2,000 patches."""
  spec = registry.get("idc_sample")
  generate = functools.partial(
    spec.generate, num_patients=3, patches_per_patient=8
  )
  small = dataclasses.replace(spec, generate=generate)
  monkeypatch.setitem(registry.DATASETS, "idc_sample", small)


def test_cache_root(monkeypatch, tmp_path):
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path / "env"))
  monkeypatch.setenv("HOME", str(tmp_path))
  assert store.cache_root("~/mine") == tmp_path / "mine"
  assert store.cache_root("") == tmp_path / "env"
  monkeypatch.delenv("MN_JAX_CACHE")
  assert store.cache_root("") == tmp_path / ".cache/mn_jax"


def test_missing_path_is_the_users_to_mend(tmp_path):
  path = str(tmp_path / "nothing")
  with pytest.raises(InputError, match=r"data\.path: got '.*nothing'"):
    store.locate("idc", path, tmp_path)


def test_data_that_is_not_there_says_how_to_get_it(tmp_path):
  with pytest.raises(InputError) as caught:
    store.locate("idc", "", tmp_path)
  message = str(caught.value)
  assert "data.path" in message
  assert "python -m mn_jax.tools.prepare idc" in message
  assert "\n" not in message


def test_data_that_is_not_downloaded_says_where_it_is(tmp_path):
  with pytest.raises(InputError) as caught:
    store.locate("image_folder", "", tmp_path)
  message = str(caught.value)
  assert "python -m mn_jax.tools.prepare image_folder --source=" in message
  assert "data.path=FOLDER_OR_ARCHIVE" in message
  assert "(downloads it)" not in message
  assert "\n" not in message


def test_prepared_data_is_found(tmp_path):
  root, data = tmp_path / "root", tmp_path / "data"
  data.mkdir()
  assert manifest.read("idc", root) is None
  manifest.write("idc", root, {"path": str(data), "fingerprint": "f"})
  assert store.locate("idc", "", root) == data
  data.rmdir()
  with pytest.raises(InputError, match=r"data\.image_size: .*prepare idc"):
    store.locate("idc", "", root)


def test_path_wins_over_what_was_prepared(tmp_path):
  chosen = tmp_path / "chosen"
  chosen.mkdir()
  facts = {"path": str(tmp_path / "prepared"), "fingerprint": "f"}
  manifest.write("idc", tmp_path, facts)
  assert store.locate("idc", str(chosen), tmp_path) == chosen


@pytest.mark.usefixtures("small_sample")
def test_prepared_data_outlives_what_it_was_made_from(tmp_path):
  source = store.locate("idc_sample", "", tmp_path)
  packed = _load("idc", tmp_path, path=str(source))
  manifest.write(
    "idc", tmp_path, {"path": str(source), "fingerprint": packed.fingerprint}
  )
  shutil.rmtree(source)
  again = _load("idc", tmp_path)
  np.testing.assert_array_equal(again.images, packed.images)
  with pytest.raises(InputError, match=r"data\.image_size: .* is gone"):
    _load("idc", tmp_path, size=32)


@pytest.mark.usefixtures("small_sample")
def test_another_size_is_packed_from_the_source(tmp_path):
  source = store.locate("idc_sample", "", tmp_path)
  packed = _load("idc", tmp_path, path=str(source))
  facts = {"path": str(source), "fingerprint": packed.fingerprint}
  manifest.write("idc", tmp_path, facts)
  assert _load("idc", tmp_path, size=32).images.shape[1:] == (32, 32, 3)
  assert json.loads((tmp_path / "idc.json").read_text())["path"] == str(source)


@pytest.mark.usefixtures("small_sample")
def test_sample_is_generated_and_decoded_once(tmp_path):
  seen = []
  packed = _load(
    "idc_sample", tmp_path, progress=lambda *done: seen.append(done)
  )
  assert seen == [(24, 24)]
  assert packed.images.shape == (24, 50, 50, 3)
  assert len(set(packed.groups.tolist())) == 3
  again = _load(
    "idc_sample", tmp_path, progress=lambda *done: seen.append(done)
  )
  assert seen == [(24, 24)]
  np.testing.assert_array_equal(again.images, packed.images)


@pytest.mark.usefixtures("small_sample")
def test_folder_and_zip_share_a_cache(tmp_path):
  packed = _load("idc_sample", tmp_path)
  folder, path = tmp_path / "idc_sample", tmp_path / "sample.zip"
  with zipfile.ZipFile(path, "w") as file:
    for image in folder.rglob("*.png"):
      file.write(image, pathlib.Path("wrapper") / image.relative_to(folder))
  from_zip = _load("idc", tmp_path, path=str(path))
  np.testing.assert_array_equal(from_zip.images, packed.images)
  np.testing.assert_array_equal(from_zip.names, packed.names)
  assert from_zip.fingerprint == packed.fingerprint


@pytest.mark.usefixtures("small_sample")
def test_place_that_cannot_be_written(tmp_path):
  blocked = tmp_path / "file"
  blocked.write_text("")
  with pytest.raises(InputError, match=r"data\.cache_dir: 'idc_sample' cannot"):
    _load("idc_sample", blocked)
  (tmp_path / "idc_sample").mkdir()
  (tmp_path / "idc_sample/mine.txt").write_text("")
  with pytest.raises(InputError, match=r"data\.cache_dir: .* is not a sample"):
    _load("idc_sample", tmp_path)
  assert (tmp_path / "idc_sample/mine.txt").exists()


def test_tiles_are_generated_listed_and_decoded(monkeypatch, tmp_path):
  spec = registry.get("eurosat_sample")
  generate = functools.partial(spec.generate, count=2)
  small = dataclasses.replace(spec, generate=generate)
  monkeypatch.setitem(registry.DATASETS, "eurosat_sample", small)
  packed = _load("eurosat_sample", tmp_path, size=64)
  assert packed.images.shape == (20, 64, 64, 3)
  assert np.bincount(packed.labels).tolist() == [2] * 10
  assert packed.names[3] == "Forest/Forest_2.jpg"
  # The same files serve as a copy of the real set; its other half is ignored.
  bands = tmp_path / "eurosat_sample" / "bands" / "Forest"
  bands.mkdir(parents=True)
  (bands / "Forest_2.tif").write_bytes(b"13 bands")
  copy = _load(
    "eurosat", tmp_path, path=str(tmp_path / "eurosat_sample"), size=64
  )
  np.testing.assert_array_equal(copy.images, packed.images)


def test_refused_archive_leaves_nothing(tmp_path):
  path, root = tmp_path / "evil.zip", tmp_path / "root"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("../8863_idx5_x51_y1251_class0.png", b"")
  with pytest.raises(InputError, match=r"refused: member '\.\./8863"):
    _load("idc", root, path=str(path))
  assert not root.exists()
