"""Tests of reading folders and archives."""

import concurrent.futures
import io
import os
import pathlib
import tarfile
import zipfile

import numpy as np
import pytest

from mn_jax.data.files import archive
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
  assert sorted(files.names()) == sorted(
    (name, len(data)) for name, data in _CONTENT.items()
  )
  for name, data in _CONTENT.items():
    assert files.read(name) == data
  with pytest.raises(OSError, match=r"no\.png"):
    files.read("8863/0/no.png")


def test_what_cannot_be_opened_or_listed_is_an_input_error(tmp_path):
  with pytest.raises(InputError, match="no such file or folder"):
    archive.open_files(tmp_path / "nothing")
  os.mkfifo(tmp_path / "pipe")  # which is not waited for
  with pytest.raises(InputError, match="neither a file nor a folder"):
    archive.open_files(tmp_path / "pipe")
  folder = tmp_path / "data"
  folder.mkdir()
  files = archive.open_files(folder)
  folder.rmdir()
  with pytest.raises(InputError, match="data: cannot be listed"):
    files.names()


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


def test_links_in_folders_are_not_followed(tmp_path):
  _write_folder(tmp_path / "outside", {"secret.png": b"x"})
  _write_folder(tmp_path / "data", {"real.png": b"y"})
  (tmp_path / "data/link.png").symlink_to(tmp_path / "outside/secret.png")
  (tmp_path / "data/folder").symlink_to(tmp_path / "outside")
  (tmp_path / "data/loop").symlink_to(tmp_path / "data")
  assert archive.open_files(tmp_path / "data").names() == [("real.png", 1)]


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
