"""Suspects groups where names of images repeat something: a patient, a slide.

A name is cut at slashes and, below its folder, at other separators. Names of as
many pieces between the same separators have one form. In a form the pieces from
the left on make coarse groups, and finer ones with every piece that is added;
pieces that are the same everywhere, follow from the class, or number the images
of a class are skipped. What is left is a guess, with a ready
`data.group_pattern`: only a person can tell whether it is right.
"""

import dataclasses
import re
import shlex
from collections.abc import Iterator, Sequence

import numpy as np

from mn_jax.data import strata
from mn_jax.data.datasets.image_folder import PARTS

_SEPARATORS = "_. -"  # in brackets a hyphen comes last
_PIECES = re.compile(
  rf"[^{re.escape(_SEPARATORS)}]+|[{re.escape(_SEPARATORS)}]+"
)
# Names that are looked at, in blocks of neighbours.
_MOST_NAMES = 200_000
_BLOCK = 1_000
# Of all images, that a form has.
_LEAST_SHARE = 0.05
# Groups per image, and images in the largest group, of all in a form.
_MOST_GROUPS = 0.7
_MOST_IN_ONE = 0.5
# Pairs of images of one group that are of one class and part, of those to be
# expected if both were independent. Numbers that start again in every class, or
# in every class of every part, have none.
_LEAST_ALIKE = 0.2
# Numbers with something behind them, which does not make another group.
_MOST_SUFFIXED = 0.1
# Pieces of fewer values tell sides, views or parts.
_LEAST_GROUPS = 3
# Groups that lie within one class each are its kinds if a class has no more of
# them, or somewhat more and each has several groups inside.
_MOST_KINDS = 5
_MOST_DIVIDED_KINDS = 10
_DIVIDED = 4
_MOST_SUGGESTED = 3


@dataclasses.dataclass(frozen=True)
class Suggestion:
  """Groups that names suggest.

  Attributes:
    pattern: as `data.group_pattern` takes it.
    groups: number of groups that it finds.
    images: number of images in them.
    total: number of all images.
    largest: images in the largest group.
    name, group: the first image that it finds a group of, and that.
  """

  pattern: str
  groups: int
  images: int
  total: int
  largest: int
  name: str
  group: str

  def describe(self) -> str:
    """Returns a line on the groups and the pattern that finds them."""
    return (
      f"the names of {self.images:,} of {self.total:,} images suggest "
      f"{self.groups:,} groups, such as {self.group!r} of {self.name!r}: "
      f"data.group_pattern={shlex.quote(self.pattern)} keeps each in one part"
    )


@dataclasses.dataclass(frozen=True)
class _Form:
  """Names with as many pieces between the same separators.

  Attributes:
    separators: before each piece but the first, and behind the last.
    folders: number of pieces that are names of folders.
    pieces: str[m, k].
    rows: i64[m], of the names.
  """

  separators: tuple[str, ...]
  folders: int
  pieces: np.ndarray
  rows: np.ndarray


def suggest(names: np.ndarray, labels: np.ndarray) -> list[Suggestion]:
  """Looks for groups in the names of images.

  Args:
    names: str[n], with slashes behind folders.
    labels: i32[n], or u8[n, classes] where an image may have several.

  Returns:
    What may be groups, the likeliest first, at most three; none where names
    only number the images.
  """
  if labels.ndim == 2:
    labels = strata.rarest(labels)
  chosen = _choose(len(names))
  listed = names[chosen]
  order = np.argsort(listed, kind="stable")
  listed, labels = listed[order].tolist(), labels[chosen][order]
  found = [_patterns(form, labels[form.rows]) for form in _forms(listed)]
  found = [patterns for patterns in found if patterns]
  if not found:
    return []
  # The coarsest groups of all forms, then finer ones of the most frequent.
  joined = _join([patterns[0] for patterns in found])
  finer = [_join([pattern]) for pattern in found[0][1:_MOST_SUGGESTED]]
  described = [_describe(p, names.tolist()) for p in (joined, *finer)]
  return [suggestion for suggestion in described if suggestion is not None]


def _choose(count: int) -> np.ndarray:
  """Returns i64[m], all of so many rows, or blocks spread over them."""
  if count <= _MOST_NAMES:
    return np.arange(count)
  blocks = _MOST_NAMES // _BLOCK
  starts = np.linspace(0, count - _BLOCK, blocks).astype(int)
  return np.unique(starts[:, None] + np.arange(_BLOCK))


def _forms(names: Sequence[str]) -> Iterator[_Form]:
  """Yields the forms of names that many have, the most frequent first."""
  members: dict[tuple, tuple[list[int], list[list[str]]]] = {}
  for row, name in enumerate(names):
    *folders, file = name.split("/")
    stem, dot, _ = file.rpartition(".")
    pieces = _PIECES.findall(stem if dot else file)
    if pieces and pieces[0][0] in _SEPARATORS:
      pieces.insert(0, "")
    key = (len(folders), *pieces[1::2])
    rows, table = members.setdefault(key, ([], []))
    rows.append(row)
    table.append([*folders, *pieces[::2]])
  for key, (rows, table) in sorted(
    members.items(), key=lambda item: (-len(item[1][0]), item[0])
  ):
    if len(rows) >= max(2 * _LEAST_GROUPS, _LEAST_SHARE * len(names)):
      count = key[0]
      # A name that ends in a separator has one more of them than gaps.
      separators = ("/",) * count + key[1:]
      yield _Form(separators, count, np.array(table), np.array(rows))


def _patterns(form: _Form, labels: np.ndarray) -> list[tuple[str, str]]:
  """Returns regular expressions of coarse groups, then of finer ones.

  Each is what comes before the group, and the group itself.
  """
  classes = np.unique(labels, return_inverse=True)[1]
  cells = _cells(form, classes)
  kept: list[int] = []
  found: dict[int, tuple[str, str]] = {}  # by number of groups
  kinds = set()
  key = np.zeros(len(classes), np.int64)
  for column in range(form.pieces.shape[1]):
    values = np.unique(form.pieces[:, column], return_inverse=True)[1]
    if _is_skipped(form.pieces[:, column], values, classes, cells):
      continue
    kept.append(column)
    key = np.unique(np.stack([key, values], 1), axis=0, return_inverse=True)[1]
    count = key.max() + 1
    if count in found or not _are_groups(key, classes, cells):
      continue
    alone = values.max() + 1 == count
    found[count] = _expressions(form, column if alone else kept[0], column)
    pairs = _count_pairs(key, classes)
    if _are_kinds(count, pairs, classes, _MOST_DIVIDED_KINDS):
      kinds.add(count)
  finest = max(found, default=0)
  return [
    expressions
    for count, expressions in found.items()
    if count not in kinds or finest < _DIVIDED * count
  ]


def _cells(form: _Form, classes: np.ndarray) -> np.ndarray:
  """Returns i64[m], the class and the part that each image is of."""
  columns = [classes]
  for column in form.pieces.T:
    if _are_parts(column):
      columns.append(np.unique(column, return_inverse=True)[1])
  return np.unique(np.stack(columns, 1), axis=0, return_inverse=True)[1]


def _are_parts(pieces: np.ndarray) -> bool:
  return all(piece.lower() in PARTS for piece in np.unique(pieces).tolist())


def _is_skipped(
  pieces: np.ndarray,
  values: np.ndarray,
  classes: np.ndarray,
  cells: np.ndarray,
) -> bool:
  """Whether pieces tell no groups: class, part, side, or number of an image."""
  count = values.max() + 1
  if count < _LEAST_GROUPS:
    return True
  if _are_parts(pieces):
    return True
  pairs = _count_pairs(values, classes)
  follows_from_class = pairs == classes.max() + 1 == count
  return follows_from_class or _numbers_images(values, cells)


def _are_groups(
  key: np.ndarray, classes: np.ndarray, cells: np.ndarray
) -> bool:
  """Whether sets of images, i64[m], have the sizes of groups."""
  sizes = np.bincount(key)
  pairs = _count_pairs(key, classes)
  return (
    len(sizes) >= _LEAST_GROUPS
    and len(sizes) <= _MOST_GROUPS * len(key)
    and not _numbers_images(key, cells)
    and sizes.max() <= _MOST_IN_ONE * len(key)
    and not _are_kinds(len(sizes), pairs, classes, _MOST_KINDS)
  )


def _are_kinds(count: int, pairs: int, classes: np.ndarray, most: int) -> bool:
  """Whether so many groups lie within classes, at most `most` in each."""
  num_classes = classes.max() + 1
  return num_classes > 1 and pairs == count <= most * num_classes


def _numbers_images(key: np.ndarray, cells: np.ndarray) -> bool:
  """Whether sets of images, i64[m], hardly have two of one class and part."""
  joint = key.astype(np.int64) * (cells.max() + 1) + cells
  sizes = np.bincount(key)
  shares = np.bincount(cells) / len(cells)
  alike = np.unique(joint, return_counts=True)[1]
  expected = (sizes * (sizes - 1)).sum() * (shares**2).sum()
  return (alike * (alike - 1)).sum() <= _LEAST_ALIKE * expected


def _count_pairs(key: np.ndarray, classes: np.ndarray) -> int:
  return len(np.unique(key.astype(np.int64) * (classes.max() + 1) + classes))


def _expressions(form: _Form, first: int, last: int) -> tuple[str, str]:
  """Returns what matches the pieces before a group, and those of it."""
  # Words that are always there belong to the group's name.
  while first > form.folders and len(np.unique(form.pieces[:, first - 1])) == 1:
    first -= 1
  start = 0 if first < form.folders else form.folders
  before = "".join(
    _any_of(form, i) + _literal(form.separators[i]) for i in range(start, first)
  )
  inside = "".join(
    (_literal(form.separators[i - 1]) if i > first else "") + _piece(form, i)
    for i in range(first, last + 1)
  )
  return ("^" if start < form.folders else "(?:^|/)") + before, inside


def _piece(form: _Form, column: int) -> str:
  """Returns what matches the pieces of a column, as narrow as is simple."""
  values, counts = np.unique(form.pieces[:, column], return_counts=True)
  if len(values) == 1:
    return _literal(values[0])
  numbers = [re.fullmatch(r"(\D*)\d+(.*)", value) for value in values.tolist()]
  if all(numbers) and len({number[1] for number in numbers}) == 1:
    # A few have a letter behind the number: 10c is a part of 10.
    suffixed = np.array([bool(number[2]) for number in numbers])
    if counts[suffixed].sum() <= _MOST_SUFFIXED * counts.sum():
      return _literal(numbers[0][1]) + r"\d+"
  return _any_of(form, column)


def _any_of(form: _Form, column: int) -> str:
  """Returns what matches any piece of a column."""
  if column < form.folders:
    return "[^/]+"
  used = {*"".join(form.separators[form.folders :])}
  return f"[^/{''.join(x for x in _SEPARATORS if x in used)}]+"


def _literal(text: str) -> str:
  """Returns what matches a text, without needless backslashes."""
  return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", text)


def _join(parts: list[tuple[str, str]]) -> str:
  """Returns one pattern of those of several forms, where that is simple."""
  before = parts[0][0]
  inside = dict.fromkeys(group for start, group in parts if start == before)
  end = "/" if before.startswith("^") else "[^/]*$"
  return f"{before}({'|'.join(inside)}){end}"


def _describe(pattern: str, names: list[str]) -> Suggestion | None:
  """Returns what a pattern finds in names; None for no groups."""
  search = re.compile(pattern).search
  sizes: dict[str, int] = {}
  example = None
  for name in names:
    if match := search(name):
      sizes[match[1]] = sizes.get(match[1], 0) + 1
      example = example or (name, match[1])
  if example is None or len(sizes) < _LEAST_GROUPS:
    return None
  return Suggestion(
    pattern,
    len(sizes),
    sum(sizes.values()),
    len(names),
    max(sizes.values()),
    *example,
  )
