"""One file over HTTPS: resumed, checked and put in its place whole.

What arrives goes to `NAME.partial`, and beside it what the server calls this
version of the file, so that a later run continues it and no other version.
"""

import contextlib
import dataclasses
import hashlib
import http.client
import json
import os
import pathlib
import re
import shutil
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import filelock

from mn_jax.data.acquire import address
from mn_jax.errors import InputError

# (bytes so far, bytes in all or None where the server does not say)
Progress = Callable[[int, int | None], None]

_DIGITS = {"sha256": 64, "md5": 32}
_CHUNK_BYTES = 1 << 18
# Servers that are busy or broken for the moment; other refusals are final.
_PASSING = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_PAUSE = 30.0


@dataclasses.dataclass(frozen=True)
class Checksum:
  """What a file's bytes are known by.

  Attributes:
    kind: 'sha256', or 'md5', which tells damage but no longer deceit by
      whoever made the file.
    value: lower-case hex digits.
  """

  kind: str
  value: str

  def __post_init__(self):
    """Refuses what no digest of this kind looks like."""
    digits = _DIGITS.get(self.kind)
    if digits is None:
      raise InputError(
        f"checksum: got kind {self.kind!r}; valid: {', '.join(_DIGITS)}"
      )
    if not re.fullmatch(f"[0-9a-f]{{{digits}}}", self.value):
      raise InputError(
        f"{self.kind}: got {self.value!r}; valid: {digits} digits of 0-9 and "
        "a-f"
      )

  def of(self, path: pathlib.Path) -> str:
    """The hex digest of a file's bytes."""
    with path.open("rb") as file:
      # Where md5 is switched off for security, it still tells damage.
      return hashlib.file_digest(
        file, lambda: hashlib.new(self.kind, usedforsecurity=False)
      ).hexdigest()


class _TryAgainError(Exception):
  """The connection was lost or the server is busy."""


def download(
  url: str,
  path: pathlib.Path,
  *,
  digest: Checksum,
  progress: Progress | None = None,
  max_bytes: int = 4 << 30,
  timeout: float = 30.0,
  tries: int = 5,
  pause: float = 1.0,
) -> None:
  """Makes sure that `path` is the file with this digest.

  Only checks it if it is there. Other processes that want the same file wait
  for the first one.

  Args:
    url: https, or http at 127.0.0.1.
    path: where to put the file; its folder is made.
    digest: of the whole file.
    progress: called as bytes arrive.
    max_bytes: more than this is refused.
    timeout: seconds of silence after which a connection counts as lost.
    tries: connections in a row that bring the file no further.
    pause: seconds before the second try, doubled for each one after it.

  Raises:
    InputError: for a refused address or answer, a file of another digest or
      size, a full disk, or a connection that stays lost.
  """
  address.check(url)
  try:
    path.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(path.with_name(f"{path.name}.lock")):
      if path.exists():
        _check_present(path, digest)
        return
      partial = _Partial(path, url)
      failures, most = 0, partial.size()
      while True:
        try:
          _fetch(partial, progress, max_bytes, timeout)
          break
        except _TryAgainError as error:
          # New bytes are progress, however often the connection breaks; the
          # same ones again are not.
          failures = 1 if partial.size() > most else failures + 1
          most = max(most, partial.size())
          if failures >= tries:
            raise InputError(
              f"{partial.address}: {error} ({tries} tries); valid: a "
              "connection to it, and the same command again, which continues"
            ) from None
          time.sleep(min(pause * 2 ** (failures - 1), _LONGEST_PAUSE))
      partial.finish(path, digest)
  except OSError as error:
    raise InputError(
      f"{path}: cannot be written ({error.strerror or error}); valid: a folder "
      "you may write, with room for the file"
    ) from None


class _Partial:
  """What is there of a file, and which version of it that is.

  Attributes:
    url: of the file.
    address: what of that may be shown.
    path: of the bytes so far.
  """

  def __init__(self, final: pathlib.Path, url: str):
    """Finds what an earlier run left beside `final`."""
    self.url, self.address = url, address.public(url)
    self.path = final.with_name(f"{final.name}.partial")
    self._notes = final.with_name(f"{final.name}.partial.json")

  def size(self) -> int:
    """In bytes; 0 if there is nothing."""
    return self.path.stat().st_size if self.path.exists() else 0

  def validator(self) -> str | None:
    """What the server called this version, if it can be continued."""
    try:
      notes = json.loads(self._notes.read_text())
      known = notes["address"] == self.address and self.size() > 0
      return str(notes["validator"]) if known else None
    except (OSError, ValueError, KeyError, TypeError):
      return None

  def begin(self, validator: str | None) -> None:
    """Empties it for a version of the file."""
    self.discard()
    if validator is not None:
      self._notes.write_text(
        json.dumps({"address": self.address, "validator": validator})
      )

  def discard(self) -> None:
    """Deletes it."""
    self._notes.unlink(missing_ok=True)
    self.path.unlink(missing_ok=True)

  def finish(self, final: pathlib.Path, digest: Checksum) -> None:
    """Checks the whole and moves it to its place.

    Raises:
      InputError: if it is another file than expected.
    """
    got = digest.of(self.path)
    if got != digest.value:
      self.discard()
      raise InputError(
        f"{self.address}: got {digest.kind} {got}, expected {digest.value}; "
        "valid: the file of that checksum (what came is deleted)"
      )
    with self.path.open("rb") as file:
      os.fsync(file.fileno())
    self.path.replace(final)
    self._notes.unlink(missing_ok=True)


def _check_present(path: pathlib.Path, digest: Checksum) -> None:
  """Refuses another file at the same place.

  Raises:
    InputError: if there is one.
  """
  got = digest.of(path)
  if got != digest.value:
    raise InputError(
      f"{path}: is there with {digest.kind} {got}, expected {digest.value}; "
      "valid: another place, or this one once that file is moved away"
    )


def _fetch(
  partial: _Partial,
  progress: Progress | None,
  max_bytes: int,
  timeout: float,
) -> None:
  """Connects once and takes what is missing.

  Raises:
    _TryAgainError: if the file is not complete then.
    InputError: if it cannot be had.
  """
  with _ask(partial, timeout) as response:
    if response.status == 416:
      if _size_of_whole(response) == partial.size():
        return  # it was complete
      partial.discard()
      raise _TryAgainError("the file has become shorter")
    total = _prepare(partial, response)
    _check_room(partial, total, max_bytes)
    done = partial.size()
    with partial.path.open("ab") as file:
      while True:
        with _network_errors(partial):
          chunk = response.read1(_CHUNK_BYTES)
        if not chunk:
          break
        done += len(chunk)
        _check_cap(partial, done, max_bytes)
        file.write(chunk)
        if progress is not None:
          progress(done, total)
  if total is not None and done < total:
    raise _TryAgainError("the connection broke off")


def _ask(partial: _Partial, timeout: float) -> http.client.HTTPResponse:
  """Asks for what is missing; answers of 200, 206 and 416 come back.

  Raises:
    _TryAgainError: if there is no answer.
    InputError: if it is a refusal.
  """
  # Compressed on the way, the bytes would not be those of the checksum.
  headers = {"User-Agent": "mn_jax", "Accept-Encoding": "identity"}
  validator = partial.validator()
  if validator is not None:
    headers["Range"] = f"bytes={partial.size()}-"
    headers["If-Range"] = validator
  opener = urllib.request.build_opener(address.Redirects)
  request = urllib.request.Request(partial.url, headers=headers)
  with _network_errors(partial):
    try:
      return opener.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
      if error.code == 416 and validator is not None:
        return error
      error.close()
      if error.code in _PASSING:
        raise _TryAgainError(f"the server answers {error.code}") from None
      phrase = http.client.responses.get(error.code, "")
      raise InputError(
        f"{partial.address}: the server answers {error.code} {phrase}; valid: "
        "the address of a file that anybody may have"
      ) from None


def _prepare(
  partial: _Partial, response: http.client.HTTPResponse
) -> int | None:
  """Makes a partial file what an answer continues; returns the whole size.

  Raises:
    _TryAgainError: if it continues something else.
    InputError: if the bytes are not the file's.
  """
  coding = response.headers.get("Content-Encoding", "identity")
  if coding != "identity":
    raise InputError(
      f"{partial.address}: the server answers in {coding!r}; valid: the file's "
      "bytes as they are"
    )
  version = _version(response)
  if response.status != 206:
    partial.begin(version)
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None
  total = _size_of_whole(response)
  place = response.headers.get("Content-Range", "").partition("/")[0]
  # Servers that know no If-Range answer so for another version, too.
  if (
    total is None
    or place != f"bytes {partial.size()}-{total - 1}"
    or version not in (None, partial.validator())
  ):
    partial.discard()
    raise _TryAgainError("the server continues another file")
  return total


def _check_room(partial: _Partial, total: int | None, max_bytes: int) -> None:
  """Refuses a file that its place has no room for.

  Raises:
    InputError: if it is too large.
  """
  if total is None:
    return
  _check_cap(partial, total, max_bytes)
  free = shutil.disk_usage(partial.path.parent).free
  missing = total - partial.size()
  if missing > free:
    if missing == total:
      partial.discard()
    raise InputError(
      f"{partial.path.parent}: got {free / 1e6:,.0f} MB free; valid: a folder "
      f"with {missing / 1e6:,.0f} MB"
    )


def _check_cap(partial: _Partial, size: int, max_bytes: int) -> None:
  """Refuses a file above the limit, and deletes what is there of it.

  Raises:
    InputError: if it is.
  """
  if size > max_bytes:
    partial.discard()
    raise InputError(
      f"{partial.address}: got {size:,} bytes or more; valid: up to "
      f"{max_bytes:,}"
    )


@contextlib.contextmanager
def _network_errors(partial: _Partial) -> Iterator[None]:
  """Tells what of a connection's errors may pass.

  Raises:
    _TryAgainError: for one that may.
    InputError: for one that stays.
  """
  try:
    yield
  except (OSError, http.client.HTTPException) as error:
    reason = getattr(error, "reason", error)
    if isinstance(reason, ssl.SSLCertVerificationError):
      raise InputError(
        f"{partial.address}: the certificate is refused "
        f"({reason.verify_message}); valid: a connection that nobody intercepts"
      ) from None
    raise _TryAgainError(
      f"the connection broke off ({type(reason).__name__})"
    ) from None


def _size_of_whole(response: http.client.HTTPResponse) -> int | None:
  """What the Content-Range of an answer says of the whole file, in bytes."""
  found = re.fullmatch(
    r"bytes (?:\*|\d+-\d+)/(\d+)", response.headers.get("Content-Range", "")
  )
  return int(found[1]) if found else None


def _version(response: http.client.HTTPResponse) -> str | None:
  """What tells this version of the file from others, for If-Range.

  A weak ETag names contents that are merely equivalent.
  """
  tag = response.headers.get("ETag", "")
  if tag and not tag.startswith("W/"):
    return tag
  return response.headers.get("Last-Modified")
