"""Programs applied to any number of images, in batches of few sizes."""

import itertools

import jax
import numpy as np

from mn_jax.parallel.batching import apply_in_batches


def images(count):
  return np.arange(count * 6, dtype=np.float32).reshape(count, 2, 3)


def test_every_image_once_and_in_order():
  for count, expected in (
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
  ):
    sizes = []

    def double(batch, sizes=sizes):
      sizes.append(len(batch))
      return 2 * batch

    rows = list(apply_in_batches(double, images(count), batch_size=12))
    assert sizes == expected
    np.testing.assert_array_equal(
      np.reshape(rows, (count, 2, 3)), 2 * images(count)
    )


def test_few_programs_are_compiled():
  traced = []

  @jax.jit
  def program(batch):
    traced.append(len(batch))
    return batch + 1

  for count in itertools.chain(range(1, 40), (64, 65, 100, 500)):
    rows = apply_in_batches(program, images(count), batch_size=32)
    np.testing.assert_array_equal(np.stack([*rows]), images(count) + 1)
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

  for _ in apply_in_batches(program, read(), batch_size=2):
    events.append("yielded")
  first = events.index("yielded")
  assert events[:first] == ["read", "read", "computed"] * 2


def test_results_of_several_arrays_stay_together():
  @jax.jit
  def program(batch):
    return {"sum": batch.sum((1, 2)), "first": batch[:, 0]}

  rows = list(apply_in_batches(program, images(7), batch_size=3))
  assert len(rows) == 7
  for image, row in zip(images(7), rows, strict=True):
    assert isinstance(row["first"], np.ndarray)
    assert row["sum"] == image.sum()
    np.testing.assert_array_equal(row["first"], image[0])
