"""Tests of reading folders and zip archives."""

import concurrent.futures
import pathlib
import stat
import struct
import zipfile
import zlib

import numpy as np
import pytest

from mn_jax.data import archive
from mn_jax.errors import InputError

_CONTENT = {
  "8863/0/a.png": b"first",
  "8863/1/b.png": bytes(range(256)) * 40,
  "top.txt": b"",
}


def _noise(size: int) -> bytes:
  return np.random.default_rng(size).bytes(size)


def _write_folder(root: pathlib.Path, content: dict[str, bytes]) -> None:
  for name, data in content.items():
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _write_zip(path: pathlib.Path, content, method=zipfile.ZIP_DEFLATED):
  """Writes (name or ZipInfo, bytes) pairs in order."""
  with zipfile.ZipFile(path, "w", method) as file:
    for name, data in content:
      file.writestr(name, data)
  return path


def _info(name: str, mode: int = 0) -> zipfile.ZipInfo:
  info = zipfile.ZipInfo(name)
  info.create_system = 3  # Unix, whose modes tell links
  info.external_attr = mode << 16
  return info


def _rename(path: pathlib.Path, old: bytes, new: bytes) -> pathlib.Path:
  """Replaces a name in both headers, past what zipfile would let through."""
  data = path.read_bytes()
  assert len(old) == len(new)
  assert data.count(old) == 2
  path.write_bytes(data.replace(old, new))
  return path


def _patch_directory(
  path: pathlib.Path, offset: int, layout: str, value: int
) -> pathlib.Path:
  """Overwrites a field of the last member's entry in the central directory."""
  data = bytearray(path.read_bytes())
  struct.pack_into(layout, data, data.rindex(b"PK\1\2") + offset, value)
  path.write_bytes(data)
  return path


def _assert_refused(path: pathlib.Path, member: str, reason: str) -> None:
  with pytest.raises(InputError) as caught:
    archive.open_files(path)
  message = str(caught.value)
  assert str(path) in message
  assert repr(member) in message
  assert reason in message
  assert "\n" not in message


@pytest.fixture(params=["folder", "stored", "deflated"])
def files(request, tmp_path):
  path = tmp_path / "data"
  if request.param == "folder":
    _write_folder(path, _CONTENT)
    (path / "empty").mkdir()
  else:
    deflate = request.param == "deflated"
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    _write_zip(path, [*_CONTENT.items(), ("empty/", b"")], method)
  opened = archive.open_files(path)
  yield opened
  opened.close()


def test_names_and_bytes_are_the_same_for_folder_and_zip(files):
  assert sorted(files.names()) == sorted(
    (name, len(data)) for name, data in _CONTENT.items()
  )
  for name, data in _CONTENT.items():
    assert files.read(name) == data


def test_unknown_name_is_an_os_error(files):
  with pytest.raises(OSError, match=r"no\.png"):
    files.read("8863/0/no.png")


def test_threads_read_the_right_bytes(tmp_path):
  content = {f"{i}.bin": _noise(1000 + 37 * i) for i in range(40)}
  path = _write_zip(tmp_path / "a.zip", content.items())
  files = archive.open_files(path)
  names = list(content) * 20
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for name, data in zip(names, pool.map(files.read, names), strict=True):
      assert data == content[name], name
  files.close()


def test_missing_path(tmp_path):
  with pytest.raises(InputError, match="no such file or folder"):
    archive.open_files(tmp_path / "nothing")


def test_folder_that_vanishes(tmp_path):
  folder = tmp_path / "data"
  folder.mkdir()
  files = archive.open_files(folder)
  folder.rmdir()
  with pytest.raises(InputError, match="data: cannot be listed"):
    files.names()


def test_links_in_folders_are_not_followed(tmp_path):
  _write_folder(tmp_path / "outside", {"secret.png": b"x"})
  _write_folder(tmp_path / "data", {"real.png": b"y"})
  (tmp_path / "data/link.png").symlink_to(tmp_path / "outside/secret.png")
  (tmp_path / "data/folder").symlink_to(tmp_path / "outside")
  (tmp_path / "data/loop").symlink_to(tmp_path / "data")
  assert archive.open_files(tmp_path / "data").names() == [("real.png", 1)]


@pytest.mark.parametrize(
  ("name", "reason"),
  [
    ("../evil.png", "leaves the archive"),
    ("a/../../evil.png", "leaves the archive"),
    ("a/..", "leaves the archive"),
    ("/etc/passwd", "absolute"),
    ("C:/evil.png", "absolute"),
    ("C:evil.png", "absolute"),
    ("a\\b.png", "backslash"),
    ("..\\evil.png", "backslash"),
    ("\\\\server\\share", "backslash"),
  ],
)
def test_harmful_names_are_refused(tmp_path, name, reason):
  content = [("good.png", b"1"), (name, b"2")]
  _assert_refused(_write_zip(tmp_path / "a.zip", content), name, reason)


def test_null_byte_is_refused(tmp_path):
  path = _write_zip(tmp_path / "a.zip", [("good.png#.exe", b"2")])
  _rename(path, b"good.png#.exe", b"good.png\0.exe")
  _assert_refused(path, "good.png", "null byte")


@pytest.mark.parametrize("mode", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_links_and_special_files_are_refused(tmp_path, mode):
  content = [(_info("a.png", mode | 0o777), b"/etc/passwd")]
  path = _write_zip(tmp_path / "a.zip", content)
  _assert_refused(path, "a.png", "a link or special file")


def test_regular_unix_modes_are_accepted(tmp_path):
  content = [
    (_info("d/", stat.S_IFDIR | 0o755), b""),
    (_info("d/a.png", stat.S_IFREG | 0o644), b"1"),
  ]
  path = _write_zip(tmp_path / "a.zip", content)
  assert archive.open_files(path).names() == [("d/a.png", 1)]


def test_duplicate_names_are_refused(tmp_path):
  path = _write_zip(tmp_path / "a.zip", [("a.png", b"1"), ("b.png", b"2")])
  _rename(path, b"b.png", b"a.png")
  _assert_refused(path, "a.png", "a duplicate name")


def test_encrypted_members_are_refused(tmp_path):
  path = _write_zip(tmp_path / "a.zip", [("a.png", b"1")])
  _patch_directory(path, 8, "<H", 1)
  _assert_refused(path, "a.png", "encrypted")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_unbounded_compression_is_refused(tmp_path, method):
  path = _write_zip(tmp_path / "a.zip", [("a.png", b"1")], method)
  _assert_refused(path, "a.png", f"method {method}; valid: stored, deflated")


def test_bomb_is_refused_by_its_ratio(tmp_path):
  path = _write_zip(tmp_path / "a.zip", [("bomb.png", bytes(1 << 20))])
  _assert_refused(path, "bomb.png", "200 : 1")


def test_small_blank_images_are_no_bombs(tmp_path):
  path = _write_zip(tmp_path / "a.zip", [("blank.bmp", bytes(1 << 16))])
  assert archive.open_files(path).read("blank.bmp") == bytes(1 << 16)


def test_oversized_member_is_refused(tmp_path):
  path = _write_zip(tmp_path / "a.zip", [("a.png", b"1")])
  size = archive.MAX_MEMBER_BYTES + 1
  _patch_directory(path, 24, "<L", size)
  _assert_refused(path, "a.png", f"{size} bytes")


def test_total_size_is_capped(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, "MAX_TOTAL_BYTES", 5)
  content = [("a.png", b"123"), ("b.png", b"45"), ("c.png", b"6")]
  path = _write_zip(tmp_path / "a.zip", content)
  _assert_refused(path, "c.png", "more than 5 bytes in all")


def test_number_of_members_is_capped(tmp_path, monkeypatch):
  monkeypatch.setattr(archive, "MAX_MEMBERS", 2)
  path = _write_zip(tmp_path / "a.zip", [(f"{i}.png", b"") for i in range(3)])
  with pytest.raises(InputError, match="3 members, at most 2"):
    archive.open_files(path)


def test_what_is_no_zip_is_refused(tmp_path):
  whole = _write_zip(tmp_path / "whole.zip", [("a.png", _noise(3000))])
  data = whole.read_bytes()
  entry = data.rindex(b"PK\1\2")
  for case, content in {
    "empty": b"",
    "text": b"<html>404 Not Found</html>",
    "truncated": data[: len(data) // 2],
    "without end": data[:-10],
    "damaged directory": data[:entry] + b"XXXX" + data[entry + 4 :],
    "name not utf-8": (
      data[: entry + 8] + b"\0\x08" + data[entry + 10 :]
    ).replace(b"a.png", b"\xff.png"),
    "too new": data[: entry + 6] + b"\xff\0" + data[entry + 8 :],
  }.items():
    path = tmp_path / "broken.zip"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a readable zip") as caught:
      archive.open_files(path)
    assert "\n" not in str(caught.value), case


@pytest.mark.parametrize("actual", [100, 60_000, 3_000_000])
def test_lying_size_is_found_when_read(tmp_path, actual):
  path = _write_zip(tmp_path / "a.zip", [("lie.png", bytes(actual))])
  _patch_directory(path, 24, "<L", 5000)
  files = archive.open_files(path)
  with pytest.raises(OSError, match=r"lie\.png"):
    files.read("lie.png")
  files.close()


def test_only_the_stated_size_is_unpacked(tmp_path, monkeypatch):
  path = _write_zip(tmp_path / "a.zip", [("lie.png", bytes(50_000_000))])
  _patch_directory(path, 24, "<L", 5000)
  unpacked = []
  real = zlib.decompressobj

  class Spy:
    def __init__(self, *args):
      self._real = real(*args)

    def __getattr__(self, name):
      return getattr(self._real, name)

    def decompress(self, data, limit=0):
      result = self._real.decompress(data, limit)
      unpacked.append(len(result))
      return result

  monkeypatch.setattr(zlib, "decompressobj", Spy)
  files = archive.open_files(path)
  with pytest.raises(OSError, match=r"lie\.png"):
    files.read("lie.png")
  files.close()
  assert 0 < sum(unpacked) < 10_000


def test_damaged_member_leaves_the_others_readable(tmp_path):
  good, bad = _noise(500), _noise(400)
  content = [("bad.png", bad), ("good.png", good)]
  path = _write_zip(tmp_path / "a.zip", content, zipfile.ZIP_STORED)
  data = path.read_bytes()
  path.write_bytes(data.replace(bad, bytes(400)))
  files = archive.open_files(path)
  with pytest.raises(OSError, match=r"bad\.png: cannot be unpacked"):
    files.read("bad.png")
  assert files.read("good.png") == good
  files.close()
