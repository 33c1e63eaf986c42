"""Tests of the features that a frozen backbone computes once."""

import concurrent.futures
import dataclasses
import os
import pathlib
import time
from typing import Any

import filelock
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.augment import inputs
from mn_jax.data import checksums
from mn_jax.errors import InputError, RunError
from mn_jax.models import layers, registry, variables
from mn_jax.models.classifier import HEADS, Classifier, Head
from mn_jax.run import frozen_features

pytestmark = pytest.mark.devices(4)

# Three batches, the last of them not full.
IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 6, 3), np.uint8)
BATCH_SIZE = 4


class Toy(nn.Module):
  """A backbone that compiles at once."""

  dtype: Any = jnp.float32
  with_norm: bool = True

  @nn.compact
  def __call__(self, x, train):
    x = layers.Conv(3, stride=2, dtype=self.dtype, name="conv")(x)
    if self.with_norm:
      x = layers.BatchNorm(name="norm")(x, train)
    return x, {}


def _network(**changes):
  options = {"name": "mobilenet_v1", "num_classes": 2, "width": 0.5}
  return registry.describe(**{**options, **changes})


def _module(head="gap_128_64", **backbone):
  spec = HEADS[head]
  return Classifier(Toy(**backbone), Head(2, spec, 0.5, layers.BatchNorm))


def _values(module, seed=0):
  """Random variables, with statistics that no new network has."""
  values = variables.initial_values(module, 6, seed)
  stats = values["batch_stats"].get("backbone", {}).get("norm")
  if stats:
    stats.update(mean=np.float32([1, 2, 3]), var=np.float32([4, 5, 6]))
  return values


class Extraction:
  """`open_or_extract` with default arguments; remembers the progress."""

  def __init__(self, root: pathlib.Path):
    self.root, self.calls = root, []

  def progress(self, done, total):
    self.calls.append((done, total))

  def __call__(self, module=None, network=None, values=None, **changes):
    module = module or _module()
    self.calls.clear()
    options = {
      "images_sha256": "a" * 64,
      "resolution": 0,
      "batch_size": BATCH_SIZE,
      "root": self.root,
      "progress": self.progress,
    }
    features, self.note = frozen_features.open_or_extract(
      module,
      network or _network(),
      values or _values(module),
      IMAGES,
      **{**options, **changes},
    )
    return features

  @property
  def file(self) -> pathlib.Path:
    """The only file that is neither a lock nor unfinished."""
    (path,) = self.root.glob("*.npy")
    return path


@pytest.fixture
def extract(tmp_path):
  return Extraction(tmp_path / "features")


def _assert_right(features, module, values, resolution=0):
  """The features are what the head sees."""
  conventions = _network().conventions
  x = inputs.to_input(
    jnp.asarray(IMAGES),
    resolution=resolution,
    mean=conventions.mean,
    std=conventions.std,
  )
  expected = module.apply(values, x, method="extract")
  np.testing.assert_allclose(features, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["plain", "gap_128_64", "flatten_4096_1024"])
@pytest.mark.parametrize("resolution", [0, 10])
@pytest.mark.parametrize("with_norm", [True, False])
def test_features_are_what_the_head_sees(extract, head, resolution, with_norm):
  module = _module(head, with_norm=with_norm)
  values = _values(module)
  # VGG16 with the plain head has no statistics at all.
  assert bool(values["batch_stats"]) == (with_norm or head == "gap_128_64")
  features = extract(module, values=values, resolution=resolution)
  assert features.dtype == np.float32
  assert isinstance(features, np.memmap)
  side = (resolution or 6) // 2
  assert features.shape[1:] == ((3,) if HEADS[head].pool else (side, side, 3))
  _assert_right(features, module, values, resolution)
  assert extract.calls == [(4, 10), (8, 10), (10, 10)]


def test_features_are_computed_once(extract, monkeypatch):
  """For every head and number of classes, and to open needs no lock."""
  first = np.array(extract())
  written = extract.file.stat().st_mtime_ns
  assert not list(extract.root.glob("*.partial"))

  def denied(path):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(filelock, "FileLock", denied)
  np.testing.assert_array_equal(extract(), first)
  module = _module("gap_1024")
  values = _values(module, seed=5)
  values["params"]["backbone"] = _values(_module())["params"]["backbone"]
  extract(module, _network(head="gap_1024", num_classes=7), values)
  assert extract.calls == []
  assert extract.file.stat().st_mtime_ns == written
  with pytest.raises(InputError, match="Permission denied"):
    extract(resolution=10)


def _conventions(**changes):
  network = _network()
  conventions = dataclasses.replace(network.conventions, **changes)
  return {"network": dataclasses.replace(network, conventions=conventions)}


def _add_1(collection, name):
  values = _values(_module())
  values[collection]["backbone"]["norm"][name][0] += 1
  return {"values": values}


def test_all_that_features_depend_on_is_in_the_key(extract, monkeypatch):
  extract()
  changes = (
    {"values": _values(_module(), seed=1)},
    _add_1("params", "bias"),
    _add_1("batch_stats", "var"),
    {"images_sha256": "b" * 64},
    {"resolution": 10},
    {"batch_size": 8},
    {"module": _module("flatten_4096_1024")},
    {"module": _module(dtype=jnp.bfloat16)},
    {"network": _network(name="mobilenet_v2")},
    {"network": _network(width=0.75)},
    {"network": _network(options=registry.Options(shallow=True))},
    _conventions(mean=(0.1, 0.2, 0.3)),
    _conventions(epsilon=0.5),
  )
  for count, change in enumerate(changes, 2):
    extract(**change)
    assert extract.calls[-1] == (10, 10)
    assert len(list(extract.root.glob("*.npy"))) == count, change
  two = jax.local_devices()[:2]
  monkeypatch.setattr(jax, "local_devices", lambda: two)
  extract()
  assert extract.calls


def test_damaged_files_are_replaced(extract):
  first = np.array(extract())
  content = extract.file.read_bytes()
  flipped = []
  for position in range(0, len(content), 23):
    flipped.append(bytearray(content))
    flipped[-1][position] ^= 0x80  # the sign of a number, in some
  damages = (content[:-1], content[:60], b"", b"what is this?" * 99, *flipped)
  for damaged in damages:
    extract.file.write_bytes(damaged)
    np.testing.assert_array_equal(extract(), first)
    assert extract.calls[-1] == (10, 10)
    assert "is made anew" in extract.note
    assert extract.file.read_bytes() == content
  extract()
  assert (extract.calls, extract.note) == ([], "")


def test_large_files_have_many_blocks(extract, monkeypatch):
  first = np.array(extract())
  extract.file.unlink()
  monkeypatch.setattr(checksums, "BLOCK_BYTES", 50)
  np.testing.assert_array_equal(extract(), first)
  np.testing.assert_array_equal(extract(), first)
  assert extract.calls == []


def test_an_unfinished_file_is_not_read(extract):
  partials = []

  def stop(done, total):
    if done == 8:
      assert not list(extract.root.glob("*.npy"))
      partials.extend(extract.root.glob("*.partial"))
      raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    extract(progress=stop)
  assert {path.suffix for path in extract.root.iterdir()} <= {".lock"}
  # A kill runs no clean-up; longer than the file, as of another version.
  (partial,) = partials
  partial.write_bytes(bytes(10_000))
  module = _module()
  _assert_right(extract(), module, _values(module))
  assert extract.calls[-1] == (10, 10)
  assert extract.file.stat().st_size < 10_000
  assert not partial.exists()


def test_a_file_is_on_disk_before_it_has_its_name(extract, monkeypatch):
  synced = []
  fsync = os.fsync

  def sync(number):
    synced.append(os.fstat(number).st_size)
    assert not list(extract.root.glob("*.npy"))
    fsync(number)

  monkeypatch.setattr(os, "fsync", sync)
  extract()
  assert synced == [extract.file.stat().st_size]


def test_a_full_disk_is_one_line(extract):
  extract()
  partial = extract.file.with_name(f"{extract.file.name}.partial")
  extract.file.unlink()
  partial.symlink_to("/dev/full")
  with pytest.raises(RunError, match="No space left") as error:
    extract()
  assert "\n" not in str(error.value)
  assert "data.cache_dir: cannot write" in str(error.value)
  assert "model.cache_features=False" in str(error.value)
  assert not list(extract.root.glob("*.npy"))
  assert not partial.is_symlink()


def test_of_two_processes_one_computes(extract):
  first = np.array(extract())
  path, content = extract.file, extract.file.read_bytes()
  path.unlink()
  with concurrent.futures.ThreadPoolExecutor(1) as other:
    with filelock.FileLock(path.with_suffix(".lock")):
      waiting = other.submit(extract)
      time.sleep(0.3)
      assert not waiting.done()
      path.write_bytes(content)
    np.testing.assert_array_equal(waiting.result(), first)
  assert extract.calls == []
