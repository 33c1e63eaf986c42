"""Tests of opening archives, hostile ones and odd ones."""

import gzip
import io
import os
import sys
import tracemalloc

import numpy as np
import pytest

from mn_jax.data.files import archive, members, tar_files
from mn_jax.errors import InputError
from tests.data.files import hostile_tars, hostile_zips, odd_archives
from tests.data.files.hostile_archives import CONTENT

_ODD = odd_archives.odd_archives()
_watched: list[str] | None = None


def _note_writes(event: str, arguments: tuple) -> None:
  """Notes what is opened for writing, created or linked while it is watched."""
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


@pytest.mark.parametrize(
  "kind", [hostile_zips.refused_zips, hostile_tars.refused_tars]
)
def test_hostile_archives_are_refused(kind, tmp_path, writes, monkeypatch):
  monkeypatch.setattr(members, "RATIO_FREE_BYTES", 1 << 16)
  cases = kind()
  assert len({case.data for case in cases}) == len(cases) >= 30
  for case in cases:
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
    assert line.startswith(f"{path}: "), case.name
    assert case.reason in line, case.name
    if case.member is not None:
      assert repr(case.member) in line, case.name
    assert len(line) < 500 + len(str(path)), case.name
    assert line.isprintable(), case.name
    # The dictionary of 4 GiB that an .xz file asks for is never touched.
    assert peak < 32 << 20 or case.name == "xz that wants memory", case.name
    assert not writes, case.name
    assert os.listdir(tmp_path) == ["archive"], case.name  # noqa: PTH208


def test_lies_are_found_when_read(tmp_path, writes):
  for name, (data, reason) in hostile_zips.lying_zips().items():
    path = _write(tmp_path / "archive", data)
    writes.clear()
    files = archive.open_files(path)
    with pytest.raises(OSError, match=reason):
      files.read("a.png")
    files.close()
    assert not writes, name
  data = hostile_tars.tar_of(hostile_tars.member("a.png", b"12345"))
  files = archive.open_files(_write(tmp_path / "archive", data))
  os.truncate(tmp_path / "archive", 514)
  with pytest.raises(OSError, match=r"a\.png: the archive ends"):
    files.read("a.png")
  files.close()


def test_odd_archives_are_read(tmp_path, writes):
  for name, (data, content) in _ODD.items():
    path = _write(tmp_path / "archive", data)
    writes.clear()
    files = archive.open_files(path)
    assert sorted(files.names()) == sorted(content), name
    assert {n: files.read(n) for n in content} == content, name
    assert bool(files.notes) == (name == "zip of a name of DOS"), name
    with pytest.raises(OSError, match=r"no\.png"):
      files.read("no.png")
    files.close()
    assert not writes, name


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
    tar_files._scan(path, file)
  assert seen
  assert not any(b"secret" in part for part in seen)


def test_a_bomb_is_not_unpacked_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(members, "RATIO_FREE_BYTES", 1 << 16)
  bomb = next(c for c in hostile_tars.refused_tars() if c.name == "gz bomb")
  unpacked = []

  class Spy(gzip.GzipFile):
    def read(self, size=-1):
      unpacked.append(len(part := super().read(size)))
      return part

  monkeypatch.setitem(
    tar_files._OPENERS, b"\x1f\x8b", lambda file: Spy(fileobj=file)
  )
  with pytest.raises(InputError, match="200 : 1"):
    archive.open_files(_write(tmp_path / "a.tgz", bomb.data))
  # As much as its ratio lets through, of 64 MiB.
  assert 0 < sum(unpacked) < 201 * max(len(bomb.data), 1 << 16)


@pytest.mark.parametrize("kind", ["zip", "ustar", "tar.gz"])
def test_limits_hold_for_every_kind(kind, tmp_path, monkeypatch):
  path = _write(tmp_path / "archive", _ODD[kind][0])
  largest = max(map(len, CONTENT.values()))
  for limit, value, reason in (
    ("MAX_MEMBERS", 2, "member 'e': more than 2 members"),
    ("MAX_TOTAL_BYTES", largest, "member 'd/b.png': more than"),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(members, limit, value)
      with pytest.raises(InputError, match=reason):
        archive.open_files(path)
  if kind != "tar.gz":
    monkeypatch.setattr(members, "MAX_MEMBER_BYTES", largest - 1)
    files = archive.open_files(path)
    with pytest.raises(OSError, match=f"{largest} bytes; valid: at most"):
      files.read("d/b.png")
    files.close()
  monkeypatch.setattr(tar_files, "MAX_HELD_BYTES", 1000)
  if kind == "tar.gz":
    with pytest.raises(InputError, match=r"'d/b\.png'.*unpack it, or make it"):
      archive.open_files(path)
  else:
    archive.open_files(path).close()


@pytest.mark.parametrize("kind", ["zip", "pax", "gnu", "tar.gz"])
def test_damage_is_an_input_error_or_found_when_read(kind, tmp_path):
  data = _ODD[kind][0]
  rng = np.random.default_rng(0)
  path = tmp_path / "archive"
  outcomes = set()
  for _ in range(100):
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
    for name in files.names():
      try:
        files.read(name)
      except OSError:
        outcomes.add("unreadable")
    files.close()
  assert "refused" in outcomes
  assert "unprintable" not in outcomes


def test_only_the_stated_size_is_unpacked(tmp_path):
  data = hostile_zips.zip_of(("lie.png", bytes(50_000_000)))
  path = _write(tmp_path / "a.zip", hostile_zips.patched(data, 24, "<L", 5000))
  files = archive.open_files(path)
  tracemalloc.start()
  with pytest.raises(OSError, match=r"lie\.png"):
    files.read("lie.png")
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  files.close()
  assert peak < 1 << 20
