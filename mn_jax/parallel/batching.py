"""Applies a compiled program to any number of images, in batches of few sizes.

A program is compiled for each shape that it gets. So small batches are padded
to powers of two, and the last of several batches to the size of the others.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import jax
import numpy as np


def apply_in_batches(
  program: Callable[[np.ndarray], Any],
  images: Iterable[np.ndarray],
  *,
  batch_size: int,
) -> Iterator[Any]:
  """Applies a program to images that arrive one by one.

  However many images there are, the program is compiled for at most
  log2(batch_size) + 1 sizes. The next batch is read while one is computed.

  Args:
    program: compiled for each shape; [batch, ...] -> [batch, ...], an array or
      a pytree of arrays.
    images: of one shape and dtype; an array of them will do.
    batch_size: largest number of images in a batch, 1 or more.

  Yields:
    The program's result for each image, in order: NumPy arrays.
  """
  images = iter(images)
  padded_size, running, running_count = 0, np.empty(0), 0
  while batch := list(itertools.islice(images, batch_size)):
    padded_size = padded_size or min(
      1 << (len(batch) - 1).bit_length(), batch_size
    )
    padding = batch[:1] * (padded_size - len(batch))
    started = program(np.stack(batch + padding))
    yield from _rows(running, running_count)
    running, running_count = started, len(batch)
  yield from _rows(running, running_count)


def _rows(results: Any, count: int) -> Iterator[Any]:
  """Yields the first rows of the arrays of a pytree, together."""
  arrays, tree = jax.tree.flatten(jax.device_get(results))
  for row in zip(*(array[:count] for array in arrays), strict=True):
    yield tree.unflatten(row)
