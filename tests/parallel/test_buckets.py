"""Any number of images through programs of few batch sizes."""

import itertools

import jax
import numpy as np
import pytest

from mn_jax.parallel import buckets


class Doubling:
  """A program that remembers the sizes of its batches."""

  def __init__(self):
    self.sizes = []

  def __call__(self, batch):
    self.sizes.append(len(batch))
    return 2 * batch


def images(count):
  return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


@pytest.mark.parametrize(
  ("count", "sizes"),
  [
    (0, []),
    (1, [1]),
    (2, [2]),
    (3, [4]),
    (5, [8]),
    (8, [8]),
    (9, [12]),
    (12, [12]),
    (13, [12, 12]),
    (24, [12, 12]),
    (30, [12, 12, 12]),
  ],
)
def test_every_image_once_and_in_order(count, sizes):
  program = Doubling()
  found = list(buckets.stream(program, images(count), largest=12))
  assert program.sizes == sizes
  assert len(found) == count
  for row, image in zip(found, images(count), strict=True):
    np.testing.assert_array_equal(row, 2 * image)


def test_few_programs_are_compiled():
  traced = []

  @jax.jit
  def program(batch):
    traced.append(len(batch))
    return batch + 1

  for count in itertools.chain(range(1, 40), (64, 65, 100, 500)):
    found = np.stack([*buckets.stream(program, images(count), largest=32)])
    np.testing.assert_array_equal(found, images(count) + 1)
  assert sorted(traced) == [1, 2, 4, 8, 16, 32]


def test_a_batch_is_computed_while_the_next_is_read():
  events = []

  def program(batch):
    events.append("computed")
    return batch

  def read():
    for image in images(4):
      events.append("read")
      yield image

  for _ in buckets.stream(program, read(), largest=2):
    events.append("given")
  first = events.index("given")
  assert events[:first] == ["read", "read", "computed"] * 2
