"""A server of one file on this machine that can misbehave in known ways."""

import contextlib
import dataclasses
import http.server
import re
import threading
from collections.abc import Iterator


@dataclasses.dataclass
class Site:
  """What the server has, how it behaves, and what it was asked.

  Attributes:
    content: of the file.
    etag, last_modified: how it names this version; None for not at all.
    ranges: whether it continues a file.
    checks_if_range: whether it does so for this version only.
    cuts: for the next requests, after how many bytes the connection ends; None
      for not at all.
    statuses: answers to the next requests in place of the file.
    headers: replace those of the answer with the file; None leaves one out.
    redirects: path -> where it leads.
    stall: seconds before the file's first byte.
    requests: (path, headers) of each one.
    sent: bytes of the file, all answers together.
    url: of the file.
  """

  content: bytes
  etag: str | None = '"one"'
  last_modified: str | None = None
  ranges: bool = True
  checks_if_range: bool = True
  cuts: list[int | None] = dataclasses.field(default_factory=list)
  statuses: list[int] = dataclasses.field(default_factory=list)
  headers: dict[str, str | None] = dataclasses.field(default_factory=dict)
  redirects: dict[str, str] = dataclasses.field(default_factory=dict)
  stall: threading.Event | None = None
  requests: list[tuple[str, dict[str, str]]] = dataclasses.field(
    default_factory=list
  )
  sent: int = 0
  url: str = ""

  def asked(self, header: str) -> list[str | None]:
    """That header of every request."""
    return [headers.get(header) for _, headers in self.requests]


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers from the `site` of its server."""

  def log_message(self, *_):
    """Keeps quiet."""

  def do_GET(self):
    site = self.server.site
    site.requests.append((self.path, dict(self.headers)))
    path = self.path.partition("?")[0]
    if path in site.redirects:
      self.send_response(302)
      self.send_header("Location", site.redirects[path])
      self.send_header("Content-Length", "0")
      self.end_headers()
    elif site.statuses:
      self.send_response(site.statuses.pop(0))
      self.send_header("Content-Length", "0")
      self.end_headers()
    else:
      self._answer(site)

  def _answer(self, site: Site) -> None:
    # Taken before the client hears anything: then the test may go on.
    cut = site.cuts.pop(0) if site.cuts else None
    size = len(site.content)
    asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
    version = site.etag or site.last_modified
    same = self.headers.get("If-Range") == version or not site.checks_if_range
    start, status = 0, 200
    if asked and site.ranges and same:
      start = int(asked[1])
      status = 206 if start < size else 416
    body = b"" if status == 416 else site.content[start:]
    headers = {
      "Content-Length": str(len(body)),
      "ETag": site.etag,
      "Last-Modified": site.last_modified,
    }
    if status == 206:
      headers["Content-Range"] = f"bytes {start}-{size - 1}/{size}"
    if status == 416:
      headers["Content-Range"] = f"bytes */{size}"
    self.send_response(status)
    for name, value in (headers | site.headers).items():
      if value is not None:
        self.send_header(name, value)
    self.end_headers()
    if site.stall is not None:
      site.stall.wait()
    body = body if cut is None else body[:cut]
    site.sent += len(body)
    self.wfile.write(body)
    self.close_connection = True


class _Server(http.server.ThreadingHTTPServer):
  daemon_threads = True
  site: Site

  def handle_error(self, *_):
    """A client that goes away is part of the tests."""


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[Site]:
  """Serves a file at `site.url` while the context lasts."""
  with _Server(("127.0.0.1", 0), _Handler) as server:
    url = f"http://127.0.0.1:{server.server_port}/files/net.h5"
    server.site = Site(content, url=url)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
      yield server.site
    finally:
      server.shutdown()
      thread.join()
