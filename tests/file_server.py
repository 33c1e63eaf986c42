"""A server of one file on this machine that can misbehave in known ways."""

import contextlib
import dataclasses
import http.server
import threading
from collections.abc import Iterator


@dataclasses.dataclass
class Site:
  """What the server has, how it behaves, and what it was asked.

  Attributes:
    content: of the file.
    url: of the file.
    cuts: for the next requests, after how many bytes the connection ends.
    statuses: answers to the next requests in place of the file.
    headers: replace those of the answer with the file; None leaves one out.
    redirects: path -> where it leads.
    stall: what an answer waits for before the file's first byte.
    trickle: whether only a byte is sent every now and then while it waits.
    requests: path of each one.
  """

  content: bytes
  url: str
  cuts: list[int] = dataclasses.field(default_factory=list)
  statuses: list[int] = dataclasses.field(default_factory=list)
  headers: dict[str, str | None] = dataclasses.field(default_factory=dict)
  redirects: dict[str, str] = dataclasses.field(default_factory=dict)
  stall: threading.Event | None = None
  trickle: bool = False
  requests: list[str] = dataclasses.field(default_factory=list)


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers from the `site` of its server."""

  def log_message(self, *_):
    """Keeps quiet."""

  def do_GET(self):
    site = self.server.site
    site.requests.append(self.path)
    path = self.path.partition("?")[0]
    if path in site.redirects:
      self._answer(302, {"Location": site.redirects[path]})
    elif site.statuses:
      self._answer(site.statuses.pop(0), {})
    else:
      cut = site.cuts.pop(0) if site.cuts else len(site.content)
      headers = {"Content-Length": str(len(site.content))} | site.headers
      self._answer(200, headers)
      while site.stall is not None and not site.stall.wait(0.02):
        if site.trickle:
          self.wfile.write(b"x")
      self.wfile.write(site.content[:cut])
    self.close_connection = True

  def _answer(self, status: int, headers: dict[str, str | None]) -> None:
    self.send_response(status)
    for name, value in headers.items():
      if value is not None:
        self.send_header(name, value)
    self.end_headers()


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
    server.site = Site(content, url)
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
      yield server.site
    finally:
      server.shutdown()
      thread.join()
