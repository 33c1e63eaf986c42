"""Tests of opening archives, hostile ones and odd ones."""

import io
import os
import sys
import tarfile
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest

from mn_jax.data.files import archive, members, tar_archive, unpacked
from mn_jax.errors import InputError
from tests.data.files import hostile_tars, hostile_zips, odd_archives
from tests.data.files.hostile_archives import CONTENT

_REFUSED = hostile_zips.refused_zips() + hostile_tars.refused_tars()
_LYING = hostile_zips.lying_zips()
_ODD = odd_archives.odd_archives()
_watched: list[str] | None = None


def _note_writes(event: str, arguments: tuple) -> None:
  """Notes what is opened for writing, made or linked while it is watched."""
  if _watched is None:
    return
  if event == "open":
    path, mode, flags = arguments
    writes = flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if writes or (mode and set("wax+") & set(mode)):
      _watched.append(f"open {path}")
  elif event in ("os.mkdir", "os.link", "os.symlink", "os.rename"):
    _watched.append(event)


sys.addaudithook(_note_writes)  # there is no way to remove one


@pytest.fixture
def writes(monkeypatch, tmp_path):
  """What was written while an archive is opened and read."""
  global _watched
  _watched = []
  monkeypatch.chdir(tmp_path)
  yield _watched
  _watched = None


def _write(path, data: bytes):
  path.write_bytes(data)
  return path


def test_the_corpus_is_large_and_its_names_distinct():
  assert len(hostile_zips.refused_zips()) >= 30
  assert len(hostile_tars.refused_tars()) >= 30
  assert len({case.data for case in _REFUSED}) == len(_REFUSED)


@pytest.mark.parametrize("case", _REFUSED, ids=lambda case: case.name)
def test_hostile_archives_are_refused(case, tmp_path, writes):
  path = _write(tmp_path / "archive", case.data)
  writes.clear()
  tracemalloc.start()
  try:
    with pytest.raises(InputError) as caught:
      archive.open_files(path)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  line = str(caught.value)
  assert line.startswith(f"{path}: ")
  assert case.reason in line
  if case.member is not None:
    assert repr(case.member) in line
  assert len(line) < 400 + len(str(path))
  assert line.isprintable()
  assert peak < 16 << 20
  assert not writes
  assert os.listdir(tmp_path) == ["archive"]  # noqa: PTH208


@pytest.mark.parametrize("name", _LYING)
def test_lies_are_found_when_read(name, tmp_path, writes):
  data, reason = _LYING[name]
  path = _write(tmp_path / "archive", data)
  writes.clear()
  files = archive.open_files(path)
  with pytest.raises(OSError, match=rf"a\.png: .*{reason}"):
    files.read("a.png")
  files.close()
  assert not writes


@pytest.mark.parametrize("name", _ODD)
def test_odd_archives_are_read(name, tmp_path, writes):
  data, content = _ODD[name]
  path = _write(tmp_path / "archive", data)
  writes.clear()
  files = archive.open_files(path)
  assert dict(files.names()) == {n: len(data) for n, data in content.items()}
  assert {n: files.read(n) for n in content} == content
  with pytest.raises(OSError, match=r"no\.png"):
    files.read("no.png")
  files.close()
  assert not writes


def test_no_content_of_a_refused_tar_is_read(tmp_path):
  secret = b"secret" * 200
  data = hostile_tars.tar_of(
    hostile_tars.member("a.png", secret), hostile_tars.member("../evil", b"2")
  )
  seen = []
  real = io.BufferedReader.read

  class Spy(io.BufferedReader):
    def read(self, count=-1):
      seen.append(real(self, count))
      return seen[-1]

  path = _write(tmp_path / "a.tar", data)
  with Spy(io.FileIO(path)) as file, pytest.raises(InputError):
    tar_archive._scan(path, file)
  assert seen
  assert not any(b"secret" in part for part in seen)


def test_a_bomb_is_not_unpacked_whole(tmp_path, monkeypatch):
  bomb = next(c for c in hostile_tars.refused_tars() if c.name == "gz bomb")
  made = []

  class Spy(unpacked._Gzip):
    def decompress(self, data, limit):
      made.append(len(part := super().decompress(data, limit)))
      return part

  monkeypatch.setitem(unpacked._KINDS, b"\x1f\x8b", Spy)
  with pytest.raises(InputError, match="200 : 1"):
    archive.open_files(_write(tmp_path / "a.tgz", bomb.data))
  # As much as its ratio lets through, of 64 MiB.
  assert 0 < sum(made) < 201 * max(len(bomb.data), 1 << 16)


def test_a_tar_that_shrinks_is_an_os_error(tmp_path):
  data = hostile_tars.tar_of(hostile_tars.member("a.png", b"12345"))
  path = _write(tmp_path / "a.tar", data)
  files = archive.open_files(path)
  os.truncate(path, 514)
  with pytest.raises(OSError, match=r"a\.png: the archive ends"):
    files.read("a.png")
  files.close()


@pytest.mark.parametrize("kind", ["zip", "ustar", "tar.gz"])
def test_limits_hold_for_every_kind(kind, tmp_path, monkeypatch):
  path = _write(tmp_path / "archive", _ODD[kind][0])
  largest = max(map(len, CONTENT.values()))
  for limit, value, reason in (
    ("MAX_MEMBERS", 2, "member 'e': more than 2 members"),
    ("MAX_TOTAL_BYTES", largest, "member 'd/b.png': more than"),
    ("MAX_MEMBER_BYTES", largest - 1, f"'d/b.png': {largest} bytes, at most"),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(members, limit, value)
      with pytest.raises(InputError, match=reason):
        archive.open_files(path)
  archive.open_files(path).close()


def test_a_compressed_tar_is_kept_within_limits(tmp_path, monkeypatch):
  path = _write(tmp_path / "a.tar.gz", _ODD["tar.gz"][0])
  monkeypatch.setattr(tar_archive, "MAX_KEPT_BYTES", 1000)
  with pytest.raises(InputError, match=r"'d/b\.png'.*unpack it, or make it a"):
    archive.open_files(path)
  path = _write(tmp_path / "a.tar", _ODD["ustar"][0])
  archive.open_files(path).close()


@pytest.mark.parametrize("kind", ["zip", "pax", "gnu", "tar.gz"])
def test_damage_is_an_input_error_or_found_when_read(kind, tmp_path):
  data = _ODD[kind][0]
  rng = np.random.default_rng(0)
  path = tmp_path / "archive"
  outcomes = set()
  for _ in range(150):
    damaged = bytearray(data)
    for _ in range(rng.integers(1, 4)):
      damaged[rng.integers(len(data))] = rng.integers(256)
    if rng.random() < 0.2:
      del damaged[rng.integers(len(data)) :]
    path.write_bytes(damaged)
    try:
      files = archive.open_files(path)
    except InputError as error:
      outcomes.add("refused" if str(error).isprintable() else "unprintable")
      continue
    for name, size in files.names():
      try:
        assert len(files.read(name)) == size
      except OSError:
        outcomes.add("unreadable")
    files.close()
  assert "refused" in outcomes
  assert "unprintable" not in outcomes


def test_only_the_stated_size_is_unpacked(tmp_path, monkeypatch):
  data = hostile_zips.zip_of(("lie.png", bytes(50_000_000)))
  path = _write(tmp_path / "a.zip", hostile_zips.patched(data, 24, "<L", 5000))
  made = []
  real = zlib.decompressobj

  class Spy:
    def __init__(self, *args):
      self._real = real(*args)

    def __getattr__(self, name):
      return getattr(self._real, name)

    def decompress(self, data, limit=0):
      made.append(len(part := self._real.decompress(data, limit)))
      return part

  monkeypatch.setattr(zlib, "decompressobj", Spy)
  files = archive.open_files(path)
  with pytest.raises(OSError, match=r"lie\.png"):
    files.read("lie.png")
  files.close()
  assert 0 < sum(made) < 10_000


def test_the_standard_library_finds_as_many_files_in_odd_archives():
  for name, (data, content) in _ODD.items():
    if "zip" in name:
      with zipfile.ZipFile(io.BytesIO(data)) as file:
        count = sum(not info.is_dir() for info in file.infolist())
    elif "of two streams" in name and "gz" in name:
      continue  # tarfile minds the padding
    else:
      with tarfile.open(fileobj=io.BytesIO(data)) as file:
        count = sum(info.isreg() for info in file.getmembers())
    assert count == len(content), name
