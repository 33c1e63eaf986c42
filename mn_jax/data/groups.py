"""Groups of images by their names: patients, objects, slides.

What belongs together is kept in one part of a split. Where a data set does not
know it, a regular expression may find it in the names of its images.
"""

import re

import numpy as np

from mn_jax.errors import InputError

_FIELD = "data.group_pattern"


def by_pattern(
  pattern: str, names: np.ndarray
) -> tuple[np.ndarray, tuple[str, ...]]:
  """Finds the group of every image in its name.

  Args:
    pattern: a regular expression with one group in parentheses, which is
      searched anywhere in a name.
    names: str[n], unique.

  Returns:
    str[n], what the parentheses hold, for an image whose name does not match
    its own name, so that it is a group by itself; and notes on how many groups
    and such images there are.

  Raises:
    InputError: if the pattern does not compile, has not one group, or matches
      no name.
  """
  try:
    compiled = re.compile(pattern)
  except (re.error, RecursionError, OverflowError) as error:
    raise InputError(
      f"{_FIELD}: got {pattern!r} ({error}); valid: a regular expression"
    ) from None
  if compiled.groups != 1:
    raise InputError(
      f"{_FIELD}: got {pattern!r} with {compiled.groups} groups; valid: one in "
      "parentheses, others as (?:...)"
    )
  listed = names.tolist()
  matches = map(compiled.search, listed)
  # Parentheses may take no part in a match, or hold nothing.
  found = [(match and match[1]) or "" for match in matches]
  unmatched = [
    name for name, group in zip(listed, found, strict=True) if not group
  ]
  if len(unmatched) == len(listed):
    raise InputError(
      f"{_FIELD}: got {pattern!r}, which finds nothing in any of the "
      f"{len(listed)} names, the first {listed[0]!r}; valid: an expression "
      "that matches names like these"
    )
  groups = np.array(
    [group or name for name, group in zip(listed, found, strict=True)]
  )
  known = sorted({*found} - {""})
  notes = [
    f"groups by {_FIELD}: {len(known):,} of "
    f"{len(listed) - len(unmatched):,} images, the first {known[0]!r}"
  ]
  if unmatched:
    notes.append(
      f"{_FIELD} finds nothing in {len(unmatched):,} of {len(listed):,} names, "
      f"the first {unmatched[0]!r}: each is a group of its own"
    )
  return groups, tuple(notes)
