"""Any number of images through programs compiled for few batch sizes."""

import itertools
from collections.abc import Callable, Iterable, Iterator

import jax
import numpy as np


def stream(
  program: Callable[[np.ndarray], jax.Array],
  images: Iterable[np.ndarray],
  *,
  largest: int,
) -> Iterator[np.ndarray]:
  """Runs a program on images that come one by one.

  They go in batches of `largest`. Fewer than that are padded to a power of
  two, so that the program is compiled for log2(largest) + 1 sizes at most; the
  last of several batches is padded to the size of the others, which is
  compiled already. A batch is computed while the next one is read.

  Args:
    program: compiled for each shape; [batch, ...] -> [batch, ...].
    images: of one shape and dtype; an array of them will do.
    largest: images at once, at least 1.

  Yields:
    What the program makes of each image, in order.
  """
  images = iter(images)
  size, running = 0, (np.empty(0), 0)
  while batch := list(itertools.islice(images, largest)):
    size = size or min(1 << (len(batch) - 1).bit_length(), largest)
    padded = np.stack(batch + batch[:1] * (size - len(batch)))
    started = program(padded), len(batch)
    yield from _fetch(*running)
    running = started
  yield from _fetch(*running)


def _fetch(rows: jax.Array | np.ndarray, count: int) -> Iterator[np.ndarray]:
  """The rows without the padding, once they are computed."""
  yield from np.asarray(rows)[:count]
