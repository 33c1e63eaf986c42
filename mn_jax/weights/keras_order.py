"""The order in which Keras lists a network's layers.

`model.layers`, and so a legacy file, goes by depth, counted back from the
output, and within one depth by the order in which Keras's traversal from the
output meets the layers. Networks without branches are in the order of their
calls. Where branches meet again, in an addition or a concatenation, they are
lined up at their ends: each is written here as a column of layers, `None` for
one without weights, and the columns are read row by row.
"""

import itertools
import re
from collections.abc import Callable, Sequence

from mn_jax.weights.units import Unit

# A column's entry: the units of one layer of Keras.
_Entry = tuple[Unit, ...] | None
_Column = list[_Entry]


def in_keras_order(model: str, units: Sequence[Unit]) -> list[Unit]:
  """Units of a network in the order of Keras's `model.layers`.

  Args:
    model: name of the network.
    units: in the order of their calls.
  """
  for family, columns in _COLUMNS.items():
    if model.startswith(family):
      blocks = itertools.groupby(
        units, key=lambda unit: unit.path.split("/")[1]
      )
      return [
        unit
        for _, block in blocks
        for unit in _row_by_row(columns(list(block)))
      ]
  return list(units)


def _row_by_row(columns: Sequence[_Column]) -> list[Unit]:
  longest = max(map(len, columns))
  even = [[None] * (longest - len(column)) + column for column in columns]
  rows = zip(*even, strict=True)
  return [unit for row in rows for entry in row if entry for unit in entry]


def _resnet(block: Sequence[Unit]) -> list[_Column]:
  """The shortcut, then the residual; ReLU after all but its last BatchNorm."""
  main: _Column = []
  shortcut: _Column = []
  for unit in block:
    if "/shortcut/" in unit.path:
      shortcut.append((unit,))
    else:
      after = [None] if unit.kind == "norm" else []
      main += [(unit,), *after]
  return [shortcut, main[:-1]] if shortcut else [main]


def _xception(block: Sequence[Unit]) -> list[_Column]:
  """The separable convolutions, then the shortcut; max pooling at the end."""
  main: _Column = []
  shortcut: _Column = []
  waiting: tuple[Unit, ...] = ()
  for unit in block:
    if "/shortcut/" in unit.path:
      shortcut.append((unit,))
    elif unit.kind == "depthwise":
      waiting = (unit,)
    else:
      after = [None] if unit.kind == "norm" else []
      main += [(*waiting, unit), *after]
      waiting = ()
  # What follows a block's last BatchNorm is no ReLU but the pooling.
  return [main, shortcut]


def _inception(block: Sequence[Unit]) -> list[_Column]:
  """A column per branch, and one for the second half of a fork.

  In a residual block what the branches give goes on through a convolution.
  """
  branches: dict[str, _Column] = {}
  residual: _Column = []
  for unit in block:
    *_, name, part = unit.path.split("/")
    if part == "up":
      residual = [None, (unit,)]
      continue
    branch, half = _BRANCH.fullmatch(name).groups()
    column = branches.setdefault(f"{branch} b" if half == "b" else branch, [])
    column.append((unit,))
    if unit.kind == "norm":
      # ReLU; a fork's halves are also concatenated before the branches are.
      column += [None, None] if half else [None]
  first, *others = branches.values()
  after: _Column = [None] * len(residual)
  return [first + residual, *(column + after for column in others)]


# 'branch3x3dbl_3a': the branch, and which half of its fork.
_BRANCH = re.compile(r"(.+?)(?:_\d+([ab])?)?")

_COLUMNS: dict[str, Callable[[Sequence[Unit]], list[_Column]]] = {
  "resnet": _resnet,
  "xception": _xception,
  "inception": _inception,
}
