"""Tests of where `prepare` gets data sets from, and of resuming it."""

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import shutil
import zipfile

import pytest
from PIL import Image

from mn_jax.data import packing
from mn_jax.data.acquire import kaggle
from mn_jax.data.datasets import registry
from mn_jax.data.datasets.spec import Web
from mn_jax.data.samples import layouts
from mn_jax.tools import prepare
from tests import file_server, toy_tfds
from tests.tools.preparing import load, manifest


@pytest.fixture
def site(tmp_path, monkeypatch):
  """EuroSAT as its publisher would serve it, from this machine."""
  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
  folder = tmp_path / "tiles"
  layouts.write_textures(folder, layout="eurosat", count=1)
  buffer = io.BytesIO()
  with zipfile.ZipFile(buffer, "w") as file:
    for path in folder.rglob("*.jpg"):
      file.write(path, pathlib.Path("2750") / path.relative_to(folder))
  content = buffer.getvalue()
  with file_server.serving(content) as site:
    web = Web(site.url, hashlib.sha256(content).hexdigest(), len(content))
    spec = dataclasses.replace(registry.get("eurosat"), web=web)
    monkeypatch.setitem(registry.DATASETS, "eurosat", spec)
    yield site


def test_the_web_is_the_first_source_where_there_is_one(
  site, root, run_prepare, monkeypatch
):
  def stop(*_):
    raise KeyboardInterrupt

  with monkeypatch.context() as patch:
    patch.setattr("mn_jax.data.acquire.download.time.sleep", stop)
    site.cuts = [1000]
    code, _, err = run_prepare("eurosat")
  assert code == 130
  assert err.startswith("prepare: stopped; the same command ")
  assert not (root / "eurosat.json").exists()
  code, out, err = run_prepare("eurosat")
  assert (code, err) == (0, "")
  assert "downloaded: 1 MB" in out
  assert "10 images of 64 pixels; fingerprint" in out
  assert "--config=eurosat_v2" in out
  source = manifest(root, "eurosat")["source"]
  assert (source["kind"], source["url"]) == ("web", site.url)
  assert (root / "web" / "net.h5").read_bytes() == site.content
  # Another size is packed from what was downloaded.
  assert (
    "10 images of 32 pixels" in run_prepare("eurosat", "--image-size=32")[1]
  )
  assert len(site.requests) == 2


def test_stopped_packing_goes_on(
  copy, tmp_path, root, run_prepare, monkeypatch
):
  monkeypatch.setattr(packing, "_CHUNK_BYTES", 5 * 50 * 50 * 3)
  seen = []

  @contextlib.contextmanager
  def counting(*_):
    def update(done, total):
      seen.append((done, total))
      if len(seen) == 2:
        raise KeyboardInterrupt

    yield update

  monkeypatch.setattr(prepare.Console, "counting", counting)
  code, _, err = run_prepare("idc", f"--source={copy}")
  assert (code, err.count("\n")) == (130, 1)
  assert not (root / "idc.json").exists()
  assert run_prepare("idc", f"--source={copy}")[0] == 0
  assert seen == [(5, 20), (10, 20), (15, 20), (20, 20)]
  once = prepare.main(["idc", f"--source={copy}", f"--cache-dir={tmp_path}/2"])
  assert once == 0
  assert manifest(tmp_path / "2") == manifest(root)


def test_a_folder_of_tfds_is_a_copy_too(tmp_path, root, run_prepare):
  spec = registry.get("eurosat")
  buffer = io.BytesIO()
  Image.new("RGB", (64, 64)).save(buffer, "JPEG")
  rows = [
    (f"{name}_1.jpg", label, buffer.getvalue())
    for label, name in enumerate(spec.classes)
  ]
  prepared = toy_tfds.write(
    tmp_path / "tfds", spec.tfds, {"train": rows}, spec.classes
  )
  code, out, _ = run_prepare("eurosat", f"--source={prepared}")
  assert code == 0
  assert "10 images" in out
  shutil.rmtree(prepared)
  assert len(load(root, "eurosat", 64)) == 10


def test_a_sample_is_generated(root, run_prepare, monkeypatch):
  spec = registry.get("idc_sample")
  generate = functools.partial(
    spec.generate, num_patients=3, patches_per_patient=8
  )
  small = dataclasses.replace(spec, generate=generate)
  monkeypatch.setitem(registry.DATASETS, "idc_sample", small)
  code, out, _ = run_prepare("idc_sample")
  assert code == 0
  assert "24 images" in out
  assert "--config=idc_v1:sample" in out
  assert manifest(root, "idc_sample")["source"] == {"kind": "generated"}
  assert "prepared already" in run_prepare("idc_sample")[1]


def test_anyones_folder_has_one_name(tmp_path, root, run_prepare):
  def write(path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)

  def run(folder: str) -> str:
    code, out, _ = run_prepare(
      "image_folder", f"--source={tmp_path / folder}", "--image-size=8"
    )
    assert code == 0
    return out

  for folder in ("mine", "yours"):
    for name in ("cat", "dog"):
      write(tmp_path / folder / "train" / name / f"{folder}.png")
  out = run("mine")
  assert "published parts: train 2" in out
  assert "cat: 1" in out
  out = run("yours")
  assert f"another copy before, {tmp_path / 'mine'}\n" in out
  assert "train on others with data.path=PATH" in out
  assert load(root, "image_folder", 8).names[0] == "train/cat/yours.png"
  # Many classes are one line.
  for number in range(21):
    for image in range(1 + number % 2):
      write(tmp_path / "many" / f"class{number}" / f"{image}.png")
  out = run("many")
  assert "  21 classes of 1 to 2 images\n" in out
  assert "class7" not in out
  assert manifest(root, "image_folder")["classes"]["class7"] == 2


def test_idc_comes_from_kaggle_in_the_pinned_version(
  copy, root, run_prepare, monkeypatch
):
  asked = []

  def fetch(handle, folder):
    assert folder == root
    asked.append(handle)
    return copy

  monkeypatch.setattr(kaggle, "fetch", fetch)
  assert run_prepare("idc")[0] == 0
  spec = registry.get("idc")
  assert asked == [spec.kaggle]
  assert manifest(root)["source"] == {"kind": "kaggle", "handle": spec.kaggle}
  # Neither the network nor the download is needed again.
  moved = copy.rename(copy.with_name("moved"))
  assert "prepared already" in run_prepare("idc")[1]
  assert "prepared already" in run_prepare("idc", "--source=kaggle")[1]
  assert len(asked) == 1
  # But for a new version.
  moved.rename(copy)
  new = dataclasses.replace(spec, kaggle="a/b/versions/2")
  monkeypatch.setitem(registry.DATASETS, "idc", new)
  run_prepare("idc")
  assert asked[1:] == ["a/b/versions/2"]
  assert manifest(root)["source"]["handle"] == "a/b/versions/2"
  # A manifest that somebody edited is no reason to fail.
  written = manifest(root)
  (root / "idc.json").write_text(json.dumps(written | {"source": "kaggle"}))
  assert run_prepare("idc")[0] == 0
  assert len(asked) == 3
