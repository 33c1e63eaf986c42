"""Tests of the compiled train and evaluation steps."""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType

from mn_jax.config import Config
from mn_jax.config.experiment import (
  AugmentConfig,
  ModelConfig,
  OptimConfig,
  TrainConfig,
)
from mn_jax.models import layers, registry
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.train import losses, optimizer, step
from mn_jax.train import state as state_lib
from mn_jax.train.rules import Rules

pytestmark = pytest.mark.devices(4)


class Tiny(nn.Module):
  """A network with every kind of layer that compiles in a second."""

  dropout: float = 0.0
  norm_group: int = 0

  @nn.compact
  def __call__(self, x, train):
    norm = functools.partial(layers.BatchNorm, group=self.norm_group)
    stem = layers.ConvBN(
      4, norm, stride=2, activation=layers.relu6, name="stem"
    )
    x = stem(x, train)
    x = layers.Conv(None, name="depthwise")(x)
    x = jnp.mean(x, axis=(1, 2))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return layers.Dense(2, name="head")(x), {"pooled": x}


TINY = Tiny()
SGD = OptimConfig(name="sgd", learning_rate=0.1, momentum=0.0)


@functools.cache
def _make(config, devices, module, class_weights, prior):
  mesh = jax.make_mesh(
    (devices,),
    ("data",),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )
  variables = module.init(jax.random.key(1), jnp.zeros((1, 8, 8, 3)), False)
  rules = Rules(config.optim.rules)
  tx = optimizer.make_optimizer(
    config.optim, lambda _: config.optim.learning_rate, rules
  )
  conventions = registry.get("mobilenet_v1").conventions
  state = mesh_lib.replicate(
    mesh,
    state_lib.create(variables, tx, rules, ema=config.train.ema_decay > 0),
  )
  train_step = step.make_train_step(
    module,
    conventions,
    tx,
    config,
    mesh,
    rules=rules,
    class_weights=np.array(class_weights, np.float32),
    log_prior=np.log(np.array(prior, np.float32)),
  )
  evaluate = step.make_eval_step(module, conventions, config, mesh)
  return state, train_step, evaluate, mesh_lib.HostImages(mesh).put


def make(
  *,
  devices=1,
  module=TINY,
  class_weights=(1.0, 1.0),
  prior=(0.5, 0.5),
  seed=0,
  optim=SGD,
  **sections,
):
  """(state, train step, eval step, put) on a mesh of some devices."""
  config = dataclasses.replace(Config(), optim=optim, **sections)
  state, step_of_seed, evaluate, put = _make(
    config, devices, module, class_weights, prior
  )

  def train_step(state, batch):
    return step_of_seed(state, batch, np.int32(seed))

  train_step.programs = step_of_seed._cache_size
  # The step donates its state.
  return jax.tree.map(jnp.copy, state), train_step, evaluate, put


def run(batches, **options):
  """The state after a step on each batch, and the sums of the last."""
  state, train_step, _, put = make(**options)
  for batch in batches:
    state, sums = train_step(state, put(batch))
  return state, sums


def make_batch(size=8, seed=0):
  draw = np.random.default_rng(seed)
  return {
    "image": draw.integers(0, 256, (size, 8, 8, 3), np.uint8),
    "label": draw.integers(0, 2, size, np.int32),
    "mask": np.ones(size, np.float32),
    "id": np.arange(size, dtype=np.int32),
  }


def assert_close(a, b, tolerance=1e-5):
  # Gradients of BatchNorm's input cancel; what is left differs in rounding.
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


def test_loss_falls_and_sums_are_right():
  state, train_step, evaluate, put = make()
  batch = put(make_batch())
  state, first = train_step(state, batch)
  for _ in range(29):
    state, sums = train_step(state, batch)
  assert float(sums["loss"]) < 0.9 * float(first["loss"])
  assert float(sums["count"]) == 8
  assert float(sums["correct"]) == int(sums["correct"])
  assert float(sums["grad_norm"]) > 0
  assert int(state.step) == 30
  outputs = evaluate(state, batch)
  assert outputs["logits"].shape == (8, 2)
  targets = jax.nn.one_hot(batch["label"], 2)
  expected = losses.cross_entropy(outputs["logits"], targets)
  np.testing.assert_allclose(outputs["loss"], expected, rtol=1e-6)


def test_groups_of_batchnorm_do_not_depend_on_the_devices():
  batches = [make_batch(seed=seed) for seed in range(2)]
  expected = run(batches)[0].batch_stats["stem"]["norm"]
  # Smaller than a device's share of the images, and larger.
  for group, devices in ((2, 2), (4, 4)):
    module = Tiny(norm_group=group)
    one, _ = run(batches, module=module)
    several, _ = run(batches, module=module, devices=devices)
    assert_close(one, several)
    stats = one.batch_stats["stem"]["norm"]
    assert np.all(stats["var"] < expected["var"])
    np.testing.assert_array_equal(stats["weight"], expected["weight"])


MIXING = AugmentConfig(flip="both", quarter_turns=True, mixup=0.4, cutmix=1.0)


def test_four_devices_equal_one_and_compile_once():
  batches = [make_batch(seed=seed) for seed in range(4)]
  one = run(batches, augment=MIXING)
  state, train_step, _, put = make(augment=MIXING, devices=4)
  for batch in batches:
    state, sums = train_step(state, put(batch))
  assert train_step.programs() == 1
  assert_close(one, (state, sums))


def test_the_seed_decides_every_bit():
  batches = [make_batch(seed=seed) for seed in range(2)]
  first, again, other = (
    state_lib.sha256(run(batches, augment=MIXING, seed=seed)[0])
    for seed in (0, 0, 1)
  )
  assert first == again != other


def test_every_step_has_its_own_randomness():
  still = OptimConfig(name="sgd", learning_rate=0.0)
  pixels = AugmentConfig(crop_scale=0.5, stain=0.1, erasing=0.5)
  for options in ({"module": Tiny(dropout=0.5)}, {"augment": pixels}):
    values = []
    for _ in range(2):
      state, train_step, _, put = make(optim=still, seed=3, **options)
      batch = put(make_batch())
      for _ in range(3):
        state, sums = train_step(state, batch)
        values.append(float(sums["loss"]))
    assert values[:3] == values[3:]
    assert len(set(values)) == 3


def test_accumulation_equals_the_full_batch():
  # Four times the same micro-batch: BatchNorm sees the same statistics then.
  micro_batch = make_batch(4)
  # Rows are dealt to micro-batches in turn, so each image stands four times.
  repeated = {k: np.repeat(v, 4, axis=0) for k, v in micro_batch.items()}
  once, sums_once = run([micro_batch])
  accumulated, sums = run(
    [repeated], optim=dataclasses.replace(SGD, accumulate=4), devices=4
  )
  assert_close(once.params, accumulated.params)
  assert float(sums["count"]) == 16
  np.testing.assert_allclose(sums["loss"], 4 * sums_once["loss"], rtol=1e-5)
  weight = accumulated.batch_stats["stem"]["norm"]["weight"]
  np.testing.assert_allclose(weight, 1 - 0.99**4, rtol=1e-5)


def test_masked_examples_have_no_gradient():
  masked, other = make_batch(), make_batch()
  masked["mask"][4:] = 0
  other["mask"][4:] = 0
  other["label"][4:] = 1 - other["label"][4:]
  state, sums = run([masked])
  assert float(sums["count"]) == 4
  assert_close(state.params, run([other])[0].params, 0)


def test_class_weights_scale_the_gradient():
  batch = make_batch()
  batch["label"][:] = 1
  plain, sums = run([batch])
  double, sums_double = run([batch], class_weights=(1.0, 2.0))
  np.testing.assert_allclose(sums_double["loss"], 2 * sums["loss"], rtol=1e-6)
  np.testing.assert_allclose(
    sums_double["grad_norm"], 2 * sums["grad_norm"], rtol=1e-5
  )
  assert_close(plain.batch_stats, double.batch_stats, 0)


def test_ema_follows_parameters_and_statistics_and_is_what_is_evaluated():
  state, train_step, evaluate, put = make(train=TrainConfig(ema_decay=0.9))
  batch = put(make_batch())
  # The decay rises from 1 / 10 to its value.
  for step_number, decay in ((0, 0.1), (10_000, 0.9)):
    state = dataclasses.replace(state, step=state.step + step_number)
    before = jax.device_get((state.ema_params, state.ema_batch_stats))
    state, _ = train_step(state, batch)
    of_params, of_stats = (
      jax.tree.map(lambda o, n, d=d: d * o + (1 - d) * np.asarray(n), old, new)
      for old, new, d in zip(
        before,
        (state.params, state.batch_stats),
        # The statistics before the first step, 0 and 1, are of no images.
        (decay, decay if step_number else 0.0),
        strict=True,
      )
    )
    assert_close(state.ema_params, of_params, 1e-6)
    assert_close(state.ema_batch_stats, of_stats, 1e-6)
  averaged = evaluate(state, batch)["logits"]
  for live in ({"ema_params": {}}, {"ema_batch_stats": {}}):
    other = evaluate(dataclasses.replace(state, **live), batch)
    assert not np.array_equal(averaged, other["logits"])


def test_an_update_that_is_not_finite_is_skipped():
  """All but the number of steps stays to the bit, and the sums are 0."""
  skips = dataclasses.replace(SGD, skip_nonfinite=True)
  clipped = dataclasses.replace(skips, momentum=0.9, clip_norm=1.0)
  for devices, optim in (
    (1, skips),
    (4, clipped),
    (4, dataclasses.replace(skips, accumulate=2)),
  ):
    options = {"devices": devices, "train": TrainConfig(ema_decay=0.9)}
    state, train_step, _, put = make(optim=optim, **options)
    good, bad = make_batch(), make_batch(seed=1)
    bad["mask"][3] = np.nan
    state, sums = train_step(state, put(good))
    assert float(sums["skipped"]) == 0
    plain = dataclasses.replace(optim, skip_nonfinite=False)
    expected, expected_sums = run([good], optim=plain, **options)
    assert_close((state, sums["loss"]), (expected, expected_sums["loss"]), 0)

    before = state_lib.sha256(state.replace(step=state.step + 1))
    state, sums = train_step(state, put(bad))
    assert state_lib.sha256(state) == before
    zeros = dict.fromkeys(("loss", "correct", "count", "grad_norm"), 0.0)
    assert jax.tree.map(float, sums) == {**zeros, "skipped": 1.0}


def test_resolution_is_resized_on_the_device():
  _, resized = run([make_batch()], model=ModelConfig(resolution=16))
  _, stored = run([make_batch()])
  assert float(resized["loss"]) != float(stored["loss"])


def test_targets_that_are_not_mixed_are_hard_to_the_bit():
  # The next image of every image that counts is one that does not.
  sparse = make_batch()
  sparse["mask"][1::2] = 0
  # The others get a rectangle of their own pixels, and no label counts.
  sparse["image"][1::2] = np.roll(sparse["image"][0::2], -1, axis=0)
  plain, mixed = (
    run([sparse], class_weights=(0.3, 1.7), augment=augment)
    for augment in (AugmentConfig(), AugmentConfig(cutmix=1.0))
  )
  for name in plain[1]:
    assert float(plain[1][name]) == float(mixed[1][name])
  assert state_lib.sha256(plain[0]) == state_lib.sha256(mixed[0])


def test_images_are_mixed_within_their_micro_batch():
  """Two classes in two micro-batches have nothing to mix."""
  batch = make_batch()
  batch["label"] = np.arange(8, dtype=np.int32) % 2
  batch["image"][:] = 255 * batch["label"].reshape(-1, 1, 1, 1)
  for accumulate in (1, 2):
    plain, mixed = (
      run(
        [batch],
        optim=dataclasses.replace(SGD, accumulate=accumulate),
        augment=augment,
        class_weights=(1.0, 0.0),
      )[1]["loss"]
      for augment in (AugmentConfig(), AugmentConfig(mixup=1.0))
    )
    same = float(plain) == pytest.approx(float(mixed), rel=1e-6)
    assert same == (accumulate == 2)


def test_evaluation_changes_no_image_and_adjusts_no_logit():
  everything = {
    "augment": AugmentConfig(
      flip="both",
      quarter_turns=True,
      crop_padding=2,
      crop_scale=0.5,
      brightness=0.5,
      stain=0.2,
      erasing=1.0,
      mixup=1.0,
      cutmix=1.0,
      randaugment=3,
    ),
    "train": TrainConfig(
      label_smoothing=0.1, focal_gamma=2.0, logit_adjustment=1.0
    ),
    "prior": (0.9, 0.1),
  }
  plain, same = (
    evaluate(state, put(make_batch()))
    for state, _, evaluate, put in (make(), make(**everything))
  )
  for name in plain:
    np.testing.assert_array_equal(plain[name], same[name])


def test_training_adjusts_logits_and_weighs_losses_by_focal_gamma():
  batch = make_batch()
  _, plain = run([batch])
  adjusted = TrainConfig(logit_adjustment=2.0)
  _, even = run([batch], train=adjusted)
  # The same number on every logit changes no loss.
  np.testing.assert_allclose(even["loss"], plain["loss"], rtol=1e-5)
  _, skewed = run([batch], train=adjusted, prior=(0.99, 0.01))
  counts = np.bincount(batch["label"], minlength=2)
  # Nothing is known yet: a prior this strong decides.
  expected = -(counts * np.log([0.99**2, 0.01**2])).sum()
  assert float(skewed["loss"]) == pytest.approx(expected, rel=0.3)
  assert float(skewed["correct"]) == float(plain["correct"])
  _, focal = run([batch], train=TrainConfig(focal_gamma=2.0))
  assert float(focal["loss"]) < 0.6 * float(plain["loss"])
