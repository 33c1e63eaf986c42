"""Tests of the compiled steps on batches with several labels per image."""

import dataclasses

import numpy as np
import optax
import pytest
import sklearn.metrics

from mn_jax.config.experiment import AugmentConfig, TrainConfig
from tests.train import test_step

pytestmark = pytest.mark.devices(4)

EVEN = ((1.0, 1.0), (1.0, 1.0))


def _batch(size=8, seed=0):
  labels = np.random.default_rng(seed).integers(0, 2, (size, 2), np.uint8)
  labels[:2] = [[0, 0], [1, 1]]
  return {**test_step.make_batch(size, seed), "label": labels}


def _run(batches, **options):
  return test_step.run(batches, **{"class_weights": EVEN, **options})


def test_loss_and_right_labels_are_those_of_optax_and_scikit_learn():
  state, train_step, evaluate, put = test_step.make(class_weights=EVEN)
  batch = _batch()
  batch["mask"][5] = 0
  for _ in range(30):
    state, sums = train_step(state, put(batch))
  outputs = evaluate(state, put(batch))
  # In the next step, of the parameters that were evaluated.
  _, after = test_step.make(class_weights=EVEN)[1](state, put(batch))
  assert float(sums["count"]) == 7
  losses = optax.sigmoid_binary_cross_entropy(outputs["logits"], batch["label"])
  np.testing.assert_allclose(outputs["loss"], losses.mean(1), rtol=1e-5)
  assert float(after["loss"]) < 0.9 * float(_run([batch])[1]["loss"])
  np.testing.assert_array_equal(outputs["label"], batch["label"])


def test_correct_is_the_share_of_right_labels():
  batch = _batch()
  still = dataclasses.replace(test_step.SGD, learning_rate=0.0)
  head = {"kernel": np.zeros((4, 2), np.float32)}
  state, train_step, _, put = test_step.make(class_weights=EVEN, optim=still)
  params = {**state.params, "head": {**state.params["head"], **head}}
  bias = np.array([1.0, -1.0], np.float32)
  params["head"]["bias"] = bias
  _, sums = train_step(state.replace(params=params), put(batch))
  guessed = np.tile([1, 0], (8, 1))
  expected = 1 - sklearn.metrics.hamming_loss(batch["label"], guessed)
  assert float(sums["correct"]) / 8 == pytest.approx(expected)
  terms = optax.sigmoid_binary_cross_entropy(
    np.tile(bias, (8, 1)), batch["label"]
  )
  assert float(sums["loss"]) == pytest.approx(float(terms.mean(1).sum()))


def test_four_devices_and_micro_batches_equal_one():
  options = {
    "augment": AugmentConfig(mixup=0.4, cutmix=1.0),
    "train": TrainConfig(
      label_smoothing=0.1, focal_gamma=1.0, logit_adjustment=1.0
    ),
    "class_weights": ((0.5, 1.0), (3.0, 0.2)),
    "prior": (0.2, 1.7),
  }
  batches = [_batch(seed=seed) for seed in range(3)]
  one = _run(batches, **options)
  test_step.assert_close(one, _run(batches, devices=4, **options))
  micro_batch = _batch(4)
  repeated = {k: np.repeat(v, 4, axis=0) for k, v in micro_batch.items()}
  optim = dataclasses.replace(test_step.SGD, accumulate=4)
  once, sums_once = _run([micro_batch])
  accumulated, sums = _run([repeated], optim=optim, devices=4)
  test_step.assert_close(once.params, accumulated.params)
  assert float(sums["correct"]) == 4 * float(sums_once["correct"])


def test_mixed_labels_have_their_shares():
  """What is mixed with itself has hard labels; what is not, has shares."""
  batch = _batch()
  batch["image"][:] = 128
  still = dataclasses.replace(test_step.SGD, learning_rate=0.0)
  alone, mixed = (
    float(_run([batch], optim=still, augment=augment)[1]["loss"])
    for augment in (AugmentConfig(), AugmentConfig(mixup=1.0))
  )
  # One image and so one pair of logits: the loss is linear in the labels, and
  # a ring of mixtures of neighbours has the same sum only by its shares.
  assert mixed != alone
  batch["label"][:] = [1, 0]
  alone, mixed = (
    float(_run([batch], optim=still, augment=augment)[1]["loss"])
    for augment in (AugmentConfig(), AugmentConfig(mixup=1.0))
  )
  assert mixed == pytest.approx(alone, rel=1e-6)
