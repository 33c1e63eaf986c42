"""The paths of the page: its files, and the calls that it makes."""

import functools
import pathlib
import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from mn_jax.data import decode
from mn_jax.demo import server, site
from mn_jax.demo.answers import Answers
from mn_jax.errors import InputError
from mn_jax.run import reopen

_FOLDER = pathlib.Path(__file__).with_name("page")
_KINDS = {
  ".html": "text/html; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
}


def of_run(run: reopen.SavedRun, answers: Answers) -> site.Site:
  """Returns all that the page of a run needs.

  Args:
    run: for how it reads images.
    answers: of the same run.
  """
  pages = {
    f"/{path.name}": site.Answer(path.read_bytes(), _KINDS[path.suffix])
    for path in _FOLDER.iterdir()
  }
  pages["/"] = pages.pop("/index.html")
  described = answers.describe()
  described |= {
    "max_bytes": server.MAX_BYTES,
    "accept": ",".join(decode.SUFFIXES),
    "formats": ", ".join(decode.FORMATS),
  }
  image = functools.partial(_image, run, answers)
  return site.Site(
    pages=pages,
    calls={
      ("GET", "/run"): site.Call(lambda fields, _: described),
      ("GET", "/examples"): site.Call(
        lambda fields, _: answers.examples(_number(fields, "start")), ("start",)
      ),
      ("GET", "/slide"): site.Call(
        lambda fields, _: answers.slide(
          fields.get("group", ""), _number(fields, "class")
        ),
        ("group", "class"),
      ),
      ("POST", "/predict"): site.Call(
        lambda fields, body: _predict(answers, *image(fields, body)),
        ("example",),
      ),
      ("POST", "/explain"): site.Call(
        lambda fields, body: answers.explain(
          image(fields, body)[0],
          fields.get("method", ""),
          _number(fields, "class"),
        ),
        ("example", "method", "class"),
      ),
    },
  )


def _image(
  run: reopen.SavedRun,
  answers: Answers,
  fields: Mapping[str, str],
  body: bytes,
) -> tuple[np.ndarray, dict[str, Any], float]:
  """Returns the image of a request, what is known of it, and when it began.

  It is an example of the test part, or the file in the body.

  Raises:
    InputError: for an unknown example.
    DecodeError: for a file that is no image.
  """
  started = time.perf_counter()
  if "example" in fields:
    return *answers.example(_number(fields, "example")), started
  return run.read_image(body), {}, started


def _predict(
  answers: Answers,
  pixels: np.ndarray,
  example: dict[str, Any],
  started: float,
) -> dict[str, Any]:
  predicted = answers.predict(pixels)
  seconds = time.perf_counter() - started
  return {**predicted, "example": example or None, "seconds": seconds}


def _number(fields: Mapping[str, str], name: str) -> int:
  """Returns a field that is a whole number.

  Raises:
    InputError: if it is none.
  """
  text = fields.get(name, "")
  if not re.fullmatch("[0-9]{1,9}", text):
    raise InputError(f"{name}: got {text!r}; valid: a whole number")
  return int(text)
