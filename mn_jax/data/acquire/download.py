"""Downloads a file over HTTPS and checks it against a known hash, with pooch.

A file is there whole, with the right hash, or not at all. A download that was
stopped starts again.
"""

import contextlib
import pathlib
import re
import threading
import time
import urllib.parse
from collections.abc import Callable
from typing import Any

from mn_jax.errors import InputError

# Megabytes so far and in all, rounded up; equal where the server does not say.
DownloadProgress = Callable[[int, int], None]

_HASH_DIGITS = {"sha256": 64, "md5": 32}
# As little as this must arrive within the time of a connection's silence: a
# server that sends a byte now and then would be waited for forever.
_CHUNK_BYTES = 1 << 16
# Servers that are busy or broken for the moment; other refusals are final.
_BUSY = (408, 425, 429, 500, 502, 503, 504)
# A server on this machine needs no encryption; that is for tests and mirrors.
_LOCAL = "127.0.0.1"
_LOST = "the connection broke off or was too slow"


def download(
  url: str,
  path: pathlib.Path,
  *,
  known_hash: str,
  progress: DownloadProgress | None = None,
  timeout: float = 30.0,
  tries: int = 5,
  pause: float = 1.0,
) -> None:
  """Downloads a file, unless it is there with the hash that it should have.

  Args:
    url: https, or http at 127.0.0.1.
    path: where to put the file; its folder is created.
    known_hash: 'sha256:HEX', or 'md5:HEX', which detects damage but not deceit.
    progress: called as bytes arrive.
    timeout: seconds without an answer, or with less than 64 KiB of the file,
      after which a connection counts as lost.
    tries: number of connections before giving up.
    pause: seconds before the second try, doubled for each one after it.

  Raises:
    InputError: for a refused address or answer, a file of another hash, a
      place that cannot be written, or a connection that stays lost.
  """
  import pooch

  check_url(url)
  check_hash(known_hash)
  if path.exists():
    kind, _, expected = known_hash.partition(":")
    actual = pooch.file_hash(path, alg=kind)
    if actual != expected:
      raise InputError(
        f"{path}: is there with {kind} {actual}, expected {expected}; valid: "
        "another place, or this one once that file is moved away"
      )
    return
  for attempt in range(tries):
    if attempt:
      time.sleep(pause * 2 ** (attempt - 1))
    problem = _try_once(url, path, known_hash, progress, timeout)
    if problem is None:
      path.chmod(0o644)  # pooch lets its owner alone read it
      return
  raise InputError(
    f"{public_url(url)}: {problem} ({tries} tries); valid: a connection to it, "
    "and the same command again"
  )


def _try_once(
  url: str,
  path: pathlib.Path,
  known_hash: str,
  progress: DownloadProgress | None,
  timeout: float,
) -> str | None:
  """Connects once; returns why to try again, or None when the file is there."""
  import pooch
  import requests

  shown = public_url(url)
  bar = _ProgressBar(progress)
  responses = []
  ended = threading.Event()

  def watch(response: requests.Response, **_) -> None:
    responses.append(response)
    check_redirect(response)
    threading.Thread(
      target=_end_if_slow, args=(response, bar, timeout, ended), daemon=True
    ).start()

  pooch.get_logger().setLevel("WARNING")  # it would print the URL's query
  downloader = pooch.HTTPDownloader(
    progressbar=bar,
    chunk_size=_CHUNK_BYTES,
    timeout=timeout,
    headers={"User-Agent": "mn_jax", "Accept-Encoding": "identity"},
    hooks={"response": watch},
  )
  try:
    pooch.retrieve(
      url, known_hash, path.name, path.parent, downloader=downloader
    )
  except requests.exceptions.SSLError:
    raise InputError(
      f"{shown}: the server's certificate is refused; valid: a connection that "
      "nobody intercepts"
    ) from None
  except requests.HTTPError as error:
    problem = f"the server answers {error.response.status_code}"
    if error.response.status_code in _BUSY:
      return problem
    raise InputError(
      f"{shown}: {problem} {error.response.reason}; valid: the address of a "
      "file that anybody may have"
    ) from None
  except requests.RequestException as error:
    return f"{_LOST} ({type(error).__name__})"
  except InputError:  # of a redirect
    raise
  except ValueError as error:  # of the hash
    if bar.is_slow:  # broken off where nothing says how long the file is
      return _LOST
    problem, *_ = str(error).split(". ")
    raise InputError(
      f"{shown}: {problem}; valid: the file of that hash (what came is deleted)"
    ) from None
  except OSError as error:
    raise InputError(
      f"{path}: cannot be written ({error.strerror or error}); valid: a folder "
      "you may write, with room for the file"
    ) from None
  finally:
    ended.set()
    for response in responses:
      response.close()  # after an error pooch leaves it open
  return None


def _end_if_slow(
  response: Any, bar: "_ProgressBar", timeout: float, ended: threading.Event
) -> None:
  """Breaks a connection off once no chunk arrived in so many seconds."""
  done = bar.done
  while not (ended.wait(timeout) or response.raw.closed):
    if bar.done == done:
      bar.is_slow = True
      with contextlib.suppress(ValueError):  # it has just ended by itself
        response.raw.shutdown()
      return
    done = bar.done


class _ProgressBar:
  """The progress bar that pooch calls; `total` is in bytes, 0 if unknown."""

  def __init__(self, report: DownloadProgress | None):
    self.total = self.done = 0
    self.is_slow = False
    self._report = report

  def update(self, size: int) -> None:
    self.done += size  # pooch rounds it up to whole chunks
    if self._report:
      total = self.total or self.done
      done = min(self.done, total)
      self._report(-(-done // 1_000_000), -(-total // 1_000_000))

  def reset(self) -> None:
    """Is called at the end, before an update by the total."""

  def close(self) -> None:
    """Is called at the end."""


def public_url(url: str) -> str:
  """Returns a URL without user, password, query and fragment."""
  parts = urllib.parse.urlsplit(url)
  host = parts.netloc.rpartition("@")[2]
  return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def check_hash(known_hash: str) -> None:
  """Refuses a hash that is not 'sha256:HEX' or 'md5:HEX' in lower case.

  Raises:
    InputError: if it has another number of digits, or others.
  """
  kind, _, digits = known_hash.partition(":")
  count = _HASH_DIGITS[kind]
  if not re.fullmatch(f"[0-9a-f]{{{count}}}", digits):
    raise InputError(
      f"{kind}: got {digits!r}; valid: {count} digits of 0-9 and a-f"
    )


def check_url(url: str) -> None:
  """Raises an InputError unless a URL is https, or http at 127.0.0.1."""
  try:
    parts = urllib.parse.urlsplit(url)
    port_is_valid = parts.port != 0
  except ValueError:
    port_is_valid = False
  printable = url.isascii() and url.isprintable() and " " not in url
  if not (port_is_valid and printable):
    raise InputError(
      "url: got what is no address; valid: https://HOST/PATH, with other "
      "characters written as %XX"
    )
  if "@" in parts.netloc:
    raise InputError(
      f"url: got {public_url(url)!r} with a user name or password before the "
      "host; valid: an address without"
    )
  local = (parts.scheme, parts.hostname) == ("http", _LOCAL)
  if not local and not (parts.scheme == "https" and parts.hostname):
    raise InputError(
      f"url: got {public_url(url)!r}; valid: an https:// address"
    )


def check_redirect(response: Any) -> None:
  """Raises an InputError for a redirect to where a download could not start."""
  if not response.is_redirect:
    return
  try:
    target = urllib.parse.urljoin(response.url, response.headers["location"])
    check_url(target)
    # Only this machine may lead to this machine.
    allowed = not target.startswith("http:") or response.url.startswith("http:")
  except ValueError:  # an InputError among them
    allowed = False
  if not allowed:
    raise InputError(
      f"url: got {public_url(response.url)!r}, which leads to another kind of "
      "address; valid: one that leads to an https:// address"
    )
