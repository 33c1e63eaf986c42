"""Which addresses are asked for a file, and what of one may be shown."""

import urllib.parse
import urllib.request

from mn_jax.errors import InputError

# A server on this machine needs no encryption; that is for tests and mirrors.
_LOCAL = "127.0.0.1"


def public(url: str) -> str:
  """A URL without what may be secret: user, password, query and fragment."""
  parts = urllib.parse.urlsplit(url)
  host = parts.netloc.rpartition("@")[2]
  return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def check(url: str) -> None:
  """Refuses what is no address, or one that others could read or forge.

  Args:
    url: valid are https, and http at 127.0.0.1.

  Raises:
    InputError: if it is refused.
  """
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
      f"url: got {public(url)!r} with a user name or password before the host; "
      "valid: an address without"
    )
  local = (parts.scheme, parts.hostname) == ("http", _LOCAL)
  if not local and not (parts.scheme == "https" and parts.hostname):
    raise InputError(f"url: got {public(url)!r}; valid: an https:// address")


class Redirects(urllib.request.HTTPRedirectHandler):
  """Follows redirects to where a download could begin, and nowhere else."""

  def http_error_302(self, req, fp, code, msg, headers):
    """Follows one, or ends the connection.

    Raises:
      InputError: if it is refused.
    """
    try:
      return super().http_error_302(req, fp, code, msg, headers)
    except InputError:
      fp.close()
      raise
    except ValueError:
      fp.close()
      raise InputError(
        f"url: got {public(req.full_url)!r}, which leads to no address; valid: "
        "one that leads to an https:// address"
      ) from None

  http_error_301 = http_error_303 = http_error_302
  http_error_307 = http_error_308 = http_error_302

  def redirect_request(self, req, fp, code, msg, headers, newurl):
    """Checks an address before it is asked.

    Raises:
      InputError: if it is refused.
    """
    here = urllib.parse.urlsplit(req.full_url).hostname == _LOCAL
    there = urllib.parse.urlsplit(newurl)
    if there.scheme != "https" and not (here and there.hostname == _LOCAL):
      raise InputError(
        f"url: got {public(req.full_url)!r}, which leads to "
        f"{public(newurl)!r}; valid: one that leads to an https:// address"
      )
    check(newurl)
    return super().redirect_request(req, fp, code, msg, headers, newurl)
