"""Weights by name: ImageNet's file, a folder, a path; offline and online."""

import dataclasses
import hashlib

import numpy as np
import pytest
import safetensors.numpy

from mn_jax.errors import InputError
from mn_jax.weights import locate, manifest
from tests import file_server

CONTENT = b"weights of a network"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
  """An empty folder of published weights."""
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path))
  return tmp_path / "weights"


def put(folder, name):
  folder.mkdir(exist_ok=True)
  (folder / name).write_bytes(CONTENT)
  return folder / name


def refused(*args, **kwargs):
  with pytest.raises(InputError) as caught:
    locate.resolve(*args, **kwargs)
  message = str(caught.value)
  assert "\n" not in message
  return message


def publish(monkeypatch, url, md5):
  """Has the manifest name another address and checksum for xception."""
  weights = manifest.load()
  top = dataclasses.replace(weights["xception"].top, url=url, md5=md5)
  changed = {"xception": dataclasses.replace(weights["xception"], top=top)}
  monkeypatch.setattr(manifest, "load", lambda: weights | changed)
  return top


def test_what_can_be_downloaded_has_a_checksum():
  """Of its publisher, or of the hub."""
  expected = {
    ("mobilenet_v3_small", 1.0): "imagenet",
    ("resnet50", 1.0): "imagenet",
    ("mobilenet_v2", 1.0): "hf:timm/mobilenetv2_100.ra_in1k",
    ("mobilenet_v2", 1.3): "",
    ("mobilenet_v1", 0.25): "",
    ("simple_cnn", 1.0): "",
  }
  found = {key: locate.downloadable(key[0], width=key[1]) for key in expected}
  assert found == expected


def test_at_hand_is_the_file_of_the_network_and_its_width(folder):
  assert locate.at_hand("mobilenet_v2") is None
  put(folder, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_192.h5")
  assert locate.at_hand("mobilenet_v2") is None  # of smaller images
  path = put(
    folder, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224_no_top.h5"
  )
  assert locate.at_hand("mobilenet_v2") == path
  path = put(
    folder, "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
  )
  assert locate.at_hand("mobilenet_v2") == path
  assert locate.at_hand("mobilenet_v2", width=0.5) is None
  assert locate.at_hand("mobilenet_v2", minimalistic=True) is None
  assert locate.at_hand("mobilenet_v1") is None
  path = put(folder, "mobilenet_v3_small_minimalistic.safetensors")
  assert locate.at_hand("mobilenet_v3_small", minimalistic=True) == path
  assert locate.at_hand("mobilenet_v3_small") is None
  for name in ("simple_cnn", "resnet18", "no network"):
    assert locate.at_hand(name) is None
  assert locate.resolve("imagenet", "mobilenet_v2").path.parent == folder


def test_without_a_stated_checksum_a_line_says_what_to_put_where(folder):
  message = refused("imagenet", "mobilenet_v1")
  assert message.startswith(
    "model.weights: got 'imagenet' for 'mobilenet_v1', "
  )
  assert f"is not in {folder}" in message
  assert "mobilenet_1_0_224_tf.h5 put there, from https://" in message
  path = put(folder, "mobilenet_1_0_224_tf.h5")
  located = locate.resolve("imagenet", "mobilenet_v1")
  assert (located.path, located.name, located.revision) == (
    path,
    "imagenet",
    "",
  )


def test_a_network_without_published_weights_is_refused():
  message = refused("imagenet", "resnet18")
  assert (
    "no file is published; valid: for mobilenet_v1, mobilenet_v2" in message
  )
  message = refused("imagenet", "mobilenet_v1", width=0.6)
  assert "valid: for mobilenet_v1 at width 0.25, 0.5, 0.75, 1, hf:" in message


def test_imagenet_is_downloaded_and_its_checksum_compared(folder, monkeypatch):
  md5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
  with file_server.serving(CONTENT) as site:
    top = publish(monkeypatch, site.url, md5)
    path = locate.resolve("imagenet", "xception").path
    assert path == folder / top.name
    assert path.read_bytes() == CONTENT
    assert len(site.requests) == 1
    locate.resolve("imagenet", "xception")
    assert len(site.requests) == 1
    path.write_bytes(b"damaged")
    message = refused("imagenet", "xception")
    assert f"is there with md5 {hashlib.md5(b'damaged').hexdigest()}" in message
    path.unlink()
    site.content = b"another file"
    message = refused("imagenet", "xception")
    assert f"valid: {top.name} put there, or a path" in message
    assert not path.exists()
  publish(monkeypatch, "http://127.0.0.1:9/net.h5", md5)
  monkeypatch.setattr("time.sleep", lambda seconds: None)
  assert f"is not to be had in {folder}: " in refused("imagenet", "xception")


def test_a_folder_stands_for_the_weights_in_it(tmp_path):
  message = refused(str(tmp_path), "mobilenet_v1")
  assert "which is a folder without model.safetensors" in message
  path = tmp_path / "model.safetensors"
  safetensors.numpy.save_file({"a": np.ones(3)}, path)
  located = locate.resolve(str(tmp_path), "mobilenet_v1")
  assert (located.path, located.name) == (path, str(tmp_path))
  assert locate.resolve(str(path), "mobilenet_v1").path == path


def test_names_are_told_from_paths():
  assert not any(map(locate.is_path, ("imagenet", "hf:a/b")))
  assert all(map(locate.is_path, ("./imagenet", "hf.h5", "~/x.h5")))
