"""Padding rules of convolutions, resolved to explicit amounts."""

# ((top, bottom), (left, right)) in pixels.
Padding = tuple[tuple[int, int], tuple[int, int]]


def same(
  size: tuple[int, int], window: tuple[int, int], stride: int
) -> Padding:
  """TensorFlow's 'SAME': output size ceil(size / stride), odd pixel at the end.

  Args:
    size: input height and width in pixels.
    window: kernel height and width in pixels.
    stride: the same stride in both directions.

  Returns:
    The padding of both directions.
  """

  def one(n: int, k: int) -> tuple[int, int]:
    total = max((-(-n // stride) - 1) * stride + k - n, 0)
    return total // 2, total - total // 2

  return one(size[0], window[0]), one(size[1], window[1])


def out_size(
  size: tuple[int, int], window: tuple[int, int], stride: int, padding: Padding
) -> tuple[int, int]:
  """Output height and width of a convolution with explicit padding."""
  rows, cols = (
    (n + before + after - k) // stride + 1
    for n, k, (before, after) in zip(size, window, padding, strict=True)
  )
  return rows, cols
