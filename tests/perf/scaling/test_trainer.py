"""What a point trains is what a run trains."""

import jax
import numpy as np
import pytest

from mn_jax.perf.scaling.measure import trainer
from tests import toy_transfer

BATCH = 32


def sums(kind, count=2):
  """The trainer of a kind of input, and the sums of its first steps."""
  config = toy_transfer.load(model__name="simple_cnn")
  with jax.numpy_dtype_promotion("standard"):
    made = trainer.Trainer(config, kind, batch_size=BATCH, num_batches=count)
  steps = [made.step(next(made.batches)) for _ in range(count)]
  return made, jax.device_get(steps)


@pytest.mark.extended
def test_the_first_step_is_that_of_a_run_with_real_and_cached_input():
  with jax.numpy_dtype_promotion("standard"):
    experiment = toy_transfer.build(toy_transfer.load(model__name="simple_cnn"))
    _, (expected,) = toy_transfer.steps(experiment, 1)
  made, real = sums("real")
  # The rate of the first step, and so what the second one has, may differ.
  for name in ("loss", "correct", "count", "grad_norm"):
    np.testing.assert_allclose(real[0][name], expected[name], rtol=1e-5)
  assert made.examples == len(experiment.data.part("train"))
  assert made.flops == 2 * 3 * experiment.macs
  assert made.compile_seconds > 0
  _, cached = sums("cached")
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), real, cached
  )


def test_synthetic_input_is_one_batch_on_the_devices():
  made, (first, second) = sums("synthetic")
  assert made.examples is None
  assert next(made.batches) is next(made.batches)
  assert first["count"] == second["count"] == BATCH
  assert np.isfinite(second["loss"])
