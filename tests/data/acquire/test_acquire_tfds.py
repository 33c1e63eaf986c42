import errno
import importlib.util
import pathlib
import types

import pytest
import requests
import tensorflow_datasets
from tensorflow_datasets.core.download import download_manager, util

from mn_jax.data.acquire import tfds
from mn_jax.data.datasets import tfds_files
from mn_jax.data.datasets.spec import Tfds
from mn_jax.errors import InputError
from tests import toy_tfds

LAYOUT = Tfds("toy:1.0.0", "filename")
FIND = importlib.util.find_spec


@pytest.fixture
def builder(tmp_path, monkeypatch):
  """Stands in for TFDS's builder; `action` is what preparing does."""
  builder = types.SimpleNamespace(
    asked=[],
    data_path=tmp_path / "tfds" / "toy" / "1.0.0",
    action=lambda: None,
  )

  def prepare(**options):
    builder.asked.append(options)
    builder.action()

  def make(name, **options):
    builder.asked.append((name, options))
    return builder

  builder.download_and_prepare = prepare
  monkeypatch.setattr(tensorflow_datasets, "builder", make)
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name: True if name == "tensorflow" else FIND(name),
  )
  return builder


def test_data_set_is_prepared_for_reading_without_tensorflow(tmp_path, builder):
  assert tfds.fetch(LAYOUT, tmp_path) == builder.data_path
  call, asked = builder.asked
  folder = tmp_path / "tfds"
  assert call == (
    "toy:1.0.0",
    {"data_dir": folder, "file_format": tfds_files.FORMAT},
  )
  assert asked["download_dir"] == folder / "downloads"
  assert asked["download_config"].manual_dir == folder / "downloads" / "manual"


def test_what_is_prepared_needs_no_tensorflow(tmp_path, monkeypatch):
  prepared = toy_tfds.write(
    tmp_path / "tfds", LAYOUT, {"train": [("a", 0, b"")]}, ("x", "y")
  )
  builder = types.SimpleNamespace(data_path=prepared)
  monkeypatch.setattr(tensorflow_datasets, "builder", lambda *_, **__: builder)
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
  path = tfds.fetch(LAYOUT, tmp_path)
  assert path == prepared
  assert isinstance(path, pathlib.Path)
  builder.data_path = tmp_path / "missing"
  message = failure(tmp_path, page="https://example.org")
  assert message.endswith("--source=PATH with a copy from https://example.org")
  assert "TensorFlow is not installed" in message
  assert "the extra 'prepare'" in message


def failure(tmp_path, layout=LAYOUT, **options):
  with pytest.raises(InputError) as caught:
    tfds.fetch(layout, tmp_path, **options)
  assert "\n" not in str(caught.value)
  assert "valid: " in str(caught.value)
  return str(caught.value)


def test_failed_preparation_is_one_line_of_what_to_do(tmp_path, builder):
  url = "Failed to get url\nhttps://x.org. HTTP code: 404."
  for error, message in (
    (download_manager.NonMatchingChecksumError("a\nb"), "checksum than Tensor"),
    (util.DownloadError(url), f"toy:1.0.0: {url.replace('\n', ' ')}; valid: "),
    (requests.ConnectionError("x"), "broke off (ConnectionError); valid: a co"),
    (OSError(errno.ENOSPC, "No space left"), "written (No space left)"),
    (OSError(errno.EACCES, "Permission denied"), "(Permission denied)"),
    (RuntimeError("one\ntwo"), "failed (RuntimeError: one two); valid: "),
  ):

    def action(error=error):
      raise error

    builder.action = action
    assert message in failure(tmp_path)


def test_imagenet_wants_both_of_its_files_by_hand(tmp_path, builder):
  layout = Tfds("imagenet2012:5.1.0", "file_name")
  manual = tmp_path / "tfds" / "downloads" / "manual"
  message = failure(tmp_path, layout)
  assert str(manual) in message
  assert "https://image-net.org/download-images" in message
  assert "has no ILSVRC2012_img_train.tar and no ILSVRC2012_img_val" in message
  manual.mkdir(parents=True)
  (manual / "ILSVRC2012_img_train.tar").touch()
  assert "has no ILSVRC2012_img_val.tar; valid: " in failure(tmp_path, layout)
  (manual / "ILSVRC2012_img_val.tar").touch()
  assert tfds.fetch(layout, tmp_path) == builder.data_path
