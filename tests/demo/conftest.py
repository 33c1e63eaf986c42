"""What the tests of the page share: small runs, a server, raw requests."""

import contextlib
import json
import socket
import threading

import pytest

from mn_jax.demo import server
from mn_jax.demo.site import Answer, Call, Site
from mn_jax.errors import InputError


@contextlib.contextmanager
def serving(site):
  """Serves a site while the context lasts; yields the server."""
  with server.Server() as running:
    running.site = site
    thread = threading.Thread(target=running.serve_forever, args=[0.01])
    thread.start()
    try:
      yield running
    finally:
      running.shutdown()
      thread.join()


class Client:
  """Sends requests byte by byte as a test says, to a server."""

  def __init__(self, port):
    self.port = port

  def send(self, content, *, end=False):
    """Sends bytes; returns (status, headers, body) of the answer."""
    with self.connect() as connection:
      connection.sendall(content)
      if end:
        connection.shutdown(socket.SHUT_WR)
      return self.receive(connection)

  def connect(self):
    return socket.create_connection((server.ADDRESS, self.port), timeout=30)

  def receive(self, connection):
    answer = b""
    while received := connection.recv(1 << 16):
      answer += received
    head, _, body = answer.partition(b"\r\n\r\n")
    if not head:
      return None, {}, b""
    first, *lines = head.decode().split("\r\n")
    return int(first.split()[1]), dict(x.split(": ", 1) for x in lines), body

  def request(self, method, path, *, body=None, **headers):
    """A request as the page makes it, but for some headers; None drops one."""
    fields = {"Host": f"127.0.0.1:{self.port}"}
    if body is not None:
      fields["Content-Type"] = server.BODY
      fields["Content-Length"] = str(len(body))
    fields |= {name.replace("_", "-"): x for name, x in headers.items()}
    lines = [f"{method} {path} HTTP/1.1"]
    lines += [f"{name}: {x}" for name, x in fields.items() if x is not None]
    return self.send("\r\n".join([*lines, "", ""]).encode() + (body or b""))

  def ask(self, method, path, **more):
    """As `request`; returns the status and the value of the JSON."""
    status, _, body = self.request(method, path, **more)
    return status, json.loads(body)


def fail(fields, body):
  raise InputError(f"got {len(body)} bytes; valid: none")


def crash(fields, body):
  raise ZeroDivisionError


SITE = Site(
  pages={"/": Answer(b"<p>page", "text/html")},
  calls={
    ("GET", "/fields"): Call(lambda fields, _: dict(fields), ("a", "b")),
    ("POST", "/length"): Call(lambda _, body: len(body)),
    ("POST", "/fail"): Call(fail),
    ("POST", "/crash"): Call(crash),
    ("GET", "/nan"): Call(lambda *_: float("nan")),
  },
)


@pytest.fixture
def client():
  """A client of a server with `SITE`."""
  with serving(SITE) as running:
    yield Client(running.server_port)
