"""What a server has: pages, and calls that compute an answer."""

import dataclasses
import json
import traceback
import urllib.parse
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from mn_jax.data import decode
from mn_jax.errors import InputError, RunError, in_one_line

_MAX_FIELDS = 9  # of a query


class RefusedError(Exception):
  """A request is not answered.

  Attributes:
    status: of the answer.
  """

  def __init__(self, status: HTTPStatus, text: str):
    """Takes the status, and a line that says why."""
    self.status = status
    super().__init__(text)


@dataclasses.dataclass(frozen=True)
class Answer:
  """What a client gets.

  Attributes:
    body: its bytes.
    kind: its media type.
    status: of HTTP.
  """

  body: bytes
  kind: str
  status: HTTPStatus = HTTPStatus.OK


@dataclasses.dataclass(frozen=True)
class Call:
  """What computes the answer to a request, as a value that JSON can hold.

  Attributes:
    function: takes the fields of the query, and the body of a POST; raises an
      InputError or DecodeError for what its user can change.
    fields: that the query may have.
  """

  function: Callable[[Mapping[str, str], bytes], Any]
  fields: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Site:
  """All that there is.

  Attributes:
    pages: path -> what it has; to be read by everybody on this machine.
    calls: method and path -> what computes the answer, for the page alone.
  """

  pages: Mapping[str, Answer]
  calls: Mapping[tuple[str, str], Call]

  def has(self, path: str) -> bool:
    """Whether there is anything at a path, by any method."""
    return path in self.pages or path in {path for _, path in self.calls}


def computed(call: Call, fields: Mapping[str, str], body: bytes) -> Answer:
  """Computes an answer.

  Raises:
    RefusedError: with what the function says.
  """
  try:
    content = to_json(call.function(fields, body))
  except (InputError, decode.DecodeError) as error:
    raise RefusedError(
      HTTPStatus.UNPROCESSABLE_ENTITY, in_one_line(error)
    ) from None
  except RunError as error:
    raise RefusedError(
      HTTPStatus.INTERNAL_SERVER_ERROR, in_one_line(error)
    ) from None
  except Exception:  # of one request; the others are answered all the same
    traceback.print_exc()
    raise RefusedError(
      HTTPStatus.INTERNAL_SERVER_ERROR, "it failed; the terminal says how"
    ) from None
  return Answer(content, "application/json")


def to_json(value: Any) -> bytes:
  """Returns a value as JSON.

  Raises:
    ValueError: for NaN, which JSON does not have.
  """
  return json.dumps(value, allow_nan=False).encode()


def error_of(refused: RefusedError) -> Answer:
  """Returns the answer that says why there is none."""
  body = to_json({"error": str(refused)})
  return Answer(body, "application/json", refused.status)


def fields_of(query: str, valid: tuple[str, ...]) -> dict[str, str]:
  """Returns the fields of a query by name.

  Raises:
    RefusedError: for one that is not valid, or is there twice.
  """
  try:
    pairs = urllib.parse.parse_qsl(
      query,
      keep_blank_values=True,
      strict_parsing=bool(query),
      max_num_fields=_MAX_FIELDS,
    )
  except ValueError:
    raise RefusedError(HTTPStatus.BAD_REQUEST, "no readable query") from None
  fields = dict(pairs)
  if len(fields) < len(pairs) or not fields.keys() <= set(valid):
    raise RefusedError(
      HTTPStatus.BAD_REQUEST, f"valid fields: {', '.join(valid) or 'none'}"
    )
  return fields
