"""Tests of reading folders and archives."""

import concurrent.futures
import io
import os
import pathlib
import tarfile
import zipfile

import numpy as np
import pytest

from mn_jax.data.files import archive, folder
from mn_jax.errors import InputError

_CONTENT = {
  "8863/0/a.png": b"first",
  "8863/1/b.png": bytes(range(256)) * 40,
  "top.txt": b"",
}


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


def _write_tar(path: pathlib.Path, content, mode: str = "w") -> pathlib.Path:
  with tarfile.open(path, mode) as file:
    for name, data in content:
      info = tarfile.TarInfo(name)
      info.size = len(data)
      file.addfile(info, io.BytesIO(data))
  return path


@pytest.fixture(params=["folder", "stored", "deflated", "w", "w:gz", "w:xz"])
def files(request, tmp_path):
  path = tmp_path / "data"
  if request.param == "folder":
    _write_folder(path, _CONTENT)
    (path / "empty").mkdir()
  elif request.param.startswith("w"):
    _write_tar(path, _CONTENT.items(), request.param)
  else:
    deflate = request.param == "deflated"
    method = zipfile.ZIP_DEFLATED if deflate else zipfile.ZIP_STORED
    _write_zip(path, [*_CONTENT.items(), ("empty/", b"")], method)
  opened = archive.open_files(path)
  yield opened
  opened.close()


def test_names_and_bytes_are_the_same_wherever_they_lie(files):
  assert sorted(files.names()) == sorted(_CONTENT)
  for name, data in _CONTENT.items():
    assert files.read(name) == data
    assert files.read(name, 7) == data[:7]
  with pytest.raises(OSError, match=r"no\.png"):
    files.read("8863/0/no.png")


def _refuse(_):
  raise PermissionError("no")


def test_what_cannot_be_opened_or_listed_is_an_input_error(
  tmp_path, monkeypatch
):
  with pytest.raises(InputError, match="no such file or folder"):
    archive.open_files(tmp_path / "nothing")
  os.mkfifo(tmp_path / "pipe")  # which is not waited for
  with pytest.raises(InputError, match="neither a file nor a folder"):
    archive.open_files(tmp_path / "pipe")
  folder = tmp_path / "data"
  folder.mkdir()
  monkeypatch.setattr(os, "scandir", _refuse)
  with pytest.raises(InputError, match="data: cannot be listed"):
    archive.open_files(folder)


@pytest.mark.parametrize("write", [_write_zip, _write_tar])
def test_threads_read_the_right_bytes(write, tmp_path):
  rng = np.random.default_rng(0)
  content = {f"{i}.bin": rng.bytes(1000 + 37 * i) for i in range(40)}
  files = archive.open_files(write(tmp_path / "archive", content.items()))
  names = list(content) * 20
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    for name, data in zip(names, pool.map(files.read, names), strict=True):
      assert data == content[name], name
  files.close()


def test_links_in_folders_are_followed_and_said(tmp_path):
  outside, data = tmp_path / "outside", tmp_path / "data"
  _write_folder(outside, {"a.png": b"xx", "in/b.png": b"x"})
  _write_folder(data, {"real.png": b"y", "cat/1.png": b"z"})
  (data / "inside.png").symlink_to("real.png")
  (data / "also").symlink_to("cat")
  files = archive.open_files(data)
  assert sorted(files.names()) == [
    *("also/1.png", "cat/1.png", "inside.png", "real.png")
  ]
  assert (files.unread, files.notes) == ([], ())
  (data / "link.png").symlink_to(outside / "a.png")
  (data / "folder").symlink_to(outside)
  (outside / "in" / "loop").symlink_to(outside)
  (data / "cat" / "loop").symlink_to(data)
  (data / "gone").symlink_to(tmp_path / "nothing")
  (data / "gone.png").symlink_to("gone.png")  # itself
  (data / "empty" / "er").mkdir(parents=True)
  os.mkfifo(data / "cat" / "2.png")
  files = archive.open_files(data)
  assert files.read("folder/in/b.png") == b"x"
  assert {*files.names()} == {
    *("also/1.png", "cat/1.png", "inside.png", "real.png", "link.png"),
    *("folder/a.png", "folder/in/b.png"),
  }
  loop = "links to a folder that they are in"
  assert sorted(files.unread) == [
    ("also/2.png", "pipes, sockets or devices"),
    ("also/loop", loop),
    ("cat/2.png", "pipes, sockets or devices"),
    ("cat/loop", loop),
    ("empty/er/", "empty folders"),
    ("folder/in/loop", loop),
    ("gone.png", "broken links"),
    ("gone/", "broken links"),
  ]
  (note,) = files.notes
  assert note.startswith("links that lead out of the folder and are read: 2, ")
  assert note.endswith(f"the first 'folder', to '{outside}'")
  with pytest.raises(OSError, match="no plain file"):
    files.read("cat/2.png")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path, monkeypatch):
  path = tmp_path / "a.png"
  path.write_bytes(b"12345")
  assert folder.read_file(path) == b"12345"
  assert folder.read_file(path, 2) == b"12"
  before = path.stat()
  path.write_bytes(b"1234567")
  monkeypatch.setattr(folder.os, "fstat", lambda _: before)
  with pytest.raises(OSError, match="it grew while it was read"):
    folder.read_file(path)


def test_any_name_is_listed_but_for_control_characters(tmp_path):
  names = [
    "at\u202f9 AM.png", "a\u00a0b.png", "\u06cc\u200c\u0634.png",
    "\u65b0\u3000.png", "\U0001f468\u200d\U0001f469.png", "caf\udce9.png",
  ]  # fmt: skip
  _write_folder(tmp_path / "d", dict.fromkeys([*names, "a\nb.png"], b"1"))
  files = archive.open_files(tmp_path / "d")
  assert sorted(files.names()) == sorted(names)
  assert [files.read(name) for name in names] == [b"1"] * len(names)
  assert files.unread == [("a\nb.png", "names with control characters")]
  _write_tar(tmp_path / "d.tar", [(name, b"1") for name in names])
  files = archive.open_files(tmp_path / "d.tar")
  assert sorted(files.names()) == sorted(names)
  files.close()


def test_a_file_that_is_too_large_is_not_read(tmp_path):
  (tmp_path / "x.png").write_bytes(b"start")
  os.truncate(tmp_path / "x.png", 1 << 40)  # it takes no room
  files = archive.open_files(tmp_path)
  assert files.names() == ["x.png"]
  assert files.read("x.png", 5) == b"start"
  with pytest.raises(OSError, match=f"{1 << 40} bytes; valid: at most"):
    files.read("x.png")


def test_damaged_member_leaves_the_others_readable(tmp_path):
  good, bad = (np.random.default_rng(n).bytes(n) for n in (500, 400))
  content = [("bad.png", bad), ("good.png", good)]
  path = _write_zip(tmp_path / "a.zip", content, zipfile.ZIP_STORED)
  data = path.read_bytes()
  path.write_bytes(data.replace(bad, bytes(400)))
  files = archive.open_files(path)
  with pytest.raises(OSError, match=r"bad\.png: cannot be unpacked"):
    files.read("bad.png")
  assert files.read("good.png") == good
  files.close()
