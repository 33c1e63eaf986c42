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


def test_data_that_is_not_there_says_how_to_get_it(tmp_path):
  for name, path, *words in (
    ("idc", str(tmp_path / "nothing"), "data.path: got", "nothing"),
    (
      "idc",
      "",
      "data.path: got ''",
      "python -m mn_jax.tools.prepare idc` (downloads it)",
      "--config=NAME:sample",
    ),
    (
      "image_folder",
      "",
      "python -m mn_jax.tools.prepare image_folder --source=",
      "data.path=FOLDER_OR_ARCHIVE (both with a copy from",
    ),
  ):
    with pytest.raises(InputError) as caught:
      store.locate(name, path, tmp_path)
    message = str(caught.value)
    assert all(word in message for word in words), message
    assert "\n" not in message


def test_a_damaged_manifest_counts_as_none(tmp_path):
  assert manifest.read("idc", tmp_path) is None
  for text in (
    "",
    "[]",
    "{}",
    '{"schema": 2, "path": "", "fingerprint": ""}',
    '{"schema": 1, "path": 3, "fingerprint": ""}',
  ):
    (tmp_path / "idc.json").write_text(text)
    assert manifest.read("idc", tmp_path) is None


def test_what_was_prepared_is_located_unless_there_is_a_path(tmp_path):
  root, data, chosen = (tmp_path / name for name in ("root", "data", "chosen"))
  data.mkdir()
  chosen.mkdir()
  manifest.write("idc", root, {"path": str(data), "fingerprint": "f"})
  assert store.locate("idc", "", root) == data
  assert store.locate("idc", str(chosen), root) == chosen
  data.rmdir()
  with pytest.raises(InputError, match=r"data\.image_size: .*prepare idc"):
    store.locate("idc", "", root)


@pytest.mark.usefixtures("small_sample")
def test_prepared_data_needs_its_source_for_another_size_alone(tmp_path):
  source = store.locate("idc_sample", "", tmp_path)
  packed = _load("idc", tmp_path, path=str(source))
  facts = {
    "path": str(source),
    "source_stamp": store.stamp(source),
    "fingerprint": packed.fingerprint,
  }
  manifest.write("idc", tmp_path, facts)
  assert _load("idc", tmp_path, size=32).images.shape[1:] == (32, 32, 3)
  assert json.loads((tmp_path / "idc.json").read_text())["path"] == str(source)
  shutil.rmtree(source)
  again = _load("idc", tmp_path)
  np.testing.assert_array_equal(again.images, packed.images)
  with pytest.raises(InputError, match=r"data\.image_size: .* is gone"):
    _load("idc", tmp_path, size=20)


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


@pytest.mark.usefixtures("small_sample")
def test_a_sample_is_decoded_once_from_folder_or_zip(tmp_path):
  seen = []
  packed, again = (
    _load("idc_sample", tmp_path, progress=lambda *done: seen.append(done))
    for _ in range(2)
  )
  assert seen == [(24, 24)]
  assert packed.images.shape == (24, 50, 50, 3)
  assert len(set(packed.groups.tolist())) == 3
  np.testing.assert_array_equal(again.images, packed.images)
  folder, path = tmp_path / "idc_sample", tmp_path / "sample.zip"
  with zipfile.ZipFile(path, "w") as file:
    for image in folder.rglob("*.png"):
      file.write(image, pathlib.Path("wrapper") / image.relative_to(folder))
  from_zip = _load("idc", tmp_path, path=str(path))
  np.testing.assert_array_equal(from_zip.images, packed.images)
  np.testing.assert_array_equal(from_zip.names, packed.names)
  assert from_zip.sha256 == packed.sha256


def test_refused_archive_leaves_nothing(tmp_path):
  path, root = tmp_path / "evil.zip", tmp_path / "root"
  with zipfile.ZipFile(path, "w") as file:
    file.writestr("../8863_idx5_x51_y1251_class0.png", b"")
  with pytest.raises(InputError, match=r"refused: member '\.\./8863"):
    _load("idc", root, path=str(path))
  assert not root.exists()
