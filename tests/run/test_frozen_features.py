"""Tests of the features that a frozen backbone makes once."""

import concurrent.futures
import dataclasses
import functools
import os
import pathlib
import shutil
import time
from typing import Any

import filelock
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.augment import inputs
from mn_jax.errors import InputError
from mn_jax.models import layers, registry, variables
from mn_jax.models.classifier import HEADS, Classifier, Head
from mn_jax.run import frozen_features

pytestmark = pytest.mark.devices(4)

# Three batches, the last of them not full.
_COUNT, _BATCH = 10, 4


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
  usual = {"name": "mobilenet_v1", "num_classes": 2, "width": 0.5}
  return registry.describe(**{**usual, **changes})


def _module(head="gap_128_64", **backbone):
  spec = HEADS[head]
  return Classifier(Toy(**backbone), Head(2, spec, 0.5, layers.BatchNorm))


def _values(module, seed=0):
  """Drawn, and not what a new network has: the statistics count."""
  values = variables.initial_values(module, 6, seed)
  stats = values["batch_stats"].get("backbone", {}).get("norm")
  if stats:
    stats.update(mean=np.float32([1, 2, 3]), var=np.float32([4, 5, 6]))
  return values


def _images(seed=0):
  draw = np.random.default_rng(seed)
  return draw.integers(0, 256, (_COUNT, 6, 6, 3), np.uint8)


class Asked:
  """`open_or_extract` with usual arguments; remembers the progress."""

  def __init__(self, root: pathlib.Path):
    self.root, self.calls = root, []

  def progress(self, done, total):
    self.calls.append((done, total))

  def __call__(self, module=None, network=None, values=None, **changes):
    module = module or _module()
    options = {
      "images_sha256": "a" * 64,
      "resolution": 0,
      "batch_size": _BATCH,
      "root": self.root,
      "progress": self.progress,
      **changes,
    }
    return frozen_features.open_or_extract(
      module,
      network or _network(),
      values or _values(module),
      options.pop("images", _images()),
      **options,
    )

  @property
  def file(self) -> pathlib.Path:
    """The only one that is neither a lock nor half."""
    (found,) = self.root.glob("*.npy")
    return found


@pytest.fixture
def asked(tmp_path):
  return Asked(tmp_path / "features")


def _expected(module, values, images=None, resolution=0):
  conventions = _network().conventions
  x = inputs.to_input(
    jnp.asarray(_images() if images is None else images),
    resolution=resolution,
    mean=conventions.mean,
    std=conventions.std,
  )
  return np.asarray(module.apply(values, x, method="extract"))


def _close(got, expected):
  np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("head", ["gap_128_64", "flatten_4096_1024"])
@pytest.mark.parametrize("resolution", [0, 10])
def test_they_are_what_the_head_sees(asked, head, resolution):
  module = _module(head)
  values = _values(module)
  got = asked(module, values=values, resolution=resolution)
  assert got.dtype == np.float32
  assert isinstance(got, np.memmap)
  side = (resolution or 6) // 2
  assert got.shape[1:] == ((3,) if HEADS[head].pool else (side, side, 3))
  _close(got, _expected(module, values, resolution=resolution))
  assert asked.calls == [(4, 10), (8, 10), (10, 10)]


def test_they_are_computed_once(asked):
  first = np.array(asked())
  written = asked.file.stat().st_mtime_ns
  asked.calls.clear()
  np.testing.assert_array_equal(asked(), first)
  assert asked.calls == []
  assert asked.file.stat().st_mtime_ns == written
  assert not list(asked.root.glob("*.partial"))


def test_other_heads_and_classes_share_them(asked):
  asked()
  asked.calls.clear()
  module = _module("gap_1024")
  values = _values(module, seed=5)
  values["params"]["backbone"] = _values(_module())["params"]["backbone"]
  asked(module, _network(head="gap_1024", num_classes=7), values)
  assert asked.calls == []


def _conventions(**changes):
  network = _network()
  made = dataclasses.replace(network.conventions, **changes)
  return dataclasses.replace(network, conventions=made)


def _changed(collection, *path):
  values = _values(_module())
  node = functools.reduce(dict.__getitem__, path, values[collection])
  node["bias" if collection == "params" else "var"][0] += 1
  return values


_CHANGES = {
  "weights": lambda: {"values": _values(_module(), seed=1)},
  "bias": lambda: {"values": _changed("params", "backbone", "norm")},
  "var": lambda: {"values": _changed("batch_stats", "backbone", "norm")},
  "images": lambda: {"images_sha256": "b" * 64},
  "resolution": lambda: {"resolution": 10},
  "batch_size": lambda: {"batch_size": 8},
  "pool": lambda: {"module": _module("flatten_4096_1024")},
  "dtype": lambda: {"module": _module(dtype=jnp.bfloat16)},
  "name": lambda: {"network": _network(name="mobilenet_v2")},
  "width": lambda: {"network": _network(width=0.75)},
  "options": lambda: {
    "network": _network(options=registry.Options(shallow=True))
  },
  "mean": lambda: {"network": _conventions(mean=(0.1, 0.2, 0.3))},
  "epsilon": lambda: {"network": _conventions(epsilon=0.5)},
}


@pytest.mark.parametrize("what", _CHANGES)
def test_all_they_depend_on_makes_others(asked, what):
  asked()
  asked.calls.clear()
  asked(**_CHANGES[what]())
  assert asked.calls[-1] == (10, 10)
  assert len(list(asked.root.glob("*.npy"))) == 2


def test_other_devices_make_others(asked, monkeypatch):
  asked()
  asked.calls.clear()
  two = jax.local_devices()[:2]
  monkeypatch.setattr(jax, "local_devices", lambda: two)
  asked()
  assert asked.calls


@pytest.mark.parametrize("head", ["plain", "gap_128_64"])
def test_a_backbone_without_statistics(asked, head):
  """That of VGG16: with a head's BatchNorm, the head alone has some."""
  module = _module(head, with_norm=False)
  values = _values(module)
  assert bool(values["batch_stats"]) == (head == "gap_128_64")
  _close(asked(module, values=values), _expected(module, values))


def _truncate(path):
  path.write_bytes(path.read_bytes()[:-1])


def _another(path):
  np.save(path, np.zeros((_COUNT, 3)))


def _short(path):
  np.save(path, np.zeros((_COUNT - 1, 3), np.float32))


@pytest.mark.parametrize(
  "damage",
  [
    _truncate,
    lambda path: path.write_bytes(path.read_bytes()[:60]),
    lambda path: path.write_bytes(b""),
    lambda path: path.write_bytes(b"what is this?" * 99),
    _another,
    _short,
  ],
)
def test_what_is_not_whole_is_made_anew(asked, damage):
  first = np.array(asked())
  damage(asked.file)
  asked.calls.clear()
  np.testing.assert_array_equal(asked(), first)
  assert asked.calls[-1] == (10, 10)
  asked.calls.clear()
  asked()
  assert asked.calls == []


def test_stopped_it_leaves_nothing(asked):
  def stop(done, total):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    asked(progress=stop)
  assert {path.suffix for path in asked.root.iterdir()} <= {".lock"}


def test_killed_it_leaves_no_half_file_that_is_believed(asked):
  """A kill runs no clean-up: what it would leave is put back."""
  left = asked.root.parent / "left"

  def kill(done, total):
    if done == 8:
      assert not list(asked.root.glob("*.npy"))
      (partial,) = asked.root.glob("*.partial")
      # Longer than the whole, as of another version.
      shutil.copy(partial, left)
      with left.open("ab") as file:
        file.write(bytes(10_000))
      raise KeyboardInterrupt(partial.name)

  with pytest.raises(KeyboardInterrupt) as stopped:
    asked(progress=kill)
  shutil.copy(left, asked.root / str(stopped.value))
  module = _module()
  _close(asked(), _expected(module, _values(module)))
  assert asked.calls[-1] == (10, 10)
  assert asked.file.stat().st_size < 10_000
  assert not list(asked.root.glob("*.partial"))


def test_they_are_on_disk_before_they_have_their_name(asked, monkeypatch):
  synced = []
  original = os.fsync

  def sync(number):
    synced.append(os.fstat(number).st_size)
    assert not list(asked.root.glob("*.npy"))
    original(number)

  monkeypatch.setattr(os, "fsync", sync)
  asked()
  assert synced == [asked.file.stat().st_size]


def test_a_full_disk_is_one_line(asked):
  asked()
  partial = asked.file.with_name(f"{asked.file.name}.partial")
  asked.file.unlink()
  partial.symlink_to("/dev/full")
  with pytest.raises(InputError, match="No space left") as refused:
    asked()
  assert "\n" not in str(refused.value)
  assert "data.cache_dir: cannot write" in str(refused.value)
  assert "--config.model.cache_features=False" in str(refused.value)
  assert not list(asked.root.glob("*.npy"))
  assert not partial.is_symlink()


def test_a_folder_that_cannot_be_written_is_one_line(asked):
  asked.root.write_text("a file")
  with pytest.raises(InputError, match="cannot write") as refused:
    asked()
  assert "\n" not in str(refused.value)


def test_to_open_them_needs_no_right_to_write(asked, monkeypatch):
  first = np.array(asked())

  def denied(path):
    raise PermissionError(13, "Permission denied", str(path))

  monkeypatch.setattr(filelock, "FileLock", denied)
  np.testing.assert_array_equal(asked(), first)
  with pytest.raises(InputError, match="Permission denied"):
    asked(resolution=10)


def test_of_two_processes_one_computes(asked):
  first = np.array(asked())
  path, content = asked.file, asked.file.read_bytes()
  path.unlink()
  asked.calls.clear()
  with concurrent.futures.ThreadPoolExecutor(1) as other:
    with filelock.FileLock(path.with_suffix(".lock")):
      waiting = other.submit(asked)
      time.sleep(0.3)
      assert not waiting.done()
      path.write_bytes(content)
    np.testing.assert_array_equal(waiting.result(), first)
  assert asked.calls == []
