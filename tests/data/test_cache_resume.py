"""Tests of builds of the packed cache that are stopped or meet each other."""

import shutil
import subprocess
import sys

import numpy as np
import pytest

from mn_jax.data import decode, packing
from tests.data import toy_cache as toy


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
  monkeypatch.setattr(packing, "_CHUNK_BYTES", toy.CHUNK_BYTES)


def _stop_build(files, root, monkeypatch, after: int) -> None:
  """Builds until the decoder was called so often, then is interrupted."""
  calls = iter(range(after))
  real = decode.decode

  def stopping(data: bytes, size: int, **options) -> np.ndarray:
    if next(calls, None) is None:
      raise KeyboardInterrupt
    return real(data, size, **options)

  with monkeypatch.context() as patch:
    # In order, so that it is known which chunks are complete.
    patch.setattr(packing.os, "cpu_count", lambda: 1)
    patch.setattr(decode, "decode", stopping)
    with pytest.raises(KeyboardInterrupt):
      toy.build(files, root, max_unreadable=0.5)
  files.reads.clear()


@pytest.fixture
def expected(tmp_path):
  """A complete build of `_flawed()`, elsewhere."""
  return toy.build(_flawed(), tmp_path / "complete", max_unreadable=0.5)


def _flawed() -> toy.Memory:
  files = toy.make_files()
  return toy.Memory(files.content | {"01.png": b"no image"})


@pytest.mark.parametrize("after", [0, 3, 4, 9, 17])
def test_stopped_build_goes_on(tmp_path, monkeypatch, expected, after):
  files, root = _flawed(), tmp_path / "root"
  _stop_build(files, root, monkeypatch, after)
  seen = []
  packed = toy.build(
    files, root, max_unreadable=0.5, progress=lambda *done: seen.append(done)
  )
  toy.assert_same(packed, expected)
  done = after // toy.CHUNK * toy.CHUNK
  assert sorted(files.reads) == sorted(files.content)[done:]
  assert [done for done, _ in seen][:1] == [min(done + toy.CHUNK, 18)]
  toy.only_folder(root)


def test_grey_levels_of_the_chunks_before_are_remembered(tmp_path, monkeypatch):
  """A build that goes on says the same of unused bits."""
  files = toy.make_files()
  dark = np.full((toy.SIZE, toy.SIZE), 300, np.uint16)
  files.content["00.png"] = toy.png(dark)
  complete = toy.build(files, tmp_path / "complete")
  (note,) = complete.notes
  assert "values up to 300" in note
  root = tmp_path / "root"
  _stop_build(files, root, monkeypatch, 9)
  packed = toy.build(files, root)
  assert "00.png" not in files.reads
  assert packed.notes == complete.notes


def test_chunks_of_another_size_are_resumed(tmp_path, monkeypatch, expected):
  files, root = _flawed(), tmp_path / "root"
  _stop_build(files, root, monkeypatch, 9)
  monkeypatch.setattr(packing, "_CHUNK_BYTES", toy.CHUNK_BYTES * 3 // 4)
  toy.assert_same(toy.build(files, root, max_unreadable=0.5), expected)
  assert sorted(files.reads) == sorted(files.content)[8:]


def test_damaged_rest_of_a_build(tmp_path, monkeypatch, expected):
  files, root = _flawed(), tmp_path / "root"
  for name, damage, done in (
    ("torn line", lambda lines, pixels: (lines + b'{"stop": 12, "', pixels), 8),
    ("binary line", lambda lines, pixels: (lines + b"\xff\xfe\n", pixels), 8),
    ("foreign line", lambda lines, pixels: (lines + b"[]\n", pixels), 8),
    ("cut line", lambda lines, pixels: (lines[:-20], pixels), 4),
    ("lost journal", lambda lines, pixels: (b"", pixels), 0),
    ("unfinished pixels", lambda lines, pixels: (lines, pixels + b"\7"), 8),
    ("lost pixels", lambda lines, pixels: (lines, pixels[:-5]), 4),
    ("changed pixels", lambda lines, pixels: (lines, b"\0" + pixels[1:]), 0),
  ):
    _stop_build(files, root, monkeypatch, 9)
    partial = toy.only_folder(root)
    journal, pixels = partial / "journal.jsonl", partial / "images.u8"
    before = journal.read_bytes(), pixels.read_bytes()
    after = damage(*before)
    assert after != before
    journal.write_bytes(after[0])
    pixels.write_bytes(after[1])
    toy.assert_same(toy.build(files, root, max_unreadable=0.5), expected)
    assert sorted(files.reads) == sorted(files.content)[done:], name
    shutil.rmtree(root)


_BUILDER = """
import pathlib, sys, time
from mn_jax.data import cache, decode, packing
from mn_jax.data.datasets import idc
from mn_jax.data.datasets.source import of_files
from mn_jax.data.files import archive

me, root = sys.argv[1], pathlib.Path(sys.argv[2])
real = decode.decode

def slow(data, size, **options):
  # Not before both are at work, and the other waits for the lock.
  while len(list(root.glob("started-*"))) < 2:
    time.sleep(0.01)
  with (root / f"decoded-{me}").open("a") as file:
    file.write("x")
  time.sleep(0.02)
  return real(data, size, **options)

decode.decode = slow
files = archive.open_files(root / "data")
source = of_files(idc.list_images)(files)
(root / f"started-{me}").touch()
packed = cache.open_or_build(
  source, root / "packed", "toy", packing.PackOptions(8)
)
print(packed.images[:].sum(), len(packed))
"""


def test_two_processes_build_once(tmp_path):
  data = tmp_path / "data"
  data.mkdir()
  images = toy.make_images(20)
  for i, image in enumerate(images):
    (data / f"1_idx5_x{i}_y1_class0.png").write_bytes(toy.png(image))
  processes = [
    subprocess.Popen(
      [sys.executable, "-c", _BUILDER, str(i), str(tmp_path)],
      stdout=subprocess.PIPE,
      text=True,
    )
    for i in range(2)
  ]
  try:
    outputs = [process.communicate(timeout=60)[0] for process in processes]
  finally:
    for process in processes:
      process.kill()
  assert outputs == [f"{images.sum()} 20\n"] * 2
  decoded = [path.read_text() for path in tmp_path.glob("decoded-*")]
  assert decoded == ["x" * 20]
  toy.only_folder(tmp_path / "packed")
