"""Tests of the table of data sets and of loading one."""

import dataclasses
import functools
import pathlib
import zipfile

import numpy as np
import pytest

from mn_jax.data import datasets
from mn_jax.errors import InputError

_SIZES = {"image_size": 50, "edge_patches": "resize", "max_unreadable": 0.0}


def _load(name: str, root: pathlib.Path, path: str = "", **options):
  return datasets.load(name, path=path, root=root, **{**_SIZES, **options})


@pytest.fixture
def small_sample(monkeypatch):
  """Generates less than the sample's usual 2,000 patches."""
  spec = datasets.get("idc_sample")
  generate = functools.partial(
    spec.generate, num_patients=3, patches_per_patient=8
  )
  small = dataclasses.replace(spec, generate=generate)
  monkeypatch.setitem(datasets.DATASETS, "idc_sample", small)


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_specs_are_complete(name):
  spec = datasets.get(name)
  assert len(set(spec.classes)) == len(spec.classes) >= 2
  assert spec.positive is None or 0 <= spec.positive < len(spec.classes)
  for text in (spec.title, spec.origin, spec.licence):
    assert text
    assert "\n" not in text
  assert spec.group is None or spec.group.isalpha()
  # There is one way to get it.
  ways = [w for w in (spec.kaggle, spec.generate, spec.page) if w is not None]
  assert len(ways) == 1
  if spec.kaggle:
    assert "/versions/" in spec.kaggle
  if spec.page:
    assert spec.page.startswith("https://")


@pytest.mark.parametrize("name", ["idc", "eurosat"])
def test_a_sample_is_described_as_what_it_stands_for(name):
  real, sample = datasets.get(name), datasets.get(f"{name}_sample")
  for field in ("classes", "positive", "group", "image_size", "list_images"):
    assert getattr(real, field) == getattr(sample, field), field


def test_classes_of_eurosat_are_in_the_order_of_the_alphabet():
  classes = datasets.get("eurosat").classes
  assert len(classes) == 10
  assert list(classes) == sorted(classes)


@pytest.mark.parametrize("name", datasets.DATASETS)
def test_case_lists_are_disjoint(name):
  lists = datasets.case_lists(name)
  assert (lists is None) == (datasets.get(name).case_lists is None)
  if lists is not None:
    assert list(lists) == ["train", "val", "test"]
    cases = [case for listed in lists.values() for case in listed]
    assert len(set(cases)) == len(cases)


def test_unknown_name_lists_the_known_ones():
  with pytest.raises(InputError, match=r"got 'icd'; valid: idc, idc_sample"):
    datasets.get("icd")


def test_cache_root(monkeypatch, tmp_path):
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path / "env"))
  monkeypatch.setenv("HOME", str(tmp_path))
  assert datasets.cache_root("~/mine") == tmp_path / "mine"
  assert datasets.cache_root("") == tmp_path / "env"
  monkeypatch.delenv("MN_JAX_CACHE")
  assert datasets.cache_root("") == tmp_path / ".cache/mn_jax"


def test_missing_path_is_the_users_to_mend(tmp_path):
  path = str(tmp_path / "nothing")
  with pytest.raises(InputError, match=r"data\.path: got '.*nothing'"):
    datasets.locate("idc", path, tmp_path)


def test_data_that_is_not_there_says_how_to_get_it(tmp_path):
  with pytest.raises(InputError) as caught:
    datasets.locate("idc", "", tmp_path)
  message = str(caught.value)
  assert "data.path" in message
  assert "python -m mn_jax.tools.prepare idc" in message
  assert "\n" not in message


def test_data_that_is_not_downloaded_says_where_it_is(tmp_path):
  with pytest.raises(InputError) as caught:
    datasets.locate("eurosat", "", tmp_path)
  message = str(caught.value)
  assert "prepare eurosat --source=FOLDER_OR_ZIP" in message
  assert "--config.data.path=" in message
  assert "https://zenodo.org/records/7711810" in message
  assert "(downloads it)" not in message
  assert "\n" not in message


def test_prepared_data_is_found(tmp_path, monkeypatch):
  root, data = tmp_path / "root", tmp_path / "data"
  data.mkdir()
  assert datasets.recall("idc", root) is None
  monkeypatch.chdir(tmp_path)
  datasets.remember("idc", pathlib.Path("data"), root)
  monkeypatch.chdir(root)  # it is found from anywhere
  assert datasets.locate("idc", "", root) == data
  data.rmdir()
  assert datasets.recall("idc", root) is None
  with pytest.raises(InputError, match="prepare idc"):
    datasets.locate("idc", "", root)


def test_path_wins_over_what_was_prepared(tmp_path):
  for name in ("chosen", "prepared"):
    (tmp_path / name).mkdir()
  datasets.remember("idc", tmp_path / "prepared", tmp_path)
  chosen = tmp_path / "chosen"
  assert datasets.locate("idc", str(chosen), tmp_path) == chosen


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
  spec = datasets.get("eurosat_sample")
  generate = functools.partial(spec.generate, tiles_per_class=2)
  small = dataclasses.replace(spec, generate=generate)
  monkeypatch.setitem(datasets.DATASETS, "eurosat_sample", small)
  packed = _load("eurosat_sample", tmp_path, image_size=64)
  assert packed.images.shape == (20, 64, 64, 3)
  assert np.bincount(packed.labels).tolist() == [2] * 10
  assert packed.names[3] == "Forest/Forest_2.jpg"
  # The same files serve as a copy of the real set; its other half is ignored.
  bands = tmp_path / "eurosat_sample" / "bands" / "Forest"
  bands.mkdir(parents=True)
  (bands / "Forest_2.tif").write_bytes(b"13 bands")
  copy = _load(
    "eurosat", tmp_path, path=str(tmp_path / "eurosat_sample"), image_size=64
  )
  np.testing.assert_array_equal(copy.images, packed.images)


def test_refused_archive_leaves_nothing(tmp_path):
  path, root = tmp_path / "evil.zip", tmp_path / "root"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("../8863_idx5_x51_y1251_class0.png", b"")
  with pytest.raises(InputError, match=r"refused: member '\.\./8863"):
    _load("idc", root, path=str(path))
  assert not root.exists()
