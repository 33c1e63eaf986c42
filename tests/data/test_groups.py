"""Tests of groups that are found in the names of images."""

import numpy as np
import pytest

from mn_jax.data import groups
from mn_jax.errors import InputError

NAMES = np.array(["a/p1_0.png", "b/p1_1.png", "a/p2_0.png", "b/other.png"])


def test_one_group_lies_in_two_classes():
  found, notes = groups.by_pattern(r"(p\d+)_", NAMES)
  assert found.tolist() == ["p1", "p1", "p2", "b/other.png"]
  assert notes == (
    "groups by data.group_pattern: 2 of 3 images, the first 'p1'",
    "data.group_pattern finds nothing in 1 of 4 names, the first "
    "'b/other.png': each is a group of its own",
  )
  _, notes = groups.by_pattern(r"/([a-z]+)", NAMES)
  assert notes == (
    "groups by data.group_pattern: 2 of 4 images, the first 'other'",
  )


def test_parentheses_that_hold_nothing_find_nothing():
  for pattern in (r"other|(p\d+)", r"/((?:p\d+)?)"):
    found, notes = groups.by_pattern(pattern, NAMES)
    assert found.tolist() == ["p1", "p1", "p2", "b/other.png"]
    assert "finds nothing in 1 of 4 names" in notes[1]


def test_a_pattern_that_tells_no_groups_is_refused():
  for pattern, message in (
    ("(p", "got '(p' (missing ), unterminated subpattern at position 0); val"),
    (r"p\d", r"got 'p\\d' with 0 groups; valid: one in parentheses"),
    (r"(p)(\d)", "with 2 groups; valid: one in parentheses"),
    ("(x)", "which finds nothing in any of the 4 names, the first 'a/p1_0.png"),
    ("()", "which finds nothing in any of the 4 names"),
  ):
    with pytest.raises(InputError) as caught:
      groups.by_pattern(pattern, NAMES)
    assert str(caught.value).startswith("data.group_pattern: got ")
    assert message in str(caught.value)
    assert "; valid: " in str(caught.value)
