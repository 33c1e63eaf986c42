"""Tests of the packed cache."""

import dataclasses
import errno
import json
import os
import pathlib
import shutil
import types

import numpy as np
import pytest

from mn_jax.data import cache, checksums, decode, packing, resizing
from mn_jax.data.datasets import idc
from mn_jax.data.datasets.source import ImageFiles, of_files
from mn_jax.data.files import archive
from mn_jax.errors import InputError, RunError
from tests.data import toy_cache as toy


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
  monkeypatch.setattr(packing, "_CHUNK_BYTES", toy.CHUNK_BYTES)


def test_rows_are_those_of_the_listing(tmp_path):
  files = toy.make_files()
  listing = toy.make_listing(files)
  seen = []
  packed = toy.build(files, tmp_path, progress=lambda *done: seen.append(done))
  assert seen == [(4, 18), (8, 18), (12, 18), (16, 18), (18, 18)]
  assert len(packed) == 18
  np.testing.assert_array_equal(packed.images, toy.make_images(18))
  assert packed.images.dtype == np.uint8
  for field in ("names", "labels", "groups", "positions"):
    actual, expected = getattr(packed, field), getattr(listing, field)
    np.testing.assert_array_equal(actual, expected)
    assert actual.dtype == expected.dtype
  assert packed.quarantine == ()
  assert packed.dropped == 0
  assert packed.fingerprint == listing.fingerprint()
  contents = {path.name for path in toy.only_folder(tmp_path).iterdir()}
  assert contents == {"images.u8", "index.npz", "meta.json"}


def test_a_second_call_reads_no_file_and_needs_no_lock(tmp_path, monkeypatch):
  files = toy.make_files()
  first = toy.build(files, tmp_path)
  with pytest.raises(ValueError, match="read-only"):
    first.images[0] = 0

  def refuse(*_):
    raise PermissionError("read-only")

  monkeypatch.setattr(cache.filelock, "FileLock", refuse)
  toy.assert_same(toy.build(files, tmp_path), first)
  assert len(files.reads) == 18


def test_images_of_another_size(tmp_path):
  # Edge patches of a slide are down to one pixel wide.
  odd = {
    1: toy.make_images(1, 50)[0][:, :1],
    4: toy.make_images(1, 50)[0],
    5: toy.make_images(1)[0][:3],
  }
  files = toy.make_files(6)
  for i, image in odd.items():
    files.content[f"{i:02}.png"] = toy.png(image)
  packed = toy.build(files, tmp_path)
  assert (len(packed), packed.dropped) == (6, 0)
  for i, image in odd.items():
    expected = resizing.resize(np.ascontiguousarray(image), toy.SIZE)
    np.testing.assert_array_equal(packed.images[i], expected)
  packed = toy.build(files, tmp_path, other_sizes="drop")
  assert packed.dropped == 3
  assert packed.names.tolist() == ["00.png", "02.png", "03.png"]
  assert packed.positions[:, 0].tolist() == [0, 2, 3]
  np.testing.assert_array_equal(packed.images, toy.make_images(6)[[0, 2, 3]])


def test_unreadable_files_are_named_and_left_out(tmp_path):
  files = toy.make_files()
  files.content |= {"03.png": b"no image", "11.png": b"missing"}
  for _ in range(2):  # built, opened
    packed = toy.build(files, tmp_path, max_unreadable=2 / 18)
    assert len(packed) == 16
    assert [name for name, _ in packed.quarantine] == ["03.png", "11.png"]
    assert "PNG" in packed.quarantine[0][1]
    assert "gone" in packed.quarantine[1][1]
    readable = np.setdiff1d(np.arange(18), [3, 11])
    np.testing.assert_array_equal(packed.images, toy.make_images(18)[readable])
    np.testing.assert_array_equal(packed.labels, readable % 3)


def test_too_few_readable_files(tmp_path):
  files = toy.make_files()
  with pytest.raises(InputError, match=r"data.image_size: got 9, .* 18:"):
    toy.build(files, tmp_path, size=9, other_sizes="drop")
  files.reads.clear()
  files.content |= {"03.png": b"no image", "11.png": b"missing"}
  message = r"data\.max_unreadable: at least 2 of 18 .*: 03\.png: "
  with pytest.raises(InputError, match=message) as caught:
    toy.build(files, tmp_path, max_unreadable=0.1)
  assert "\n" not in str(caught.value)
  assert {path.suffix for path in tmp_path.iterdir()} <= {".lock"}
  # It stops early: what comes after the chunk that settles it is not read.
  assert "12.png" not in files.reads
  toy.build(files, tmp_path, max_unreadable=0.2)
  with pytest.raises(InputError, match=r"data\.max_unreadable"):
    toy.build(files, tmp_path, max_unreadable=0.1)  # the cache is there


def test_no_part_loses_all_its_images(tmp_path):
  files = toy.make_files(6)
  files.content |= {f"{i:02}.png": b"no image" for i in (1, 3, 5)}  # the test
  message = r"data\.path: got the part 'test' without .* all 3 are unread"
  with pytest.raises(InputError, match=message):
    toy.build(files, tmp_path, max_unreadable=0.5)
  files.content["05.png"] = toy.make_files(6).content["05.png"]
  packed = toy.build(files, tmp_path, max_unreadable=0.5)
  assert packed.parts.tolist() == ["train", "train", "train", "test"]
  # Images of no part are no part that could be lost.
  listing = toy.make_listing(files)
  listing.parts[[0, 2, 4]] = ""
  packing.check_parts(listing, np.array([1, 3]))


def test_a_damaged_or_foreign_cache_is_built_again(tmp_path):
  files = toy.make_files()
  intact = toy.build(files, tmp_path / "intact")
  for name in ("images.u8", "index.npz", "meta.json"):
    path = toy.only_folder(tmp_path / "intact") / name
    data = path.read_bytes()
    flipped = []
    for position in (0, len(data) // 3, len(data) - 1):
      flipped.append(bytearray(data))
      flipped[-1][position] ^= 0x80
    damaged = [*flipped, data[: len(data) // 2], b"", None]
    if name == "meta.json":
      for change in (
        {"key": "0"},
        {"classes": ["b", "a", "c"]},
        {"dropped": 1},
        {"chunks": 1},
        {"sha256": 0},
      ):
        damaged.append(json.dumps(json.loads(data) | change).encode())
    for content in damaged:
      # A copy, because the pixels of the intact one are still mapped.
      root = tmp_path / "root"
      shutil.copytree(tmp_path / "intact", root)
      path = toy.only_folder(root) / name
      path.unlink() if content is None else path.write_bytes(content)
      files.reads.clear()
      rebuilt = toy.build(files, root)
      toy.assert_same(rebuilt, intact)
      assert len(files.reads) == 18, (name, content)
      assert "is packed anew" in rebuilt.notes[0]
      shutil.rmtree(root)


def test_of_large_files_some_blocks_are_compared_at_opening(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(checksums, "BLOCK_BYTES", 100)  # 8 in a chunk, 36 in all
  monkeypatch.setattr(checksums, "_SAMPLED", 4)
  files = toy.make_files()
  toy.build(files, tmp_path)
  path = toy.only_folder(tmp_path) / "images.u8"
  intact = path.read_bytes()
  path.write_bytes(intact[:1] + bytes(len(intact) - 1))
  assert toy.build(files, tmp_path).notes  # whichever blocks are compared
  path.write_bytes(intact[:700] + bytes([intact[700] ^ 1]) + intact[701:])
  found = 0
  for _ in range(100):
    opened = cache.open_built(
      toy.make_listing(files).fingerprint(),
      tmp_path,
      "toy",
      packing.PackOptions(toy.SIZE),
    )
    found += opened is None
  assert 1 <= found <= 50  # one of 36 blocks, of which 4 are compared
  assert toy.build(files, tmp_path, verify=True).notes
  assert path.read_bytes() == intact


def test_what_the_system_cannot_read_is_not_lost(tmp_path, monkeypatch):
  monkeypatch.setattr(packing, "_WAITS", (0, 0))
  files, read = toy.make_files(), toy.Memory.read
  for number in (errno.EIO, errno.ESTALE, errno.EACCES, errno.ENOENT):
    failures = []

    def fail(self, name, count, number=number, failures=failures):
      if name == "09.png" and len(failures) < count:
        failures.append(name)
        raise OSError(number, os.strerror(number))
      return read(self, name)

    root = tmp_path / str(number)
    monkeypatch.setattr(toy.Memory, "read", lambda *a, f=fail: f(*a, count=99))
    with pytest.raises(
      RunError, match=r"'09\.png' cannot be read \("
    ) as caught:
      toy.build(files, root, max_unreadable=1.0)
    assert "\n" not in str(caught.value)
    assert len(failures) == 3
    # A later start tries again, and so does the same one.
    failures.clear()
    monkeypatch.setattr(toy.Memory, "read", lambda *a, f=fail: f(*a, count=2))
    files.reads.clear()
    assert len(toy.build(files, root)) == 18
    assert "07.png" not in files.reads  # it was packed before


def test_a_cache_that_cannot_be_read_is_not_thrown_away(tmp_path, monkeypatch):
  files = toy.make_files()
  toy.build(files, tmp_path)
  before = toy.only_folder(tmp_path).stat()
  real = pathlib.Path.read_bytes
  for number, kind in ((errno.ESTALE, RunError), (errno.EACCES, InputError)):

    def fail(path, number=number):
      if path.name == "index.npz":
        raise OSError(number, os.strerror(number))
      return real(path)

    with monkeypatch.context() as patch:
      patch.setattr(pathlib.Path, "read_bytes", fail)
      with pytest.raises(kind, match=r"data\.cache_dir: cannot "):
        toy.build(files, tmp_path)
    assert toy.only_folder(tmp_path).stat().st_ino == before.st_ino


def test_what_is_left_out_is_counted_by_class(tmp_path):
  files = toy.make_files(6)
  files.content |= {"03.png": b"no image", "00.png": b"no image"}
  files.content["04.png"] = toy.png(toy.make_images(1, 9)[0])
  passed_over = (("a", ".txt files", 2), ("", "hidden files", 1))
  listing = dataclasses.replace(
    toy.make_listing(files), passed_over=passed_over, notes=("a note",)
  )
  source = ImageFiles(listing, files)
  options = packing.PackOptions(toy.SIZE, "drop", 1.0)
  for _ in range(2):  # built, opened
    packed = cache.open_or_build(source, tmp_path, "toy", options)
    (unreadable, dropped), others = packed.left_out[:2], packed.left_out[2:]
    assert (unreadable[0], unreadable[2]) == ("a", 2)
    assert unreadable[1].startswith("unreadable images (no readable PNG")
    assert dropped == ("b", "images of another size (data.other_sizes)", 1)
    assert others == passed_over
    assert packed.notes == ("a note",)
  # Of files that are no images only the present ones count.
  changed = dataclasses.replace(listing, passed_over=(), notes=())
  packed = cache.open_or_build(
    ImageFiles(changed, files), tmp_path, "toy", options
  )
  assert (len(packed.left_out), packed.notes) == (2, ())
  stored = cache.open_built(listing.fingerprint(), tmp_path, "toy", options)
  assert (len(stored.left_out), stored.notes) == (4, ("a note",))


def test_every_choice_has_a_cache_of_its_own(tmp_path):
  files = toy.make_files()
  toy.build(files, tmp_path)
  toy.build(files, tmp_path, other_sizes="drop")
  toy.build(files, tmp_path, size=4)
  changed = toy.Memory(
    files.content | {"05.png": toy.png(toy.make_images(1, 9)[0])}
  )
  packed = toy.build(changed, tmp_path)
  np.testing.assert_array_equal(
    packed.images[5], resizing.resize(toy.make_images(1, 9)[0], toy.SIZE)
  )
  fewer = toy.Memory(dict(list(files.content.items())[:-1]))
  assert len(toy.build(fewer, tmp_path)) == 17
  assert len([path for path in tmp_path.iterdir() if path.is_dir()]) == 5
  assert len(files.reads) == 3 * 18
  toy.build(files, tmp_path)
  assert len(files.reads) == 3 * 18


def test_folder_that_cannot_be_written(tmp_path):
  blocked = tmp_path / "file"
  blocked.write_text("not a folder")
  for place in (".", "below"):
    with pytest.raises(InputError, match=r"data\.cache_dir: cannot") as caught:
      toy.build(toy.make_files(), blocked / place)
    assert "\n" not in str(caught.value)


def test_full_disk_names_the_folder_and_can_go_on(tmp_path, monkeypatch):
  files = toy.make_files()
  writes = iter(range(5))
  real = packing._write

  def write(file, data):
    if next(writes, None) is None:
      raise OSError(28, "No space left on device")
    real(file, data)

  with monkeypatch.context() as patch:
    patch.setattr(packing, "_write", write)
    with pytest.raises(RunError, match=r"data.cache_dir: .*No space left"):
      toy.build(files, tmp_path)
  with monkeypatch.context() as patch:
    usage = types.SimpleNamespace(free=1 << 20)
    patch.setattr(packing.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(RunError, match="has 1 MiB free and needs 256; the sam"):
      toy.build(files, tmp_path)
  files.reads.clear()
  np.testing.assert_array_equal(
    toy.build(files, tmp_path).images, toy.make_images(18)
  )
  assert len(files.reads) == 10


@pytest.mark.extended
def test_the_real_set(shared_data, tmp_path, monkeypatch):
  monkeypatch.undo()  # chunks of their usual size
  files = archive.open_files(shared_data / "breast-histopathology-images.zip")
  source = of_files(idc.list_images)(files)
  listing = source.listing
  packed = cache.open_or_build(source, tmp_path, "idc", packing.PackOptions(50))
  assert packed.images.shape == (11_081, 50, 50, 3)
  for row in np.random.default_rng(0).integers(0, 11_081, 50):
    pixels = decode.decode(files.read(listing.paths[row]))
    if pixels.shape == (50, 50, 3):
      np.testing.assert_array_equal(packed.images[row], pixels)
  files.close()
  shutil.rmtree(tmp_path)
