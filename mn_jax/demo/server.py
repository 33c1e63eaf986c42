"""A small HTTP server of one page, for the browsers of this machine.

It listens on 127.0.0.1, but what it gets is hostile all the same: any web page
that a user opens can make the browser send requests here. So a request must
name this machine as its host (against DNS rebinding) and, unless it is for the
page itself, come from the page. Paths are looked up in a table; none is one of
the file system. Bodies, connections, waiting requests and the time of slow
clients are bounded. What is computed is computed one at a time.

Frameworks have none of these checks but that of the host, and no bound on how
slowly a header may come, so the standard library's server costs no more code
than theirs, and no package.
"""

import contextlib
import http.server
import io
import re
import socket
import socketserver
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from mn_jax.demo import site as site_lib
from mn_jax.demo.site import Answer, RefusedError, Site
from mn_jax.errors import InputError

ADDRESS = "127.0.0.1"
MAX_BYTES = 32 << 20  # of a body: more than cameras write
BODY = "application/octet-stream"  # which other sites may not send unasked

_SECONDS = 20.0  # for a client to send a request, and again to take the answer
_LINGER_SECONDS = 2.0  # for what a client still sends, after the answer
_PATIENCE_SECONDS = 120.0  # for the requests before
_MAX_CONNECTIONS = 32
_MAX_WAITING = 8  # requests whose body is read, waits or is worked on

# A tunnel from another machine may have another port at its end.
_HOSTS = re.compile(r"(127\.0\.0\.1|localhost)(:[0-9]{1,5})?")
# What browsers say of a request of the page; nothing, where there is none.
_FROM_THE_PAGE = ("", "none", "same-origin")
_HEADERS = {
  "Cache-Control": "no-store",
  "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
  "style-src 'self'; img-src 'self' data:; connect-src 'self'; "
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
}


class Server(http.server.ThreadingHTTPServer):
  """Listens once it is made, and answers in `serve_forever`.

  Attributes:
    site: what it serves, to be set before it answers.
  """

  daemon_threads = True
  request_queue_size = _MAX_CONNECTIONS
  site: Site

  def __init__(self, port: int = 0):
    """Listens on a port; 0 is any free one.

    Raises:
      InputError: if the port cannot be had.
    """
    self._connections = threading.BoundedSemaphore(_MAX_CONNECTIONS)
    self._places = threading.BoundedSemaphore(_MAX_WAITING)
    self._turn = threading.Lock()
    try:
      super().__init__((ADDRESS, port), _Handler)
    except OSError as error:
      raise InputError(
        f"--port: got {port} ({error.strerror}); valid: a free one that you "
        "may use, or 0 for any"
      ) from None

  @property
  def url(self) -> str:
    """Its address for a browser."""
    return f"http://{ADDRESS}:{self.server_address[1]}/"

  def server_bind(self) -> None:
    """Binds the port; the standard library would also ask for a host's name."""
    socketserver.TCPServer.server_bind(self)
    self.server_name, self.server_port = self.server_address[:2]

  def process_request(self, request: socket.socket, client_address: Any):
    """Answers in a thread, unless there are too many already."""
    if not self._connections.acquire(blocking=False):
      self.shutdown_request(request)
      return
    try:
      super().process_request(request, client_address)
    except RuntimeError:  # no thread is to be had
      self._connections.release()
      self.shutdown_request(request)

  def process_request_thread(self, request: socket.socket, client_address: Any):
    """Answers one request."""
    try:
      super().process_request_thread(request, client_address)
    finally:
      self._connections.release()

  def handle_error(self, request: socket.socket, client_address: Any) -> None:
    """Prints what went wrong, unless the client has gone away."""
    del request, client_address
    if not isinstance(sys.exception(), OSError):
      traceback.print_exc()

  @contextlib.contextmanager
  def place(self) -> Iterator[None]:
    """One of the few requests that are read or wait.

    Raises:
      RefusedError: if there are too many.
    """
    if not self._places.acquire(blocking=False):
      raise RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE, "too many requests at once; try again"
      )
    try:
      yield
    finally:
      self._places.release()

  @contextlib.contextmanager
  def turn(self) -> Iterator[None]:
    """The one request that is worked on.

    Raises:
      RefusedError: if those before it take too long.
    """
    if not self._turn.acquire(timeout=_PATIENCE_SECONDS):
      raise RefusedError(
        HTTPStatus.SERVICE_UNAVAILABLE, "other requests take long; try again"
      )
    try:
      yield
    finally:
      self._turn.release()


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers one request of HTTP/1.0: the connection ends with it."""

  server: Server
  server_version, sys_version = "mn_jax", ""
  timeout = _SECONDS

  def setup(self) -> None:
    super().setup()
    self.rfile.close()
    deadline = time.monotonic() + _SECONDS
    self.rfile = io.BufferedReader(_Until(self.connection, deadline))

  def finish(self) -> None:
    super().finish()
    # To close a socket that still receives would reset the connection, and the
    # client would not see the answer.
    deadline = time.monotonic() + _LINGER_SECONDS
    with contextlib.suppress(OSError):
      self.connection.shutdown(socket.SHUT_WR)
      rest, buffer = _Until(self.connection, deadline), bytearray(1 << 16)
      while rest.readinto(buffer):
        pass

  def log_message(self, *_) -> None:
    """Keeps quiet."""

  def send_error(self, code: int, message: str | None = None, *_) -> None:
    """Answers what the standard library refuses, like all else."""
    status = HTTPStatus(code)
    self._send(
      site_lib.error_of(RefusedError(status, message or status.phrase))
    )

  def do_GET(self) -> None:
    self._handle()

  def do_HEAD(self) -> None:
    self._handle()

  def do_POST(self) -> None:
    self._handle()

  def _handle(self) -> None:
    try:
      answer = self._answer()
    except RefusedError as refused:
      answer = site_lib.error_of(refused)
    self._send(answer)

  def _answer(self) -> Answer:
    host = self._one("Host")
    if not _HOSTS.fullmatch(host.lower()):
      raise RefusedError(
        HTTPStatus.FORBIDDEN, f"the host must be {ADDRESS} or localhost"
      )
    path, _, query = self.path.partition("?")
    site, method = self.server.site, self.command
    if path in site.pages and method in ("GET", "HEAD"):
      return site.pages[path]
    call = site.calls.get((method, path))
    if call is None and site.has(path):
      raise RefusedError(HTTPStatus.METHOD_NOT_ALLOWED, f"no {method} here")
    if call is None:
      raise RefusedError(HTTPStatus.NOT_FOUND, "there is no such page")
    own = self._one("Origin").lower() in ("", f"http://{host}".lower())
    if not own or self._one("Sec-Fetch-Site") not in _FROM_THE_PAGE:
      raise RefusedError(HTTPStatus.FORBIDDEN, "only the page may ask for that")
    fields = site_lib.fields_of(query, call.fields)
    with self.server.place():
      body = self._body() if method == "POST" else b""
      with self.server.turn():
        return site_lib.computed(call, fields, body)

  def _one(self, name: str) -> str:
    """Returns a header, '' where there is none.

    Raises:
      RefusedError: if there are several.
    """
    values = self.headers.get_all(name, [""])
    if len(values) > 1:
      raise RefusedError(HTTPStatus.BAD_REQUEST, f"more than one {name}")
    return values[0]

  def _body(self) -> bytes:
    if self._one("Content-Type") != BODY:
      raise RefusedError(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE, f"the body must be {BODY}"
      )
    length = self._one("Content-Length")
    if self._one("Transfer-Encoding") or not length:
      raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "how long is the body?")
    if not re.fullmatch("[0-9]{1,18}", length):
      raise RefusedError(HTTPStatus.BAD_REQUEST, "Content-Length: no number")
    if int(length) > MAX_BYTES:
      raise RefusedError(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        f"the file is larger than {MAX_BYTES >> 20} MiB",
      )
    try:
      body = self.rfile.read(int(length))
    except TimeoutError:
      raise RefusedError(
        HTTPStatus.REQUEST_TIMEOUT, "the file comes too slowly"
      ) from None
    if len(body) < int(length):
      raise RefusedError(HTTPStatus.BAD_REQUEST, "the file ends early")
    return body

  def _send(self, answer: Answer) -> None:
    self.connection.settimeout(_SECONDS)
    self.request_version = self.protocol_version  # older: no headers
    self.send_response(answer.status)
    for name, value in {
      **_HEADERS,
      "Content-Type": answer.kind,
      "Content-Length": str(len(answer.body)),
    }.items():
      self.send_header(name, value)
    self.end_headers()
    if self.command != "HEAD":
      self.wfile.write(answer.body)


class _Until(io.RawIOBase):
  """Reads of a socket until a time, however slowly its bytes come."""

  def __init__(self, connection: socket.socket, deadline: float):
    """Takes the socket, and the end by `time.monotonic`."""
    self._connection, self._deadline = connection, deadline

  def readable(self) -> bool:
    """Whether it can be read."""
    return True

  def readinto(self, buffer: bytearray) -> int:
    """Reads some bytes.

    Raises:
      TimeoutError: when the time is over.
    """
    left = self._deadline - time.monotonic()
    if left <= 0:
      raise TimeoutError
    self._connection.settimeout(left)
    return self._connection.recv_into(buffer)
