"""Tests of the server, against requests that are not what the page sends."""

import contextlib
import select
import threading
import time

import pytest

from mn_jax.demo import server
from mn_jax.demo.site import Call, Site
from mn_jax.errors import InputError
from tests.demo.conftest import SITE, Client, serving


def test_pages_and_calls_are_answered(client):
  status, headers, body = client.request("GET", "/")
  assert (status, body) == (200, b"<p>page")
  assert headers["Content-Type"] == "text/html"
  assert client.ask("GET", "/fields?a=1&b=x%20%26y") == (
    200,
    {"a": "1", "b": "x &y"},
  )
  own = {"Origin": f"http://127.0.0.1:{client.port}"}
  fetched = {"Sec_Fetch_Site": "same-origin"}
  for more in ({}, own, fetched, {"Host": "LOCALHOST:9"}):
    assert client.ask("POST", "/length", body=b"12345", **more) == (200, 5)
  assert client.ask("POST", "/length", body=b"") == (200, 0)


def test_every_answer_lets_the_browser_load_nothing_else(client):
  for method, path in (("GET", "/"), ("GET", "/no"), ("PUT", "/")):
    _, headers, _ = client.request(method, path)
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.parametrize(
  "host",
  [
    "attacker.example",
    "127.0.0.1.attacker.example",
    "localhost.attacker.example:80",
    "attacker.example:127.0.0.1",
    "127.0.0.1@attacker.example",
    "0.0.0.0:80",
    "",
    None,
  ],
)
def test_other_hosts_are_refused(client, host):
  for method, path in (("GET", "/"), ("GET", "/fields")):
    assert client.ask(method, path, Host=host)[0] == 403


def test_two_hosts_are_refused(client):
  line = f"Host: 127.0.0.1:{client.port}\r\n"
  status, _, _ = client.send(f"GET / HTTP/1.1\r\n{line}{line}\r\n".encode())
  assert status == 400


@pytest.mark.parametrize(
  "headers",
  [
    {"Origin": "http://attacker.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},  # another program of this machine
    {"Sec_Fetch_Site": "cross-site"},
    {"Sec_Fetch_Site": "same-site"},
  ],
)
def test_other_sites_may_ask_for_nothing(client, headers):
  assert client.ask("POST", "/length", body=b"1", **headers)[0] == 403
  assert client.ask("GET", "/fields", **headers)[0] == 403


def test_forms_of_other_sites_cannot_post(client):
  """A browser sends these kinds without asking the server first."""
  for kind in ("text/plain", "multipart/form-data; boundary=x", None):
    status, _ = client.ask("POST", "/length", body=b"1", Content_Type=kind)
    assert status == 415
  status, headers, _ = client.request("OPTIONS", "/length")
  assert status == 501
  assert not [name for name in headers if name.startswith("Access-Control")]


@pytest.mark.parametrize(
  "path",
  [
    "/../../etc/passwd",
    "/..%2f..%2fetc/passwd",
    "/page.css/../../server.py",
    "//etc/passwd",
    "/index.html",
    "/\0",
    "http://127.0.0.1/",
    "*",
    "/length/",
    "/LENGTH",
  ],
)
def test_only_known_paths_have_anything(client, path):
  status, value = client.ask("GET", path)
  assert (status, [*value]) in ((404, ["error"]), (400, ["error"]))


def test_methods(client):
  status, headers, body = client.request("HEAD", "/")
  assert (status, headers["Content-Length"], body) == (200, "7", b"")
  for method, path in (
    ("HEAD", "/fields"),
    ("POST", "/"),
    ("POST", "/fields"),
    ("GET", "/length"),
  ):
    status, _, body = client.request(method, path)
    assert status == 405
    assert (body == b"") == (method == "HEAD")
  for method in ("PUT", "DELETE", "TRACE", "CONNECT", "X" * 100):
    assert client.ask(method, "/length")[0] == 501


def test_queries(client):
  for query in ("c=1", "a=1&a=2", "a", "a=1&" * 20, "a=1;b=2&c"):
    assert client.ask("GET", f"/fields?{query}")[0] == 400
  assert client.ask("GET", "/fields?a=") == (200, {"a": ""})


@pytest.mark.parametrize(
  ("headers", "status"),
  [
    ({"Content_Length": None}, 411),
    ({"Content_Length": ""}, 411),
    ({"Content_Length": "-1"}, 400),
    ({"Content_Length": "+4"}, 400),
    ({"Content_Length": "4.0"}, 400),
    ({"Content_Length": "1_0"}, 400),
    ({"Content_Length": "٤"}, 400),
    ({"Content_Length": "4, 4"}, 400),
    ({"Content_Length": "9" * 18}, 413),
    ({"Content_Length": "9" * 99}, 400),
    ({"Content_Length": str(server.MAX_BYTES + 1)}, 413),
    ({"Transfer_Encoding": "chunked"}, 411),
    ({"Transfer_Encoding": "chunked", "Content_Length": None}, 411),
  ],
)
def test_lengths_of_bodies(client, headers, status):
  found = client.ask("POST", "/length", body=b"0\r\n\r\n", **headers)
  assert found[0] == status


def test_a_body_that_ends_early_is_refused(client):
  head = (
    f"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Type: {server.BODY}"
    "\r\nContent-Length: 10\r\n\r\n"
  ).encode()
  status, _, body = client.send(head + b"123", end=True)
  assert status == 400
  assert b"ends early" in body
  assert client.send(head + b"1234567890abc")[2] == b"10"


def test_a_huge_body_gets_an_answer(client):
  """It is not read, and yet its client learns why."""
  body = bytes(server.MAX_BYTES + 1)
  status, value = client.ask("POST", "/length", body=body)
  assert status == 413
  assert "larger than 32 MiB" in value["error"]
  status, value = client.ask("POST", "/length", body=body[:-1])
  assert (status, value) == (200, server.MAX_BYTES)


@pytest.mark.parametrize(
  "content",
  [
    b"",
    b"\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
    bytes(range(256)) * 9,
  ],
)
def test_no_request_ends_the_server(client, content):
  status, _, _ = client.send(content, end=True)
  assert status is None or 400 <= status < 600
  assert client.request("GET", "/")[0] == 200


def test_what_fails_is_one_line(client, capsys):
  assert client.ask("POST", "/fail", body=b"abc") == (
    422,
    {"error": "got 3 bytes; valid: none"},
  )
  assert capsys.readouterr().err == ""
  for method, path, name in (
    ("POST", "/crash", "ZeroDivisionError"),
    ("GET", "/nan", "ValueError"),
  ):
    body = b"" if method == "POST" else None
    status, value = client.ask(method, path, body=body)
    assert (status, value) == (
      500,
      {"error": "it failed; the terminal says how"},
    )
    assert name in capsys.readouterr().err
  assert client.request("GET", "/")[0] == 200


def test_slow_clients_are_dropped(monkeypatch, capsys):
  monkeypatch.setattr(server, "_SECONDS", 0.5)
  with serving(SITE) as running:
    client = Client(running.server_port)
    for start in (b"", b"GET / HTTP/1.1\r\n"):
      with client.connect() as connection:
        connection.sendall(start)
        connection.settimeout(0.1)
        started, answer = time.monotonic(), None
        while answer is None and time.monotonic() < started + 20:
          try:
            answer = connection.recv(100)
          except TimeoutError:
            # Each byte comes soon enough, all of them never do.
            connection.sendall(b"a" if start else b"\n"[:0])
          except ConnectionError:
            answer = b""
        assert answer == b""
    head = (
      f"POST /length HTTP/1.1\r\nHost: localhost\r\nContent-Type: {server.BODY}"
      "\r\nContent-Length: 10\r\n\r\n"
    ).encode()
    status, _, body = client.send(head + b"123")
    assert status == 408
    assert b"too slowly" in body
    assert client.request("GET", "/")[0] == 200
  assert capsys.readouterr().err == ""


@pytest.fixture
def slow():
  """A site whose call waits; how many were in it at once, and what ends it."""
  inside, most, ready = [], [], threading.Event()

  def wait(fields, body):
    inside.append(1)
    most.append(len(inside))
    ready.wait(30)
    inside.pop()
    return 1

  calls = {("GET", "/wait"): Call(wait), **SITE.calls}
  return Site(SITE.pages, calls), most, ready


def gather(client, count, path="/wait"):
  """Starts requests at the same time; returns threads and their statuses."""
  statuses = []

  def ask():
    statuses.append(client.request("GET", path)[0])

  threads = [threading.Thread(target=ask) for _ in range(count)]
  for thread in threads:
    thread.start()
  return threads, statuses


def test_one_request_is_worked_on_and_few_wait(slow):
  site, most, ready = slow
  with serving(site) as running:
    client = Client(running.server_port)
    threads, statuses = gather(client, 12)
    deadline = time.monotonic() + 20
    while len(statuses) < 4 and time.monotonic() < deadline:
      time.sleep(0.01)
    assert statuses == [503] * 4
    # The page itself is there all the same.
    assert client.request("GET", "/")[0] == 200
    ready.set()
    for thread in threads:
      thread.join()
    assert sorted(statuses) == [200] * 8 + [503] * 4
    assert max(most) == 1
    assert client.request("GET", "/wait")[0] == 200


def test_connections_are_bounded():
  with serving(SITE) as running, contextlib.ExitStack() as stack:
    client = Client(running.server_port)
    idle = [stack.enter_context(client.connect()) for _ in range(40)]
    # Those that are too many are closed at once.
    closed, deadline = [], time.monotonic() + 20
    while len(closed) < 8 and time.monotonic() < deadline:
      closed, _, _ = select.select(idle, [], [], 1)
    time.sleep(0.1)
    closed, _, _ = select.select(idle, [], [], 0)
    assert [connection.recv(1) for connection in closed] == [b""] * 8
    stack.close()
    # The others make room for new ones as they end.
    status = None
    while status is None and time.monotonic() < deadline:
      with contextlib.suppress(ConnectionError):
        status, _, _ = client.request("GET", "/")
    assert status == 200


def test_clients_that_go_away_are_nothing_to_speak_of(slow, capsys):
  site, _, ready = slow
  with serving(site) as running:
    client = Client(running.server_port)
    with client.connect() as connection:
      connection.sendall(b"GET /wait HTTP/1.1\r\nHost: localhost\r\n\r\n")
      time.sleep(0.1)
    ready.set()
    assert client.request("GET", "/wait")[0] == 200
  assert capsys.readouterr().err == ""


def test_a_port_that_cannot_be_had_is_one_line():
  with (
    serving(SITE) as running,
    pytest.raises(
      InputError, match=f"--port: got {running.server_port} .*in use.*; valid: "
    ),
  ):
    server.Server(running.server_port)


def test_it_listens_on_this_machine_alone():
  with serving(SITE) as running:
    assert running.socket.getsockname()[0] == "127.0.0.1"
    assert running.url == f"http://127.0.0.1:{running.server_port}/"
