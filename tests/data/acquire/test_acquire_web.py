import hashlib

import pytest

from mn_jax.data.acquire import web
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


def test_another_archive_is_refused(site, tmp_path):
  with pytest.raises(InputError, match="does not match"):
    web.fetch(spec(site, b"another!!!" * 1000), tmp_path, lambda *_: None)
  assert not (tmp_path / "web" / "data.zip").exists()
