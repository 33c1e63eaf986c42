"""Padding rules of convolutions and pooling: 'same', 'symmetric', ..."""

import operator
from collections.abc import Sequence

# ((top, bottom), (left, right)) in pixels.
Padding = tuple[tuple[int, int], tuple[int, int]]

# The rules that `resolve` knows by name.
RULES = ("same", "symmetric", "end", "valid")


def resolve(
  rule: str, size: tuple[int, int], window: tuple[int, int], stride: int
) -> Padding:
  """Resolves a padding rule to numbers of pixels.

  'same' is TensorFlow's: output size ceil(size / stride), and an odd pixel goes
  to the end. 'symmetric' is PyTorch's usual padding, (window - 1) // 2 on all
  sides. 'end' is that of MobileNetV1's blocks in Keras Applications: strided
  layers are padded at the bottom and right alone, others as by 'same'. 'valid'
  is none.
  'same' and 'end' agree for even sizes, 'same' and 'symmetric' without a
  stride.

  Args:
    rule: one of RULES.
    size: input height and width in pixels.
    window: kernel height and width in pixels.
    stride: the same stride in both directions.

  Returns:
    ((top, bottom), (left, right)), numbers of pixels.

  Raises:
    ValueError: for another rule.
  """

  def one(n: int, k: int) -> tuple[int, int]:
    if rule == "valid":
      return 0, 0
    if rule == "symmetric":
      return (k - 1) // 2, (k - 1) // 2
    if rule == "end" and stride > 1:
      return 0, (k - 1) // 2
    total = max((-(-n // stride) - 1) * stride + k - n, 0)
    return total // 2, total - total // 2

  if rule not in RULES:
    raise ValueError(f"got padding {rule!r}; valid: {', '.join(RULES)}")
  return one(size[0], window[0]), one(size[1], window[1])


def explicit(
  padding: str | int | Sequence[Sequence[int]],
  size: tuple[int, int],
  window: tuple[int, int],
  stride: int,
) -> Padding:
  """Returns the numbers of pixels of a padding in any of its forms.

  Args:
    padding: one of RULES, in any case, of which 'SAME' and 'VALID' are those of
      `jax.lax`; pixels on all sides; or ((top, bottom), (left, right)).
    size, window, stride: as of `resolve`.

  Raises:
    ValueError: for another rule, or what is no such numbers.
  """
  if isinstance(padding, str):
    return resolve(padding.lower(), size, window, stride)
  try:
    if not isinstance(padding, Sequence):
      padding = ((padding, padding),) * 2
    (top, bottom), (left, right) = padding
    pixels = [operator.index(n) for n in (top, bottom, left, right)]
  except (TypeError, ValueError):
    pixels = [-1]
  if min(pixels) < 0:
    raise ValueError(
      f"got padding {padding!r}; valid: {', '.join(RULES)}, pixels on all "
      "sides, or ((top, bottom), (left, right)), 0 or more each"
    )
  top, bottom, left, right = pixels
  return (top, bottom), (left, right)


def out_size(
  size: tuple[int, int], window: tuple[int, int], stride: int, padding: Padding
) -> tuple[int, int]:
  """Returns output height and width of a convolution with explicit padding."""
  rows, cols = (
    (n + before + after - k) // stride + 1
    for n, k, (before, after) in zip(size, window, padding, strict=True)
  )
  return rows, cols
