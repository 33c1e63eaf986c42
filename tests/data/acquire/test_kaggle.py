import errno
import os
import pathlib
import sys
import zipfile

import kagglehub
import pytest
import requests
from kagglehub import exceptions

from mn_jax.data.acquire import kaggle
from mn_jax.errors import InputError

HANDLE = "owner/name/versions/3"


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
  monkeypatch.setenv("KAGGLEHUB_CACHE", "elsewhere")  # restored afterwards


def test_the_pinned_version_comes_to_the_folder_of_downloads(
  tmp_path, monkeypatch
):
  asked = []

  def download(handle):
    asked.append((handle, os.environ["KAGGLEHUB_CACHE"]))
    return str(tmp_path / "there")

  monkeypatch.setattr(kagglehub, "dataset_download", download)
  path = kaggle.fetch(HANDLE, tmp_path)
  assert path == pathlib.Path(tmp_path / "there")
  assert asked == [(HANDLE, str(tmp_path / "kaggle"))]


def test_what_is_complete_needs_no_network(tmp_path, monkeypatch):
  def connect(*_, **__):
    pytest.fail("asked for a connection")

  monkeypatch.setattr(requests.Session, "send", connect)
  folder = tmp_path / "kaggle" / "datasets" / "owner" / "name"
  (folder / "versions" / "3").mkdir(parents=True)
  (folder / "3.complete").touch()
  assert kaggle.fetch(HANDLE, tmp_path) == folder / "versions" / "3"
  monkeypatch.setitem(sys.modules, "kagglehub", None)
  with pytest.raises(InputError, match="kagglehub is not installed; valid: "):
    kaggle.fetch(HANDLE, tmp_path)


def answer(status):
  response = requests.Response()
  response.status_code = status
  return exceptions.KaggleApiHTTPError("secret-token", response=response)


def test_failed_download_is_one_line_of_what_to_do(tmp_path, monkeypatch):
  secret = "secret-token"
  for error, message in (
    (answer(401), "refuses it (answer 401); valid: credentials in KAGGLE_API"),
    (answer(403), "of an account that accepted the data's terms"),
    (exceptions.UnauthenticatedError(), "refuses it (no credentials)"),
    (exceptions.CredentialError(secret), "(no credentials)"),
    (answer(404), "has no such version any more (answer 404); valid: --source"),
    (answer(503), "answers 503; valid: the same command later"),
    (exceptions.KaggleApiHTTPError(secret), "answers nothing"),
    (requests.ConnectionError(secret), "off (ConnectionError); valid: a conn"),
    (requests.Timeout(), "broke off (Timeout)"),
    (requests.JSONDecodeError(secret, "", 0), "broke off (JSONDecodeError)"),
    (requests.HTTPError(response=answer(404).response), "has no such version"),
    (exceptions.DataCorruptionError(secret), "another checksum than Kaggle st"),
    (zipfile.BadZipFile(), "no readable archive; valid: that folder deleted"),
    (EOFError(), "no readable archive"),
    (ValueError(), "no readable archive"),
    (OSError(errno.ENOSPC, "No space"), "cannot be written (No space)"),
    (OSError(errno.EACCES, "Permission denied"), "written (Permission denied)"),
  ):

    def download(_, error=error):
      raise error

    monkeypatch.setattr(kagglehub, "dataset_download", download)
    with pytest.raises(InputError) as caught:
      kaggle.fetch(HANDLE, tmp_path)
    text = str(caught.value)
    assert message in text
    assert "valid: " in text
    assert "\n" not in text
    assert "secret" not in text
