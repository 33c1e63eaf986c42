"""Tests of downloading a file, against a real server on this machine."""

import hashlib
import os
import threading
import types
from collections.abc import Callable

import numpy as np
import pytest
import requests

from mn_jax.data.acquire import download
from mn_jax.errors import InputError
from tests import file_server

SIZE = 1_000_003
CONTENT = np.random.default_rng(0).bytes(SIZE)


@pytest.fixture
def site(monkeypatch):
  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
  with file_server.serving(CONTENT) as site:
    yield site


@pytest.fixture
def path(tmp_path):
  return tmp_path / "weights" / "net.h5"


def known(content: bytes, kind: str = "sha256") -> str:
  return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


def get(site, path, content=CONTENT, *, tries=3, pause=0.0, **options) -> None:
  """Downloads the site's file, expecting `content`."""
  download.download(
    site.url,
    path,
    known_hash=known(content),
    tries=tries,
    pause=pause,
    **options,
  )


def refuses(call: Callable[[], None], message: str) -> str:
  """The one line of the InputError that `call` ends in."""
  with pytest.raises(InputError, match=message) as caught:
    call()
  assert "\n" not in str(caught.value)
  assert "secret" not in str(caught.value)
  return str(caught.value)


@pytest.mark.parametrize("kind", ["sha256", "md5"])
@pytest.mark.parametrize("length", [str(SIZE), None])
def test_file_arrives_whole_and_progress_reaches_its_size(
  site, path, kind, length
):
  site.headers = {"Content-Length": length}
  seen = []
  download.download(
    site.url,
    path,
    known_hash=known(CONTENT, kind),
    progress=lambda *pair: seen.append(pair),
  )
  assert path.read_bytes() == CONTENT
  assert path.stat().st_mode & 0o777 == 0o644
  assert os.listdir(path.parent) == ["net.h5"]  # noqa: PTH208
  assert seen == sorted(seen)
  assert seen[-1] == (2, 2)  # megabytes, rounded up
  assert length is None or seen[0] == (1, 2)


def test_a_file_of_another_hash_is_refused(site, path):
  def assert_names_both(message, present, expected):
    for content in (present, expected):
      assert known(content).removeprefix("sha256:") in message

  message = refuses(lambda: get(site, path, b"other"), "does not match")
  assert_names_both(message, CONTENT, b"other")
  assert list(path.parent.iterdir()) == []
  get(site, path)
  get(site, path)  # is there, and is not downloaded again
  assert len(site.requests) == 2
  path.write_bytes(b"mine")
  message = refuses(lambda: get(site, path), "is there with sha256")
  assert_names_both(message, b"mine", CONTENT)
  assert path.read_bytes() == b"mine"
  assert len(site.requests) == 2


def test_busy_server_is_asked_again_after_longer_and_longer_pauses(
  site, path, monkeypatch
):
  pauses = []
  monkeypatch.setattr(download.time, "sleep", pauses.append)
  site.statuses = [503, 429, 500]
  get(site, path, tries=4, pause=1.0)
  assert path.read_bytes() == CONTENT
  assert pauses == [1.0, 2.0, 4.0]
  path.unlink()
  site.statuses = [503]
  refuses(lambda: get(site, path, tries=1), "the server answers 503 .1 tries")


def test_lost_connections_are_tried_again(site, path):
  site.cuts = [400_000, 0]
  get(site, path)
  assert path.read_bytes() == CONTENT
  path.unlink()
  site.cuts = [400_000] * 3
  refuses(lambda: get(site, path), r"broke off .*\(3 tries\)")
  assert list(path.parent.iterdir()) == []
  site.headers = {"Content-Length": None, "Transfer-Encoding": "chunked"}
  refuses(lambda: get(site, path), r"broke off .*\(3 tries\)")
  assert list(path.parent.iterdir()) == []
  site.requests.clear()
  site.stall = threading.Event()
  try:
    refuses(
      lambda: get(site, path, tries=2, timeout=0.1), "broke off .*2 tries"
    )
  finally:
    site.stall.set()
  assert len(site.requests) == 2
  # Never silent for long, but a file of any size would take forever.
  site.stall, site.trickle = threading.Event(), True
  site.requests.clear()
  for length in ("1000003", None):
    site.headers = {"Content-Length": length}
    try:
      refuses(
        lambda: get(site, path, tries=2, timeout=0.2), "too slow.*2 tries"
      )
    finally:
      site.stall.set()
    assert list(path.parent.iterdir()) == []
    site.stall.clear()
  site.stall.set()
  assert len(site.requests) == 4
  with file_server.serving(CONTENT) as gone:
    pass
  refuses(lambda: get(gone, path), "ConnectionError.*3 tries")


def test_refusal_is_final_and_shows_no_query(site, path):
  plain = site.url
  site.url += "?X-Signature=secret#secret"
  for status, reason in ((404, "404 Not Found"), (403, "403 Forbidden")):
    site.statuses = [status]
    message = refuses(lambda: get(site, path), f"the server answers {reason}")
    assert plain in message
  assert len(site.requests) == 2
  site.cuts = [0]
  assert plain in refuses(lambda: get(site, path, tries=1), "broke off")


def test_refused_certificate_is_final(site, path, monkeypatch):
  asked = []

  def answer(url, **_):
    asked.append(url)
    raise requests.exceptions.SSLError("self-signed certificate")

  monkeypatch.setattr(requests, "get", answer)
  refuses(lambda: get(site, path), "certificate is refused")
  assert len(asked) == 1


def test_place_that_cannot_be_written_is_one_line(site, tmp_path, monkeypatch):
  (tmp_path / "file").write_text("in the way")
  refuses(lambda: get(site, tmp_path / "file" / "net.h5"), "cannot be written")

  def full(*_):
    raise OSError(28, "No space left on device")

  path = tmp_path / "net.h5"
  monkeypatch.setattr("pooch.core.shutil.move", full)
  refuses(lambda: get(site, path), r"written \(No space left on device\)")
  assert os.listdir(tmp_path) == ["file"]  # noqa: PTH208


def test_stopping_leaves_nothing(site, path):
  def stop(*_):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    get(site, path, progress=stop)
  assert list(path.parent.iterdir()) == []


def test_redirects_are_followed_to_where_a_download_may_start(site, path):
  site.redirects = {"/files/net.h5": "/mirror/net.h5?token=secret"}
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert site.requests[-1] == "/mirror/net.h5?token=secret"
  path.unlink()
  site.requests.clear()
  places = (
    "http://example.org/net.h5?token=secret",
    "http://user:secret@example.org/net.h5",
    "https://user:secret@example.org/net.h5",
    "ftp://example.org/net.h5?secret",
    "file:///etc/passwd?secret",
    "https://[secret/net.h5",
  )
  for place in places:
    site.redirects = {"/files/net.h5": place}
    refuses(lambda: get(site, path), "valid: ")
    assert list(path.parent.iterdir()) == []
  assert len(site.requests) == len(places)


def test_redirect_to_this_machine_is_refused_from_outside():
  def follow(place):
    download.check_redirect(
      types.SimpleNamespace(
        is_redirect=True,
        url="https://example.org/net.h5",
        headers={"location": place},
      )
    )

  refuses(lambda: follow("http://127.0.0.1/net.h5"), "leads to")
  follow("https://example.com/a.h5")
  follow("/a.h5")


def test_addresses_and_hashes_are_checked_before_a_connection(path):
  for url in (
    "http://example.org/net.h5?token=secret",
    "http://127.0.0.1.example.org/net.h5",
    "http://localhost/net.h5",
    "ftp://example.org/net.h5",
    "file:///etc/passwd",
    "https:///net.h5",
    "https://user:secret@example.org/net.h5",
    "https://example.org:secret/net.h5",
    "https://example.org/a secret.h5",
    "https://example.org/\nsecret",
    "https://example.org/sécret",
    "https://[secret/net.h5",
    "net.h5",
    "",
  ):
    refuses(
      lambda url=url: download.download(url, path, known_hash=known(b"")),
      "^url: got ",
    )
  url = "https://example.org/net.h5"
  for digits in ("0" * 63, "g" * 64, "A" * 64, "0" * 64 + "\n"):
    refuses(
      lambda digits=digits: download.download(
        url, path, known_hash=f"sha256:{digits}"
      ),
      "sha256: .* valid: 64 digits",
    )
  refuses(lambda: download.check_hash("md5:" + "0" * 64), "valid: 32 digits")
  assert not path.parent.exists()
