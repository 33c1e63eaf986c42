"""Tests of fetching a file, against a real server on this machine."""

import ssl
import threading
import types
import urllib.error
import urllib.request

import pytest

from mn_jax.data.acquire import address, download
from tests import file_server
from tests.data.acquire.fetching import (
  CONTENT,
  OTHER,
  SIZE,
  digest,
  get,
  left,
  refuses,
)


@pytest.fixture
def site(monkeypatch):
  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
  with file_server.serving(CONTENT) as site:
    yield site


@pytest.fixture
def path(tmp_path):
  return tmp_path / "weights" / "net.h5"


@pytest.mark.parametrize("kind", ["sha256", "md5"])
def test_file_arrives_whole_and_progress_reaches_its_size(site, path, kind):
  seen = []
  download.download(
    site.url,
    path,
    digest=digest(CONTENT, kind),
    progress=lambda done, total: seen.append((done, total)),
  )
  assert path.read_bytes() == CONTENT
  assert left(path) == ["net.h5"]
  assert seen[-1] == (SIZE, SIZE)
  assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_file_that_is_there_is_checked_and_not_asked_for(site, path):
  get(site, path)
  get(site, path)
  assert len(site.requests) == 1


def test_another_file_at_its_place_is_left_alone(site, path):
  path.parent.mkdir()
  path.write_bytes(b"mine")
  message = refuses(lambda: get(site, path), "is there with sha256")
  assert digest(b"mine").value in message
  assert digest(CONTENT).value in message
  assert path.read_bytes() == b"mine"
  assert site.requests == []


def test_another_file_than_expected_is_deleted(site, path):
  message = refuses(
    lambda: get(site, path, content=OTHER), "got sha256 .* expected"
  )
  assert digest(CONTENT).value in message
  assert digest(OTHER).value in message
  assert left(path) == []


def test_length_that_promises_too_much_is_no_file(site, path):
  site.headers = {"Content-Length": str(SIZE + 10)}
  site.ranges = False
  refuses(lambda: get(site, path), r"broke off \(3 tries\)")
  assert not path.exists()
  site.ranges = True  # now it tells how long the file is
  site.headers = {}
  get(site, path)
  assert path.read_bytes() == CONTENT


def test_length_that_promises_too_little_is_no_file(site, path):
  site.headers = {"Content-Length": str(SIZE - 10)}
  refuses(lambda: get(site, path), "expected")
  assert left(path) == []


def test_unknown_length_is_taken(site, path):
  site.headers = {"Content-Length": None}
  seen = []
  get(site, path, progress=lambda *pair: seen.append(pair))
  assert path.read_bytes() == CONTENT
  assert seen[-1] == (SIZE, None)


@pytest.mark.parametrize("length", [str(SIZE), None])
def test_size_has_a_limit(site, path, length):
  site.headers = {"Content-Length": length}
  get(site, path, max_bytes=SIZE)
  path.unlink()
  seen = []
  refuses(
    lambda: get(
      site,
      path,
      max_bytes=SIZE - 1,
      progress=lambda done, _: seen.append(done),
    ),
    "valid: up to 1,000,002",
  )
  assert left(path) == []
  # Where the server says how large it is, nothing of it is fetched.
  assert bool(seen) == (length is None)


def test_full_disk_is_said_before_anything_is_written(site, path, monkeypatch):
  usage = types.SimpleNamespace(free=SIZE - 1)
  monkeypatch.setattr(download.shutil, "disk_usage", lambda _: usage)
  refuses(lambda: get(site, path), "1 MB free; valid: a folder with 1 MB")
  assert left(path) == []
  # What is there already needs no room.
  site.cuts = [400_000]
  usage.free = SIZE
  refuses(lambda: get(site, path, tries=1), "broke off")
  usage.free = SIZE - 400_000
  get(site, path)
  assert path.read_bytes() == CONTENT


def test_place_that_cannot_be_written_is_said(site, tmp_path):
  (tmp_path / "file").write_text("in the way")
  refuses(lambda: get(site, tmp_path / "file" / "net.h5"), "cannot be written")


def test_refusal_is_final(site, path):
  site.statuses = [404, 404, 404]
  message = refuses(lambda: get(site, path), "answers 404 Not Found")
  assert site.url in message
  assert len(site.requests) == 1


def test_busy_server_is_asked_again_after_longer_and_longer_pauses(
  site, path, monkeypatch
):
  pauses = []
  monkeypatch.setattr(download.time, "sleep", pauses.append)
  site.statuses = [503, 429, 500]
  get(site, path, tries=4, pause=1.0)
  assert path.read_bytes() == CONTENT
  assert pauses == [1.0, 2.0, 4.0]


def test_silent_server_counts_as_lost(site, path):
  site.stall = threading.Event()
  try:
    refuses(
      lambda: get(site, path, tries=2, timeout=0.1), "TimeoutError.*2 tries"
    )
  finally:
    site.stall.set()
  assert len(site.requests) == 2


def test_garbled_answer_counts_as_lost(site, path):
  site.headers = {"Content-Length": None, "Transfer-Encoding": "chunked"}
  refuses(lambda: get(site, path), "IncompleteRead.*3 tries")


def test_nobody_there_is_said_without_a_traceback(path):
  with file_server.serving(CONTENT) as site:
    pass
  refuses(lambda: get(site, path), "ConnectionRefusedError.*3 tries")


def test_refused_certificate_is_final(site, path, monkeypatch):
  asked = []

  def answer(_, request, **__):
    asked.append(request.full_url)
    error = ssl.SSLCertVerificationError(1, "bad")
    error.verify_message = "self-signed certificate"
    raise urllib.error.URLError(error)

  monkeypatch.setattr(urllib.request.OpenerDirector, "open", answer)
  refuses(lambda: get(site, path), "refused .self-signed certificate.")
  assert len(asked) == 1


def test_compressed_bytes_are_not_taken_for_the_files(site, path):
  site.headers = {"Content-Encoding": "gzip"}
  refuses(lambda: get(site, path), "answers in 'gzip'")
  assert site.asked("Accept-Encoding") == ["identity"]


def test_two_at_a_time_fetch_once(site, path):
  errors = []

  def work():
    try:
      get(site, path)
    except Exception as error:
      errors.append(error)

  site.stall = threading.Event()
  threads = [threading.Thread(target=work) for _ in range(2)]
  for thread in threads:
    thread.start()
  site.stall.set()
  for thread in threads:
    thread.join()
  assert errors == []
  assert path.read_bytes() == CONTENT
  assert len(site.requests) == 1


def test_redirects_are_followed_with_the_range(site, path):
  site.redirects = {"/files/net.h5": "/mirror/net.h5?token=secret"}
  site.cuts = [400_000]
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert site.asked("Range")[-1] == "bytes=400000-"
  assert site.requests[-1][0] == "/mirror/net.h5?token=secret"


@pytest.mark.parametrize(
  "place",
  [
    "http://example.org/net.h5?token=secret",
    "http://user:secret@example.org/net.h5",
    "https://user:secret@example.org/net.h5",
    "ftp://example.org/net.h5?secret",
    "file:///etc/passwd?secret",
    "https://[secret/net.h5",
  ],
)
def test_redirects_elsewhere_are_refused(site, path, place):
  site.redirects = {"/files/net.h5": place}
  message = refuses(lambda: get(site, path), "valid: ")
  assert "secret" not in message
  assert len(site.requests) == 1
  assert left(path) == []


def test_redirect_to_this_machine_is_refused_from_outside():
  request = urllib.request.Request("https://example.org/net.h5")
  handler = address.Redirects()

  def follow(place):
    return handler.redirect_request(request, None, 302, "", {}, place)

  refuses(lambda: follow("http://127.0.0.1/net.h5"), "leads to")
  assert follow("https://example.com/a.h5").full_url.endswith("/a.h5")


@pytest.mark.parametrize(
  "url",
  [
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
  ],
)
def test_addresses_are_checked_before_they_are_asked(path, url):
  message = refuses(
    lambda: download.download(url, path, digest=digest(b"")), "^url: got "
  )
  assert "secret" not in message
  assert not path.parent.exists()


def test_errors_show_no_query(site, path):
  plain = site.url
  site.url += "?X-Signature=secret#secret"
  site.cuts = [400_000]
  assert "secret" not in refuses(lambda: get(site, path, tries=1), "broke")
  assert "secret" not in (path.parent / "net.h5.partial.json").read_text()
  site.statuses = [403]
  message = refuses(lambda: get(site, path), "answers 403")
  assert "secret" not in message
  assert plain in message


@pytest.mark.parametrize(
  ("kind", "value"),
  [
    ("sha1", "0" * 40),
    ("sha256", "0" * 63),
    ("sha256", "g" * 64),
    ("sha256", "A" * 64),
    ("sha256", "0" * 64 + "\n"),
    ("md5", "0" * 64),
  ],
)
def test_checksums_are_checked(kind, value):
  refuses(lambda: download.Checksum(kind, value), "valid: ")
