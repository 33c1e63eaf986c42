"""Tests that packed images are never those of other files, or of before."""

import dataclasses
import os
import pathlib
import shutil
import tarfile
import zipfile

import numpy as np
from PIL import Image

from mn_jax.data import manifest, packing, store
from mn_jax.data.files import stamps

OPTIONS = packing.PackOptions(8)


def _write(folder: pathlib.Path, seed: int = 0) -> pathlib.Path:
  """Two classes of uncompressed files, which all have the same size."""
  rng = np.random.default_rng(seed)
  for name in ("cat", "dog"):
    (folder / name).mkdir(parents=True)
    for i in range(3):
      image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
      image.save(folder / name / f"{i}.bmp")
  return folder


def _load(root, path=""):
  return store.load("image_folder", path=str(path), root=root, options=OPTIONS)


def _pixels(folder: pathlib.Path) -> np.ndarray:
  """The images of a folder in the order of their names."""
  return np.array(
    [np.asarray(Image.open(p)) for p in sorted(folder.rglob("*.bmp"))]
  )


def _edit_in_place(folder):
  """Changes a pixel and puts the time of modification back."""
  path = folder / "dog/1.bmp"
  before = path.stat()
  with path.open("r+b") as file:
    file.seek(-20, os.SEEK_END)
    file.write(b"\0\1\2\3")
  os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
  assert path.stat().st_size == before.st_size


def _swap_labels(folder):
  (folder / "cat").rename(folder / "x")
  (folder / "dog").rename(folder / "cat")
  (folder / "x").rename(folder / "dog")


def _swap_two_files(folder):
  (folder / "cat/0.bmp").rename(folder / "x")
  (folder / "dog/0.bmp").rename(folder / "cat/0.bmp")
  (folder / "x").rename(folder / "dog/0.bmp")


def _restore_an_older_copy(folder):
  """As of a backup, all times of modification among them."""
  older = _write(folder.parent / "older", seed=1)
  for path in older.rglob("*.bmp"):
    there = folder / path.relative_to(older)
    status = there.stat()
    shutil.copy(path, there)
    os.utime(there, ns=(status.st_atime_ns, status.st_mtime_ns))


CHANGES = (
  _edit_in_place,
  _swap_labels,
  _swap_two_files,
  _restore_an_older_copy,
)


def test_a_changed_folder_is_packed_anew(tmp_path):
  for change in CHANGES:
    root = tmp_path / change.__name__
    folder = _write(root / "data")
    np.testing.assert_array_equal(_load(root, folder).images, _pixels(folder))
    # As `prepare` writes it: training has no path then.
    packed = _load(root, folder)
    manifest.write(
      "image_folder",
      root,
      {
        "path": str(folder),
        "source_stamp": store.stamp(folder),
        "fingerprint": packed.fingerprint,
      },
    )
    assert _load(root).sha256 == packed.sha256
    assert store.open_prepared("image_folder", root, OPTIONS) is not None
    change(folder)
    assert store.open_prepared("image_folder", root, OPTIONS) is None
    for path in ("", folder):
      changed = _load(root, path)
      np.testing.assert_array_equal(changed.images, _pixels(folder))
      assert changed.sha256 != packed.sha256


def test_another_folder_or_archive_is_another_cache(tmp_path, monkeypatch):
  root = tmp_path / "root"
  one, other = (_write(tmp_path / str(seed) / "data", seed) for seed in (0, 1))

  def archives(folder):
    for kind in ("zip", "tar"):
      yield shutil.make_archive(str(folder), kind, folder)

  # Disks without times and inodes, such as read-only images of a disk.
  for bare in (False, True):
    if bare:
      monkeypatch.setattr(
        stamps,
        "of_status",
        lambda status, *more: stamps.of_numbers(status.st_size, *more),
      )
    for pair in zip(
      (one, *archives(one)), (other, *archives(other)), strict=True
    ):
      for path, folder in zip(pair, (one, other), strict=True):
        np.testing.assert_array_equal(
          _load(root, path).images, _pixels(folder), err_msg=str((bare, path))
        )


def test_equal_content_of_archives_with_checksums_is_packed_once(tmp_path):
  folder, root = _write(tmp_path / "data"), tmp_path / "root"
  for name, method in (("a", zipfile.ZIP_STORED), ("b", zipfile.ZIP_DEFLATED)):
    with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", method) as file:
      for path in folder.rglob("*.bmp"):
        file.write(path, pathlib.Path(name) / path.relative_to(folder))
  one, other = (_load(root, tmp_path / f"{name}.zip") for name in "ab")
  assert one.fingerprint == other.fingerprint
  assert len(list((root / "packed").glob("image_folder-*px-*/"))) == 1
  # A copy of a folder is packed again, into the same pixels.
  shutil.copytree(folder, tmp_path / "copy")
  copies = [_load(root, path) for path in (folder, tmp_path / "copy")]
  assert copies[0].fingerprint != copies[1].fingerprint
  assert {copy.sha256 for copy in copies} == {one.sha256}


def test_a_tar_that_was_written_over_is_read_again(tmp_path):
  path, root = tmp_path / "data.tar", tmp_path / "root"
  for seed in range(2):
    folder = _write(tmp_path / str(seed), seed)
    status = path.stat() if path.exists() else None
    with tarfile.open(path, "w") as file:
      file.add(folder, "data")
    if status:
      os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
      assert path.stat().st_size == status.st_size
    np.testing.assert_array_equal(_load(root, path).images, _pixels(folder))


def test_every_field_of_a_listing_is_in_its_fingerprint(tmp_path):
  with store.open_source(
    "image_folder", str(_write(tmp_path / "data")), tmp_path
  ) as source:
    listing = source.listing
  prints = {listing.fingerprint()}
  for change in (
    {"classes": ("dog", "cat")},
    {"names": np.roll(listing.names, 1)},
    {"stamps": listing.stamps + 1},
    {"labels": listing.labels[::-1]},
    {"groups": np.roll(listing.groups, 1)},
    {"parts": np.full(6, "train")},
    {"positions": listing.positions + 1},
  ):
    prints.add(dataclasses.replace(listing, **change).fingerprint())
  assert len(prints) == 8
  keys = {
    packing.key(listing.fingerprint(), options)
    for options in (
      OPTIONS,
      packing.PackOptions(9),
      packing.PackOptions(8, "crop"),
      packing.PackOptions(8, bits=12),
    )
  }
  assert len(keys) == 4
  assert (
    packing.key(
      listing.fingerprint(), packing.PackOptions(8, max_unreadable=0.5)
    )
    in keys
  )
