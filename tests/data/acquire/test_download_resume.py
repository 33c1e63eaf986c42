"""Tests of continuing a file that came in part, and of not doing so."""

import pytest

from tests import file_server
from tests.data.acquire.fetching import CONTENT, OTHER, SIZE, get, left, refuses


@pytest.fixture
def site(monkeypatch):
  for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
    monkeypatch.delenv(name, raising=False)
  with file_server.serving(CONTENT) as site:
    yield site


@pytest.fixture
def path(tmp_path):
  return tmp_path / "weights" / "net.h5"


def test_lost_connection_is_continued_where_it_broke(site, path):
  site.cuts = [400_000, 300_000]
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert site.asked("Range") == [None, "bytes=400000-", "bytes=700000-"]
  assert site.asked("If-Range") == [None, '"one"', '"one"']
  assert site.sent == SIZE


def test_progress_counts_what_an_earlier_connection_brought(site, path):
  site.cuts = [400_000]
  seen = []
  get(site, path, progress=lambda *pair: seen.append(pair))
  assert seen[-1] == (SIZE, SIZE)
  assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_later_run_continues(site, path):
  site.cuts = [400_000]
  refuses(lambda: get(site, path, tries=1), r"broke off \(1 tries\)")
  assert left(path) == ["net.h5.partial", "net.h5.partial.json"]
  get(site, path, tries=1)
  assert path.read_bytes() == CONTENT
  assert site.sent == SIZE


def test_stopping_leaves_what_came(site, path):
  def stop(*_):
    raise KeyboardInterrupt

  with pytest.raises(KeyboardInterrupt):
    get(site, path, progress=stop)
  came = (path.parent / "net.h5.partial").stat().st_size
  assert came > 0
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert site.asked("Range")[1] == f"bytes={came}-"


def test_many_breaks_are_no_failure_as_long_as_bytes_come(site, path):
  site.cuts = [100_000] * 9
  get(site, path, tries=2)
  assert path.read_bytes() == CONTENT


def test_breaks_at_the_same_place_are_given_up(site, path):
  site.ranges = False
  site.cuts = [100_000] * 99
  refuses(lambda: get(site, path, tries=3), r"\(3 tries\)")
  # The first one brought something new.
  assert len(site.requests) == 3


def test_fewer_bytes_than_once_before_are_no_progress(site, path):
  site.ranges = False
  site.cuts = [300_000, 100_000, 200_000, 250_000]
  refuses(lambda: get(site, path, tries=3), r"\(3 tries\)")
  assert len(site.requests) == 3


@pytest.mark.parametrize("checks", [True, False])
def test_file_that_changed_between_is_not_glued_together(site, path, checks):
  site.cuts = [400_000]
  refuses(lambda: get(site, path, tries=1), "broke off")
  site.content, site.etag = OTHER, '"two"'
  site.checks_if_range = checks
  get(site, path, content=OTHER)
  assert path.read_bytes() == OTHER


def test_partial_file_of_another_address_is_not_continued(site, path):
  site.cuts = [400_000]
  refuses(lambda: get(site, path, tries=1), "broke off")
  site.url = site.url.replace("/files/", "/mirror/")
  get(site, path)
  assert site.asked("Range") == [None, None]
  assert path.read_bytes() == CONTENT


@pytest.mark.parametrize(
  ("names", "range_asked"),
  [
    ({"etag": None, "last_modified": "Mon, 06 Jan 2020 00:00:00 GMT"}, True),
    ({"etag": 'W/"one"'}, False),  # equivalent content, other bytes
    ({"etag": None}, False),
  ],
)
def test_only_a_named_version_is_continued(site, path, names, range_asked):
  for name, value in names.items():
    setattr(site, name, value)
  site.cuts = [400_000]
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert [value is not None for value in site.asked("Range")] == [
    False,
    range_asked,
  ]


def test_server_that_cannot_continue_sends_all_again(site, path):
  site.ranges = False
  site.cuts = [400_000]
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert site.sent == 400_000 + SIZE


@pytest.mark.parametrize(
  "place",
  [
    f"bytes 300000-{SIZE - 1}/{SIZE}",
    f"bytes 400000-500000/{SIZE}",
    f"bytes 400000-{SIZE - 1}/*",
    "nonsense",
    None,
  ],
)
def test_continuation_at_another_place_begins_anew(site, path, place):
  site.cuts = [400_000]
  refuses(lambda: get(site, path, tries=1), "broke off")
  site.headers = {"Content-Range": place}
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert site.asked("Range") == [None, "bytes=400000-", None]


def test_complete_partial_file_is_only_checked(site, path):
  site.cuts = [400_000]
  refuses(lambda: get(site, path, tries=1), "broke off")
  (path.parent / "net.h5.partial").write_bytes(CONTENT)
  get(site, path)
  assert path.read_bytes() == CONTENT
  assert site.sent == 400_000


def test_partial_file_longer_than_the_file_begins_anew(site, path):
  site.cuts = [400_000]
  refuses(lambda: get(site, path, tries=1), "broke off")
  (path.parent / "net.h5.partial").write_bytes(CONTENT + b"more")
  get(site, path)
  assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("notes", ["", "[]", '{"address": 1}', "\0"])
def test_damaged_notes_begin_anew(site, path, notes):
  site.cuts = [400_000]
  refuses(lambda: get(site, path, tries=1), "broke off")
  (path.parent / "net.h5.partial.json").write_text(notes)
  get(site, path)
  assert site.asked("Range") == [None, None]
  assert path.read_bytes() == CONTENT
