import hashlib

import pytest

from mn_jax.data.acquire import download, web
from mn_jax.data.datasets.spec import Web
from mn_jax.errors import InputError
from tests import file_server

CONTENT = b"an archive" * 1000


@pytest.fixture
def site(monkeypatch):
  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
  with file_server.serving(CONTENT) as site:
    yield site


def spec(site, content=CONTENT):
  url = site.url.replace("net.h5", "data.zip")
  return Web(url, hashlib.sha256(content).hexdigest(), len(content))


def test_archive_arrives_once_and_stays_as_it_is(site, tmp_path):
  seen = []
  for _ in range(2):
    path = web.fetch(spec(site), tmp_path, lambda *done: seen.append(done))
    assert path == tmp_path / "web" / "data.zip"
    assert path.read_bytes() == CONTENT
  assert len(site.requests) == 1
  assert seen[-1] == (len(CONTENT), len(CONTENT))


def test_half_an_archive_is_continued(site, tmp_path, monkeypatch):
  monkeypatch.setattr(download.time, "sleep", lambda _: None)
  site.cuts = [4000]
  web.fetch(spec(site), tmp_path, lambda *_: None)
  assert site.asked("Range") == [None, "bytes=4000-"]
  assert site.sent == len(CONTENT)


def test_another_archive_is_refused(site, tmp_path):
  with pytest.raises(InputError, match="expected "):
    web.fetch(spec(site, b"another!!!" * 1000), tmp_path, lambda *_: None)
  with pytest.raises(InputError, match="got 10,000 bytes"):
    web.fetch(spec(site, b"shorter"), tmp_path, lambda *_: None)
  assert not (tmp_path / "web" / "data.zip").exists()
