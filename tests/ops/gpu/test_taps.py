"""Tests of the plans by adding what they say, in float64."""

import numpy as np
import pytest

from mn_jax.ops.gpu import taps
from tests.ops import depthwise_cases as cases


def _add(plan: taps.Plan, given: np.ndarray, kernel: np.ndarray) -> np.ndarray:
  """The sum of a plan, tile by tile of 2 rows."""
  out = np.zeros((given.shape[0], *plan.out, given.shape[3]))
  steps = [-(-n // plan.write) for n in plan.out]
  for first in range(0, steps[0], 2):
    for col in range(steps[1]):
      for row, row_uses in plan.rows(2).items():
        for shift, col_uses in plan.cols().items():
          r, c = plan.read * first + row, plan.read * col + shift
          if not (0 <= r < plan.size[0] and 0 <= c < plan.size[1]):
            continue
          for q, i in row_uses:
            for j in col_uses:
              to = (
                plan.write * (first + q) + i.phase,
                plan.write * col + j.phase,
              )
              if to[0] < plan.out[0] and to[1] < plan.out[1]:
                out[:, *to] += given[:, r, c] * kernel[i.tap, j.tap, 0]
  return out


@pytest.mark.parametrize("name", cases.CASES)
def test_plans_are_convolution_and_gradient(name):
  size, window, stride, pad = cases.case(name)
  x, kernel, dy = cases.inputs(size, window, stride, pad)
  y, dx, _ = cases.reference(x, kernel, dy, stride, pad)
  plan = taps.forward(size, window, stride, pad)
  np.testing.assert_allclose(_add(plan, x, kernel), y, rtol=1e-12, atol=1e-12)
  plan = taps.input_gradient(size, window, stride, pad)
  np.testing.assert_allclose(_add(plan, dy, kernel), dx, rtol=1e-12, atol=1e-12)


def test_rows_are_read_once_for_all_their_sums():
  plan = taps.forward((8, 8), (3, 3), 1, ((1, 1), (1, 1)))
  rows = plan.rows(4)
  assert sorted(rows) == [-1, 0, 1, 2, 3, 4]
  assert sum(len(uses) for uses in rows.values()) == 4 * 3
