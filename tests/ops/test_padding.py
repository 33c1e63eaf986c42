"""Tests of padding rules."""

import itertools
import math

import pytest

from mn_jax.ops import padding

_SIZES = (1, 2, 3, 7, 8, 13, 50, 224)
_windows = pytest.mark.parametrize("k", [1, 2, 3, 5])
_strides = pytest.mark.parametrize("stride", [1, 2, 3, 4])


def _documented(n: int, k: int, stride: int) -> tuple[int, int]:
  """The rule of tf.nn's "Notes on padding"."""
  total = max(k - stride if n % stride == 0 else k - n % stride, 0)
  before = total // 2
  return before, total - before


@_windows
@_strides
def test_same_is_tensorflows_formula(k, stride):
  for n in _SIZES:
    rows, cols = padding.resolve("same", (n, n + 1), (k, k), stride)
    assert rows == _documented(n, k, stride)
    assert cols == _documented(n + 1, k, stride)


@_windows
@_strides
def test_same_gives_the_size_over_the_stride(k, stride):
  for n in _SIZES:
    size, window = (n, n + 3), (k, 3)
    pad = padding.resolve("same", size, window, stride)
    out = padding.out_size(size, window, stride, pad)
    assert out == (math.ceil(n / stride), math.ceil((n + 3) / stride))


def test_same_puts_the_odd_pixel_at_the_end():
  assert padding.resolve("same", (50, 25), (3, 3), 2) == ((0, 1), (1, 1))


def test_same_treats_rows_and_columns_apart():
  assert padding.resolve("same", (8, 9), (5, 3), 1) == ((2, 2), (1, 1))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("pad", [(0, 0), (2, 0), (0, 3)])
def test_out_size_counts_the_windows_that_fit(stride, pad):
  for n, k in itertools.product(range(1, 9), range(1, 6)):
    padded = n + sum(pad)
    fitting = sum(start + k <= padded for start in range(0, padded, stride))
    rows, cols = padding.out_size((n, 20), (k, 1), stride, (pad, (0, 0)))
    assert max(rows, 0) == fitting
    assert cols == len(range(0, 20, stride))


@pytest.mark.parametrize("k", [1, 3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
def test_symmetric_is_half_the_window_at_any_size(k, stride):
  for n in _SIZES:
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
