"""Weights from the hub, against a server on this machine."""

import importlib
import json
import logging
import re

import pytest
import safetensors.numpy

from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.weights import hub, locate, pretrained, torch_layout
from tests import hub_server
from tests.weights import toy_h5
from tests.weights.test_pretrained_torch import to_torch

pytest.importorskip("huggingface_hub", reason="needs the extra 'hub'")
NAME = "hf:histology/mobilenet"
REPOSITORY = "histology/mobilenet"
SECOND = "b" * 40
CLASSES = 5
NETWORK = registry.describe("mobilenet_v2", num_classes=CLASSES, width=0.25)
CONFIG = {
  "architecture": "mobilenetv2_025",
  "num_classes": CLASSES,
  "pretrained_cfg": {
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "input_size": [3, 96, 96],
    "crop_pct": 1.0,
    "interpolation": "bilinear",
  },
}


def published(seed=0, config=CONFIG):
  layout = torch_layout.LAYOUTS["mobilenet_v2"][0]
  tensors = to_torch(NETWORK, toy_h5.tensors(NETWORK, seed), layout)
  return {
    "model.safetensors": safetensors.numpy.save(tensors),
    "config.json": json.dumps(config).encode(),
  }


@pytest.fixture(scope="module")
def files():
  return published()


@pytest.fixture
def server(tmp_path, monkeypatch, files):
  with hub_server.serving() as served:
    served.publish(REPOSITORY, files)
    connect(monkeypatch, served.url, tmp_path)
    yield served


def connect(monkeypatch, url, folder):
  """Has the library use a hub and caches of its own."""
  constants = importlib.import_module("huggingface_hub.constants")
  monkeypatch.setattr(constants, "ENDPOINT", url)
  template = url + "/{repo_id}/resolve/{revision}/{filename}"
  monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
  monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "hub"))
  monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "token"))
  monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
  # The server knows the protocol of Git LFS, not that of Xet.
  monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
  monkeypatch.delenv("HF_TOKEN", raising=False)
  monkeypatch.delenv("HUGGING_FACE_HUB_TOKEN", raising=False)


def disconnect(monkeypatch):
  monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def refused(name=NAME, revision=""):
  with pytest.raises(InputError) as caught:
    hub.fetch(name, revision=revision)
  message = str(caught.value)
  assert message.startswith(f"model.weights: got {name!r}, which ")
  assert "; valid: " in message
  assert "\n" not in message
  assert "signature" not in message
  return message


def left_over(folder):
  """Files of the cache that are neither whole nor small marks of it."""
  return [p.name for p in folder.rglob("*incomplete*")]


def test_a_repository_gives_weights_and_conventions(server):
  loaded = pretrained.load(NAME, NETWORK)
  expected = toy_h5.tensors(NETWORK)
  assert loaded.tensors.keys() == expected.keys()
  for key, value in expected.items():
    assert (loaded.tensors[key] == value).all()
  conventions = loaded.network.conventions
  assert (conventions.mean, conventions.std) == (
    (0.1, 0.2, 0.3),
    (0.4, 0.5, 0.6),
  )
  assert (conventions.resolution, conventions.crop) == (96, 1.0)
  origin = loaded.origin
  assert (origin.name, origin.revision) == (NAME, hub_server.MAIN)
  assert (origin.num_classes, origin.note) == (CLASSES, "")
  assert f"{NAME} at commit aaaaaaaaaaaa: model.safetensors (timm, " in (
    origin.described()
  )


def test_a_branch_that_moved_leaves_the_commit_of_a_run(
  server, files, monkeypatch
):
  first = locate.resolve(NAME, "mobilenet_v2")
  server.publish(REPOSITORY, published(seed=1), commit=SECOND)
  asked = len(server.requests)
  pinned = locate.resolve(NAME, "mobilenet_v2", revision=first.revision)
  assert pinned.path.read_bytes() == files["model.safetensors"]
  assert len(server.requests) == asked  # from the cache
  moved = locate.resolve(NAME, "mobilenet_v2")
  assert moved.revision == SECOND
  assert moved.path.read_bytes() != files["model.safetensors"]
  old = locate.resolve(f"{NAME}@{hub_server.MAIN}", "mobilenet_v2")
  assert old.revision == hub_server.MAIN
  # A branch without a connection: the commit that it had when it was last seen.
  disconnect(monkeypatch)
  offline = locate.resolve(NAME, "mobilenet_v2")
  assert offline.revision == SECOND
  assert "HF_HUB_OFFLINE is set" in offline.note
  pinned = locate.resolve(NAME, "mobilenet_v2", revision=first.revision)
  assert (pinned.revision, pinned.note) == (first.revision, "")


def test_without_a_connection_a_line_says_what_to_put_where(
  server, monkeypatch, tmp_path
):
  disconnect(monkeypatch)
  message = refused(f"{NAME}@v1.0")
  assert f"is not in {tmp_path / 'hub'}, and HF_HUB_OFFLINE is set" in message
  assert (
    f"`hf download {REPOSITORY} model.safetensors config.json --revision v1.0`"
    in message
  )
  assert server.requests == []
  # Nobody listens there.
  connect(monkeypatch, "http://127.0.0.1:9", tmp_path)
  message = refused()
  assert "and the hub cannot be reached (ConnectError)" in message
  server.status = 503
  connect(monkeypatch, server.url, tmp_path)
  assert "and the hub answers 503" in refused()


def test_a_broken_hub_leaves_what_the_cache_has(server):
  locate.resolve(NAME, "mobilenet_v2")
  server.status = 500
  located = locate.resolve(NAME, "mobilenet_v2")
  assert located.revision == hub_server.MAIN
  assert located.note.startswith("the hub answers 500")


def test_other_bytes_than_the_hub_states_are_deleted(server, tmp_path, files):
  server.wrong.add("model.safetensors")
  message = refused()
  assert "has another model.safetensors than the hub states (" in message
  blobs = tmp_path / "hub" / f"models--{REPOSITORY.replace('/', '--')}"
  assert files["config.json"] in [p.read_bytes() for p in blobs.glob("blobs/*")]
  assert not [*blobs.rglob("model.safetensors")]
  server.wrong.clear()
  assert hub.fetch(NAME).path.read_bytes() == files["model.safetensors"]


def test_a_copy_that_changed_in_the_cache_is_noticed(server, monkeypatch):
  path = hub.fetch(NAME).path
  disconnect(monkeypatch)
  for file in (path.with_name("config.json"), path):
    blob = file.resolve()
    whole = blob.read_bytes()
    blob.write_bytes(whole[:-1] + b"?")
    assert f"another {file.name} than the hub states" in refused()
    blob.write_bytes(whole)
    file.symlink_to(blob)


def test_what_is_cut_off_is_refused(server, tmp_path, monkeypatch):
  server.cut["model.safetensors"] = 1000
  # The library tries five times, a second apart.
  monkeypatch.setattr("time.sleep", lambda seconds: None)
  assert "did not come whole (" in refused()
  assert left_over(tmp_path) == []
  server.cut.clear()
  assert hub.fetch(NAME).commit == hub_server.MAIN


def test_repositories_that_one_may_not_read_are_refused(server, monkeypatch):
  assert "the hub does not have, or not for everybody" in refused("hf:x/y")
  server.private.add(REPOSITORY)
  assert "with HF_TOKEN of an account that may read it" in refused()
  monkeypatch.setenv("HF_TOKEN", "hf_wrong")
  assert "hf_wrong" not in refused()
  monkeypatch.setenv("HF_TOKEN", server.token)
  assert hub.fetch(NAME).commit == hub_server.MAIN
  tokens = dict(zip(server.requests, server.tokens, strict=True))
  assert tokens.pop(f"HEAD /{REPOSITORY}/resolve/main/config.json")
  (of_blob,) = (t for path, t in tokens.items() if "/cdn/" in path)
  assert of_blob == ""
  server.private.clear()
  server.gated.add(REPOSITORY)
  server.publish("histology/other", {})
  server.gated.add("histology/other")
  message = refused("hf:histology/other")
  assert "is gated; valid: once its terms are accepted on https://" in message
  server.status = 401
  assert "HF_TOKEN" in refused("hf:histology/other")


def test_files_that_are_missing_or_pickles_are_refused(server, files):
  (revision,) = re.findall(r"no revision '(.*?)'", refused(f"{NAME}@v2"))
  assert revision == "v2"
  config, weights = files["config.json"], files["model.safetensors"]
  for content, part in (
    ({}, "has no config.json"),
    ({"model.safetensors": weights}, "has no config.json"),
    ({"config.json": config}, "has no model.safetensors"),
    (
      {"config.json": config, "pytorch_model.bin": b"x"},
      "has only pickles (pytorch_model.bin), which could run code",
    ),
    (
      {"config.json": config, "model.safetensors.index.json": b"{}"},
      "has its weights in several files",
    ),
    (
      {"config.json": b'{"model_type": "vit"}', "model.safetensors": weights},
      "has a config.json that is not timm's",
    ),
    (
      {"config.json": b"[1", "model.safetensors": weights},
      "has a config.json that is not timm's",
    ),
  ):
    server.publish("a/b", content, commit=f"{len(server.requests):040x}")
    assert part in refused("hf:a/b")
  assert not any("pytorch_model.bin" in path for path in server.requests)


def test_another_network_is_refused(server):
  other = registry.describe("mobilenet_v3_small", num_classes=5)
  with pytest.raises(InputError, match=r"is of 'mobilenetv2_025'; valid"):
    pretrained.load(NAME, other)


def test_too_large_a_file_is_not_fetched(server, monkeypatch):
  monkeypatch.setattr("mn_jax.weights.files.MAX_BYTES", 1000)
  assert "bytes; valid: up to 1,000" in refused()
  assert not any("/cdn/" in path for path in server.requests)


def test_the_library_logs_nothing(server, caplog, capfd, monkeypatch):
  monkeypatch.setattr("time.sleep", lambda seconds: None)
  caplog.set_level(logging.INFO)
  server.cut["model.safetensors"] = 1000
  refused()
  out, err = capfd.readouterr()
  assert "signature" not in caplog.text + out + err


@pytest.mark.parametrize(
  "name",
  ["hf:", "hf:x", "hf:a/b/c", "hf:a/../b", "hf:a/b@", "hf:a/b@-x", "hf:a--b/c"],
)
def test_other_names_are_refused(name):
  with pytest.raises(InputError, match=r"valid: hf:OWNER/NAME, or hf:"):
    hub.fetch(name)


def test_without_the_library_a_line_says_how_to_get_it(monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
  assert "pip install '.[hub]'" in refused()
