"""Tests of blocks as tables of branches."""

import functools

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.models import inception, layers
from mn_jax.models.inception import Branch

_UNIT = functools.partial(
  inception.conv_unit, width=1.0, norm=layers.BatchNorm, dtype=np.float32
)
_TABLE = (
  Branch("one", ((1, 1),)),
  Branch("two", ((3, 1), (2, (1, 7)))),
  Branch("fork", ((3, 3),), fork=2),
  Branch("pool", ((1, 1),), pool="avg"),
)


def _run(branches, x, *, count_padding=False, constants=None, width=1.0):
  """A block's output, and its parameters; constants are what units give.

  Kernels are all 1, or 0 where the unit is named in `constants`.
  """
  unit = functools.partial(_UNIT, width=width)
  block = inception.Mixed(branches, unit, count_padding)
  shapes = jax.eval_shape(lambda x: block.init(jax.random.key(0), x, False), x)
  values = jax.tree.map(lambda s: np.ones(s.shape, s.dtype), shapes)
  flat = flax.traverse_util.flatten_dict(values["params"], sep="/")
  for path, value in flat.items():
    unit = path.split("/")[0]
    if path.endswith("bias"):
      value[:] = (constants or {}).get(unit, 0)
    elif path.endswith("kernel") and unit in (constants or {}):
      value[:] = 0
  for path, value in flax.traverse_util.flatten_dict(
    values["batch_stats"]
  ).items():
    # Normalisation changes nothing.
    value[...] = 0 if path[-1] == "mean" else 1 - 1e-3
  out = jax.jit(lambda v, x: block.apply(v, x, False))(values, x)
  return np.asarray(out), flat


def test_units_are_named_and_their_outputs_concatenated_in_order():
  constants = {"one": 1, "two_2": 2, "fork_2a": 3, "fork_2b": 4, "pool": 5}
  out, params = _run(
    _TABLE, np.ones((1, 5, 6, 4), np.float32), constants=constants
  )
  expected = np.float32([1, 2, 2, 3, 3, 4, 4, 5]).reshape(1, 1, 1, 8)
  np.testing.assert_allclose(
    out, np.broadcast_to(expected, (1, 5, 6, 8)), rtol=1e-6
  )
  kernels = {
    path.split("/")[0]: x.shape
    for path, x in params.items()
    if path.endswith("conv/kernel")
  }
  assert kernels == {
    "one": (1, 1, 4, 1),
    "two_1": (1, 1, 4, 3),
    "two_2": (1, 7, 3, 2),
    "fork_1": (3, 3, 4, 3),
    "fork_2a": (1, 3, 3, 2),
    "fork_2b": (3, 1, 3, 2),
    "pool": (1, 1, 4, 1),
  }


def test_every_unit_ends_with_relu():
  out, _ = _run((Branch("one", ((1, 1),)),), np.float32([[[[-2]], [[3]]]]))
  np.testing.assert_allclose(out.ravel(), [0, 3], rtol=1e-6)


def test_the_halves_of_a_fork_lie_along_rows_and_along_columns():
  """Sums of three pixels to the sides, and above and below."""
  x = np.zeros((1, 3, 3, 1), np.float32)
  x[0, 1, 1] = 1
  out, _ = _run((Branch("fork", ((1, 1),), fork=1),), x)
  row, column = np.zeros((2, 3, 3))
  row[1], column[:, 1] = 1, 1
  np.testing.assert_allclose(out[0, :, :, 0], row, rtol=1e-6)
  np.testing.assert_allclose(out[0, :, :, 1], column, rtol=1e-6)


@pytest.mark.parametrize(
  ("count_padding", "corner", "edge"), [(False, 1, 1), (True, 4 / 9, 6 / 9)]
)
def test_average_pooling_comes_first_and_may_count_its_padding(
  count_padding, corner, edge
):
  out, _ = _run(
    (Branch("pool", ((1, 1),), pool="avg"),),
    np.ones((1, 4, 5, 1), np.float32),
    count_padding=count_padding,
  )
  expected = np.full((4, 5), edge)
  expected[::3, ::4], expected[1:3, 1:4] = corner, 1
  np.testing.assert_allclose(out[0, :, :, 0], expected, rtol=1e-6)


def test_strides_have_no_padding():
  """5x6 pixels: windows of 3x3 begin at 0 and 2, and not at 4."""
  x = np.arange(30, dtype=np.float32).reshape(1, 5, 6, 1)
  table = (Branch("conv", ((1, 3, 2),)), Branch("pool", pool="max"))
  out, params = _run(table, x)
  assert not any(path.startswith("pool") for path in params)
  # The middle of the windows, times nine; and their last pixels.
  middle = np.float32([[7, 9], [19, 21]])
  np.testing.assert_allclose(out[0, :, :, 0], 9 * middle, rtol=1e-6)
  np.testing.assert_array_equal(out[0, :, :, 1], middle + 7)


def test_width_rounds_channels_down():
  _, params = _run(_TABLE, np.ones((1, 3, 3, 4), np.float32), width=2.9)
  assert params["two_1/conv/kernel"].shape[-1] == 8
  assert params["fork_2b/conv/kernel"].shape == (3, 1, 8, 5)
