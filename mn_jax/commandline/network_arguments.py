"""`--model` and `--weights`: short names of two fields of the config."""

import argparse
from typing import Any

from mn_jax.commandline.parser import Parser
from mn_jax.config import overrides
from mn_jax.errors import InputError

_FIELDS = {"model": "model.name", "weights": "model.weights"}


def add(parser: Parser) -> None:
  """Adds both."""
  parser.option(
    "--model",
    "NAME",
    "network, the field model.name (default for your own images: mobilenet_v2)",
  )
  parser.option(
    "--weights",
    "NAME",
    "weights to start from, the field model.weights: imagenet, hf:OWNER/NAME "
    "or a file (default for your own images: imagenet, if it is on this "
    "machine)",
  )


def given(args: argparse.Namespace) -> dict[str, Any]:
  """Returns the fields that the overrides and these arguments fix.

  Args:
    args: from a parser with both, and with overrides.

  Raises:
    InputError: for a field that is given twice.
  """
  fields = dict(map(overrides.parse, args.overrides))
  for flag, field in _FIELDS.items():
    value = getattr(args, flag)
    if value is None:
      continue
    if field in fields:
      raise InputError(
        f"--{flag}: got {value!r} beside {field}={fields[field]}; valid: one "
        "of them"
      )
    fields[field] = value
  return fields
