"""Optimizer rules by parameter path: rate factor, weight decay, freezing.

A rule is a line of text: a pattern, then what differs from the default.

  "backbone/.* lr=0.1"      a tenth of the learning rate
  ".*/kernel"               the default: learning rate and weight decay times 1
  ".* wd=0"                 no weight decay
  "backbone/block[0-5]/.* frozen"    not trained; running statistics kept

The pattern is a regular expression for a parameter's whole path, such as
'backbone/block3/expand/conv/kernel'. The first rule that matches decides.
"""

import dataclasses
import math
import re
from collections.abc import Sequence

import jax

from mn_jax.errors import InputError

# Everything below the backbone; in front of the other rules it freezes it.
FREEZE_BACKBONE = "backbone/.* frozen"


@dataclasses.dataclass(frozen=True)
class Treatment:
  """How the optimizer treats a parameter.

  Attributes:
    lr: factor of the learning rate.
    decay: factor of the weight decay.
    frozen: whether the parameter, and the statistics beside it, stay.
  """

  lr: float = 1.0
  decay: float = 1.0
  frozen: bool = False


class Rules:
  """An ordered list of optimizer rules."""

  def __init__(self, lines: Sequence[str]):
    """Parses rules.

    Args:
      lines: see the module.

    Raises:
      InputError: for a line that is no rule.
    """
    self._rules = [(line, *_parse(line)) for line in lines]

  def of(self, path: str) -> Treatment:
    """The treatment of a parameter.

    Raises:
      KeyError: if no rule matches; see `check`.
    """
    for _, pattern, treatment in self._rules:
      if pattern.fullmatch(path):
        return treatment
    raise KeyError(path)

  def norm_frozen(self, path: str) -> bool:
    """Whether the BatchNorm of this path keeps its running statistics."""
    return self.of(f"{path}/bias").frozen

  def check(self, params: dict) -> None:
    """Refuses rules that miss a parameter, or match none.

    Raises:
      InputError: naming the parameters or the rule.
    """
    paths = [_path(p) for p, _ in jax.tree_util.tree_leaves_with_path(params)]
    matches = {
      line: [p for p in paths if pattern.fullmatch(p)]
      for line, pattern, _ in self._rules
    }
    left = sorted(set(paths).difference(*matches.values()))
    if left:
      raise InputError(
        f"optim.rules: got none for {len(left)} of {len(paths)} parameters "
        f"({', '.join(left[:3])}{', ...' if left[3:] else ''}); valid: rules "
        "that cover all, such as a last one '.*'"
      )
    for line, matched in matches.items():
      if not matched:
        raise InputError(
          f"optim.rules: got {line!r}, which matches no parameter; valid: a "
          f"pattern for paths such as {paths[0]!r}"
        )
    if all(self.of(path).frozen for path in paths):
      raise InputError(
        "optim.rules: got rules that freeze every parameter; valid: some that "
        "leave one to train"
      )

  def split(self, params: dict) -> tuple[dict, dict]:
    """(trained, frozen): two trees of the same shape with None for the rest."""
    flags = jax.tree_util.tree_map_with_path(
      lambda path, _: self.of(_path(path)).frozen, params
    )
    trained = jax.tree.map(lambda x, f: None if f else x, params, flags)
    frozen = jax.tree.map(lambda x, f: x if f else None, params, flags)
    return trained, frozen

  def factors(self, params: dict, name: str) -> dict:
    """A tree of one attribute of every parameter's treatment."""
    return jax.tree_util.tree_map_with_path(
      lambda path, _: getattr(self.of(_path(path)), name), params
    )


def merge(trained: dict, frozen: dict) -> dict:
  """The inverse of `Rules.split`."""
  return jax.tree.map(
    lambda a, b: b if a is None else a,
    trained,
    frozen,
    is_leaf=lambda x: x is None,
  )


def _path(keys: tuple) -> str:
  return "/".join(key.key for key in keys)


def _parse(line: str) -> tuple[re.Pattern, Treatment]:
  pattern, *words = line.split() or [""]
  values: dict[str, float | bool] = {}
  try:
    compiled = re.compile(pattern)
    for word in words:
      name, equals, number = word.partition("=")
      if word == "frozen":
        values["frozen"] = True
      elif name in ("lr", "wd") and equals:
        values[{"lr": "lr", "wd": "decay"}[name]] = _factor(number)
      else:
        raise ValueError(f"{word!r} is no lr=, wd= or frozen")
    if not pattern:
      raise ValueError("there is no pattern")
    if len(values) < len(words):
      raise ValueError("a word is there twice")
    if "frozen" in values and len(words) > 1:
      raise ValueError("what is frozen has no factors")
  except (ValueError, OverflowError, re.error) as error:
    raise InputError(
      f"optim.rules: got {line!r} ({error}); valid: PATTERN [lr=FACTOR] "
      "[wd=FACTOR] or PATTERN frozen"
    ) from None
  return compiled, Treatment(**values)


def _factor(text: str) -> float:
  value = float(text)
  if not (math.isfinite(value) and value >= 0):
    raise ValueError(f"{text!r} is no factor of 0 or more")
  return value
