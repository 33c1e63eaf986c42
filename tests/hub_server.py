"""A server on this machine that answers as the Hugging Face Hub does."""

import base64
import contextlib
import dataclasses
import hashlib
import http.server
import json
import re
import threading
from collections.abc import Iterator

MAIN = "a" * 40
_RESOLVE = re.compile(r"/([\w.-]+/[\w.-]+)/resolve/([^/]+)/(.+)")
_PREUPLOAD = re.compile(r"/api/models/([\w.-]+/[\w.-]+)/preupload/main")
_COMMIT = re.compile(r"/api/models/([\w.-]+/[\w.-]+)/commit/main")
_API = re.compile(r"/api/models/([\w.-]+/[\w.-]+)(/.*)?")


@dataclasses.dataclass
class Hub:
  """What the hub has, how it misbehaves, and what it was asked.

  Attributes:
    url: its address.
    files: 'owner/name' -> commit -> name of a file -> content.
    branches: 'owner/name' -> name of a branch -> commit.
    gated: repositories whose terms nobody accepted.
    private: repositories that only `token` may see.
    token: the only valid one.
    wrong: files whose content is another than their checksum says.
    cut: files of which only so many bytes are sent.
    status: answer to everything, if it isn't 0.
    public: repositories that everybody may see; those that are created with
      the valid token are not among them unless they are asked to be.
    uploads: the commits that were made: 'message' and 'files', name -> content.
    requests: method and path of each one.
    tokens: of each request; '' for none.
  """

  url: str
  files: dict[str, dict[str, dict[str, bytes]]] = dataclasses.field(
    default_factory=dict
  )
  branches: dict[str, dict[str, str]] = dataclasses.field(default_factory=dict)
  gated: set[str] = dataclasses.field(default_factory=set)
  private: set[str] = dataclasses.field(default_factory=set)
  token: str = "hf_valid"
  wrong: set[str] = dataclasses.field(default_factory=set)
  cut: dict[str, int] = dataclasses.field(default_factory=dict)
  status: int = 0
  public: set[str] = dataclasses.field(default_factory=set)
  uploads: list[dict] = dataclasses.field(default_factory=list)
  requests: list[str] = dataclasses.field(default_factory=list)
  tokens: list[str] = dataclasses.field(default_factory=list)

  def publish(
    self, repository: str, files: dict[str, bytes], *, commit: str = MAIN
  ) -> None:
    """Adds a commit, to which the branch `main` moves."""
    self.files.setdefault(repository, {})[commit] = files
    self.branches.setdefault(repository, {})["main"] = commit


def _is_large(name: str) -> bool:
  return not name.endswith((".json", ".md"))


def _etag(name: str, content: bytes) -> str:
  if _is_large(name):
    return hashlib.sha256(content).hexdigest()
  header = f"blob {len(content)}\0".encode()
  return hashlib.sha1(header + content, usedforsecurity=False).hexdigest()


class _Handler(http.server.BaseHTTPRequestHandler):
  """Answers from the `hub` of its server."""

  protocol_version = "HTTP/1.1"

  def log_message(self, *_):
    """Keeps quiet."""

  def do_HEAD(self):
    self._handle(body=False)

  def do_GET(self):
    self._handle(body=True)

  def do_POST(self):
    hub = self.server.hub
    path = self.path.partition("?")[0]
    size = int(self.headers.get("Content-Length", 0))
    content = self.rfile.read(size)
    token = self.headers.get("authorization", "").removeprefix("Bearer ")
    hub.requests.append(f"{self.command} {path}")
    hub.tokens.append(token)
    if hub.status:
      self._answer(hub.status)
    elif path == "/api/validate-yaml":
      self._json({"errors": [], "warnings": []})
    elif token != hub.token:
      self._answer(401, {"X-Error-Code": "RepoNotFound"})
    elif path == "/api/repos/create":
      self._create(json.loads(content))
    elif match := _PREUPLOAD.fullmatch(path):
      self._json(
        {
          "files": [
            {
              "path": file["path"],
              "uploadMode": "lfs" if _is_large(file["path"]) else "regular",
              "shouldIgnore": False,
            }
            for file in json.loads(content)["files"]
          ]
        }
      )
    elif path.endswith("/info/lfs/objects/batch"):
      objects = json.loads(content)["objects"]
      for entry in objects:
        href = f"{hub.url}/upload/{entry['oid']}"
        entry["actions"] = {"upload": {"href": href}}
      self._json({"transfer": "basic", "objects": objects})
    elif match := _COMMIT.fullmatch(path):
      self._commit_files(match[1], content)
    else:
      self._answer(404)

  def do_PUT(self):
    size = int(self.headers.get("Content-Length", 0))
    oid = self.path.rpartition("/")[2]
    content = self.rfile.read(size)
    assert hashlib.sha256(content).hexdigest() == oid
    self.server.hub.requests.append(f"PUT {self.path}")
    self.server.blobs[oid] = ("", content)
    self._answer(200)

  def _create(self, fields: dict) -> None:
    hub = self.server.hub
    name = f"{fields['organization']}/{fields['name']}"
    if name in hub.files:
      self._json({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
      return
    hub.files[name], hub.branches[name] = {}, {}
    private = fields.get("visibility") == "private"
    (hub.private if private else hub.public).add(name)
    self._json({"url": f"{hub.url}/{name}"})

  def _commit_files(self, repository: str, content: bytes) -> None:
    lines = [json.loads(line) for line in content.splitlines() if line]
    upload = {"message": "", "files": {}}
    for line in lines:
      value = line["value"]
      if line["key"] == "header":
        upload["message"] = value["summary"]
      elif line["key"] == "lfsFile":
        upload["files"][value["path"]] = self.server.blobs[value["oid"]][1]
      elif line["key"] == "file":
        upload["files"][value["path"]] = base64.b64decode(value["content"])
    hub = self.server.hub
    hub.uploads.append(upload)
    commit = f"{len(hub.uploads):040x}"
    hub.publish(repository, upload["files"], commit=commit)
    self._json(
      {
        "success": True,
        "commitOid": commit,
        "commitUrl": f"{hub.url}/{repository}/commit/{commit}",
      }
    )

  def _json(self, value: object, status: int = 200) -> None:
    headers = {"Content-Type": "application/json"}
    self._answer(status, headers, json.dumps(value).encode(), True)

  def _handle(self, *, body: bool) -> None:
    hub = self.server.hub
    path = self.path.partition("?")[0]
    token = self.headers.get("authorization", "").removeprefix("Bearer ")
    hub.requests.append(f"{self.command} {path}")
    hub.tokens.append(token)
    if hub.status:
      self._answer(hub.status)
    elif path.startswith("/cdn/"):
      self._send_blob(path.rpartition("/")[2], body)
    elif match := _RESOLVE.fullmatch(path):
      self._resolve(*match.groups(), token, body)
    elif match := _API.fullmatch(path):
      if match[2]:
        self._list(match[1], match[2].split("/")[-1], token)
      elif not self._refused(match[1], token):
        private = match[1] in hub.private
        self._json({"id": match[1], "private": private, "siblings": []})
    else:
      self._answer(404)

  def _refused(self, repository: str, token: str) -> bool:
    hub = self.server.hub
    hidden = repository in hub.private and token != hub.token
    if repository not in hub.files or hidden:
      self._answer(401 if not token else 404, {"X-Error-Code": "RepoNotFound"})
    elif repository in hub.gated:
      self._answer(403, {"X-Error-Code": "GatedRepo"})
    else:
      return False
    return True

  def _commit(self, repository: str, revision: str) -> str | None:
    hub = self.server.hub
    commit = hub.branches[repository].get(revision, revision)
    if commit in hub.files[repository]:
      return commit
    self._answer(404, {"X-Error-Code": "RevisionNotFound"})
    return None

  def _resolve(
    self, repository: str, revision: str, name: str, token: str, body: bool
  ) -> None:
    if self._refused(repository, token):
      return
    commit = self._commit(repository, revision)
    if commit is None:
      return
    content = self.server.hub.files[repository][commit].get(name)
    headers = {"X-Repo-Commit": commit}
    if content is None:
      self._answer(404, headers | {"X-Error-Code": "EntryNotFound"})
      return
    etag = _etag(name, content)
    if _is_large(name):
      self.server.blobs[etag] = (name, content)
      headers |= {
        "X-Linked-Etag": f'"{etag}"',
        "X-Linked-Size": str(len(content)),
        # Another host, which gets no token.
        "Location": f"{self._cdn()}/cdn/{etag}?signature=secret",
      }
      self._answer(302, headers)
    else:
      self._answer(200, headers | {"ETag": f'"{etag}"'}, content, body)

  def _cdn(self) -> str:
    return self.server.hub.url.replace("127.0.0.1", "localhost")

  def _send_blob(self, etag: str, body: bool) -> None:
    name, content = self.server.blobs[etag]
    if name in self.server.hub.wrong:
      content = content[:-1] + b"?"
    cut = self.server.hub.cut.get(name)
    headers = {"Content-Length": str(len(content))} if cut else {}
    self._answer(200, headers, content[:cut], body)

  def _list(self, repository: str, revision: str, token: str) -> None:
    if self._refused(repository, token):
      return
    commit = self._commit(repository, revision or "main")
    if commit is not None:
      files = self.server.hub.files[repository][commit]
      described = [
        {"type": "file", "path": name, "size": len(content), "oid": commit}
        for name, content in files.items()
      ]
      self._json(described)

  def _answer(
    self,
    status: int,
    headers: dict[str, str] | None = None,
    content: bytes = b"",
    body: bool = False,
  ) -> None:
    self.send_response(status)
    fields = {"Content-Length": str(len(content))} | (headers or {})
    for name, value in fields.items():
      self.send_header(name, value)
    self.end_headers()
    if body:
      self.wfile.write(content)
    if int(fields["Content-Length"]) != len(content):
      self.close_connection = True


class _Server(http.server.ThreadingHTTPServer):
  daemon_threads = True
  hub: Hub

  def handle_error(self, *_):
    """A client that goes away is part of the tests."""


@contextlib.contextmanager
def serving() -> Iterator[Hub]:
  """Serves a hub at `hub.url` while the context lasts."""
  with _Server(("127.0.0.1", 0), _Handler) as server:
    server.hub = Hub(f"http://127.0.0.1:{server.server_port}")
    server.blobs = {}
    thread = threading.Thread(target=server.serve_forever, args=[0.01])
    thread.start()
    try:
      yield server.hub
    finally:
      server.shutdown()
      thread.join()
