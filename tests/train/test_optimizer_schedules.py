"""Tests of the schedules of the learning rate."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.config.experiment import OptimConfig
from mn_jax.train import optimizer


def _rates(
  config: OptimConfig, total: int, warmup: int, batch_size: int = 32
) -> list[float]:
  with jax.numpy_dtype_promotion("standard"):
    schedule = optimizer.make_schedule(
      config, total, warmup, batch_size=batch_size
    )
    return [
      float(schedule(jnp.asarray(k, jnp.int32))) for k in range(total + 1)
    ]


def test_constant():
  rates = _rates(OptimConfig(learning_rate=0.3), 5, 0)
  np.testing.assert_allclose(rates, [0.3] * 6, rtol=1e-6)


def test_every_schedule_warms_up_linearly_from_0():
  for schedule in ("constant", "cosine", "step"):
    config = OptimConfig(learning_rate=0.8, schedule=schedule)
    rates = _rates(config, 100, 4)
    np.testing.assert_allclose(rates[:5], [0, 0.2, 0.4, 0.6, 0.8], rtol=1e-6)


def test_cosine_ends_at_0():
  config = OptimConfig(learning_rate=0.8, schedule="cosine")
  for warmup in (0, 4):
    rates = _rates(config, 20, warmup)
    done = np.arange(21 - warmup) / (20 - warmup)
    expected = 0.4 * (1 + np.cos(np.pi * done))
    np.testing.assert_allclose(rates[warmup:], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
  ("decay_at", "total", "warmup", "expected"),
  [
    ((0.5, 0.8), 20, 0, [1.0] * 10 + [0.1] * 6 + [0.01] * 5),
    ((0.5, 0.8), 20, 5, [1.0] * 5 + [0.1] * 6 + [0.01] * 5),
    # Drops within the warm-up hold after it.
    ((0.1, 0.5), 20, 6, [0.1] * 4 + [0.01] * 11),
    # Two drops at one step of a short run.
    ((0.5, 0.6), 3, 0, [1, 1, 0.01, 0.01]),
  ],
)
def test_step_drops_at_shares_of_the_run(decay_at, total, warmup, expected):
  config = OptimConfig(
    learning_rate=1.0, schedule="step", decay_at=decay_at, decay_factor=0.1
  )
  rates = _rates(config, total, warmup)
  np.testing.assert_allclose(rates[warmup:], expected, rtol=1e-5)


@pytest.mark.parametrize(
  ("scaling", "expected"),
  [("none", 0.1), ("linear", 0.8), ("sqrt", 0.1 * 8**0.5)],
)
def test_the_rate_grows_with_the_batch(scaling, expected):
  config = OptimConfig(
    learning_rate=0.1, lr_scaling=scaling, lr_batch_size=64, schedule="cosine"
  )
  assert optimizer.peak_rate(config, 512) == pytest.approx(expected)
  rates = _rates(config, 20, 4, batch_size=512)
  assert max(rates) == rates[4] == pytest.approx(expected)
  assert optimizer.peak_rate(config, 64) == 0.1
