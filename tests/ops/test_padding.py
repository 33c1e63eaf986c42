"""Tests of padding rules."""

import itertools
import math

import pytest

from mn_jax.ops import padding

_SIZES = (1, 2, 3, 7, 8, 13, 50, 224)


def _documented(n: int, k: int, stride: int) -> tuple[int, int]:
  """The rule of tf.nn's "Notes on padding"."""
  total = max(k - stride if n % stride == 0 else k - n % stride, 0)
  before = total // 2
  return before, total - before


def test_same_is_tensorflows_formula():
  for n, k, stride in itertools.product(_SIZES, (1, 2, 3, 5), (1, 2, 3, 4)):
    size = (n, n + 1)
    pad = padding.resolve("same", size, (k, k), stride)
    assert pad == tuple(_documented(pixels, k, stride) for pixels in size)
    out = padding.out_size(size, (k, k), stride, pad)
    assert out == tuple(math.ceil(pixels / stride) for pixels in size)


def test_same_treats_rows_and_columns_apart():
  assert padding.resolve("same", (50, 25), (3, 3), 2) == ((0, 1), (1, 1))
  assert padding.resolve("same", (8, 9), (5, 3), 1) == ((2, 2), (1, 1))


def test_out_size_counts_the_windows_that_fit():
  for n, k, stride, pad in itertools.product(
    range(1, 9), range(1, 6), (1, 2, 3), ((0, 0), (2, 0), (0, 3))
  ):
    padded = n + sum(pad)
    fitting = sum(start + k <= padded for start in range(0, padded, stride))
    rows, cols = padding.out_size((n, 20), (k, 1), stride, (pad, (0, 0)))
    assert max(rows, 0) == fitting
    assert cols == len(range(0, 20, stride))


def test_symmetric_is_half_the_window_at_any_size():
  for n, k, stride in itertools.product(_SIZES, (1, 3, 5, 7), (1, 2)):
    pad = padding.resolve("symmetric", (n, n), (k, k), stride)
    assert pad == ((k // 2, k // 2),) * 2


def test_end_pads_strided_layers_at_the_end_alone():
  for n in (8, 9):
    assert padding.resolve("end", (n, n), (3, 3), 2) == ((0, 1),) * 2
    assert padding.resolve("end", (n, n), (3, 3), 1) == ((1, 1),) * 2


def test_valid_is_none():
  assert padding.resolve("valid", (9, 9), (3, 5), 2) == ((0, 0),) * 2


def test_another_rule_is_refused():
  with pytest.raises(ValueError, match="got padding 'full'; valid: same, sym"):
    padding.resolve("full", (9, 9), (3, 3), 1)


@pytest.mark.parametrize(
  "wrong", ["CIRCULAR", -1, 1.5, None, (1, 1), ((1, 1),), ((0, 1), (-1, 0))]
)
def test_what_is_no_padding_is_refused(wrong):
  with pytest.raises(ValueError, match=r"padding .* same, symmetric"):
    padding.explicit(wrong, (8, 8), (3, 3), 1)
