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
from mn_jax.train import losses, step
from mn_jax.train import optimizer as optim
from mn_jax.train import state as state_lib
from mn_jax.train.rules import Rules

pytestmark = pytest.mark.devices(4)


class Tiny(nn.Module):
  """A network with every kind of layer that compiles in a second."""

  norm_debias: bool = True
  dropout: float = 0.0
  norm_group: int = 0

  @nn.compact
  def __call__(self, x, train):
    norm = functools.partial(layers.BatchNorm, group=self.norm_group)
    stem = layers.ConvBN(
      4, norm, stride=2, activation=layers.relu6, name="stem"
    )
    x = stem(x, train)
    x = layers.DepthwiseConv(name="depthwise")(x)
    x = jnp.mean(x, axis=(1, 2))
    x = nn.Dropout(self.dropout, deterministic=not train)(x)
    return layers.Dense(2, name="head")(x), {"pooled": x}


def make(
  config,
  *,
  devices=1,
  module=None,
  class_weights=(1.0, 1.0),
  prior=(0.5, 0.5),
):
  """(state, train step, eval step, put) on a mesh of some devices."""
  module = module or Tiny()
  mesh = jax.make_mesh(
    (devices,),
    ("data",),
    axis_types=(AxisType.Auto,),
    devices=jax.devices()[:devices],
  )
  variables = module.init(jax.random.key(1), jnp.zeros((1, 8, 8, 3)), False)
  rules = Rules(config.optim.rules)
  tx = optim.make_optimizer(
    config.optim, lambda _: config.optim.learning_rate, rules
  )
  conventions = registry.get("mobilenet_v1").conventions
  state = mesh_lib.replicate(
    mesh,
    state_lib.create(variables, tx, rules, ema=config.train.ema_decay > 0),
  )
  weights = np.array(class_weights, np.float32)
  train_step = step.make_train_step(
    module,
    conventions,
    tx,
    config,
    mesh,
    rules=rules,
    class_weights=weights,
    log_prior=np.log(np.array(prior, np.float32)),
  )

  def train(state, batch):
    return train_step(state, batch, np.int32(config.seed))

  train.programs = train_step._cache_size
  evaluate = step.make_eval_step(module, conventions, config, mesh)
  return state, train, evaluate, mesh_lib.HostImages(mesh).put


def batch(size=8, seed=0):
  draw = np.random.default_rng(seed)
  return {
    "image": draw.integers(0, 256, (size, 8, 8, 3), np.uint8),
    "label": draw.integers(0, 2, size, np.int32),
    "mask": np.ones(size, np.float32),
    "id": np.arange(size, dtype=np.int32),
  }


def config(**sections):
  return dataclasses.replace(Config(), **sections)


def run(cfg, batches, **options):
  state, train, _, put = make(cfg, **options)
  sums = None
  for one in batches:
    state, sums = train(state, put(one))
  return state, sums


def assert_close(a, b, tolerance=1e-5):
  # Gradients of BatchNorm's input cancel; what is left differs in rounding.
  for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
    np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance)


SGD = OptimConfig(name="sgd", learning_rate=0.1, momentum=0.0)


def test_loss_falls_and_sums_are_right():
  cfg = config(optim=SGD)
  state, train, evaluate, put = make(cfg)
  one = put(batch())
  first = None
  for _ in range(30):
    state, sums = train(state, one)
    first = first if first is not None else sums
  assert float(sums["loss"]) < 0.9 * float(first["loss"])
  assert float(sums["count"]) == 8
  assert float(sums["correct"]) == int(sums["correct"])
  assert float(sums["grad_norm"]) > 0
  assert int(state.step) == 30
  out = evaluate(state, one)
  assert out["logits"].shape == (8, 2)
  targets = jax.nn.one_hot(one["label"], 2)
  expected = losses.cross_entropy(out["logits"], targets)
  np.testing.assert_allclose(out["loss"], expected, rtol=1e-6)


@pytest.mark.parametrize("group", [2, 4])
def test_groups_of_batchnorm_are_the_same_on_any_devices(group):
  """Smaller than a device's share of the images, and larger."""
  cfg = config(optim=SGD)
  batches = [batch(seed=s) for s in range(2)]
  module = Tiny(norm_group=group)
  one, _ = run(cfg, batches, module=module, devices=1)
  two, _ = run(cfg, batches, module=module, devices=2)
  four, _ = run(cfg, batches, module=module, devices=4)
  assert_close(one, two)
  assert_close(one, four)
  whole, _ = run(cfg, batches)
  found = one.batch_stats["stem"]["norm"]
  expected = whole.batch_stats["stem"]["norm"]
  assert np.all(found["var"] < expected["var"])
  np.testing.assert_array_equal(found["weight"], expected["weight"])


def test_four_devices_equal_one():
  augment = AugmentConfig(flip="both", quarter_turns=True)
  cfg = config(optim=SGD, augment=augment)
  batches = [batch(seed=s) for s in range(3)]
  one, sums_one = run(cfg, batches, devices=1)
  four, sums_four = run(cfg, batches, devices=4)
  assert_close(one, four)
  assert_close(sums_one, sums_four)


def test_same_seed_same_bits_other_seed_other_numbers():
  augment = AugmentConfig(flip="both", quarter_turns=True)
  cfg = config(augment=augment, optim=SGD)
  batches = [batch(seed=s) for s in range(2)]
  a, _ = run(cfg, batches)
  b, _ = run(cfg, batches)
  assert state_lib.sha256(a) == state_lib.sha256(b)
  c, _ = run(config(augment=augment, optim=SGD, seed=1), batches)
  assert state_lib.sha256(a) != state_lib.sha256(c)


def test_randomness_changes_with_the_step():
  cfg = config(optim=OptimConfig(name="sgd", learning_rate=0.0), seed=3)
  module = Tiny(dropout=0.5)
  state, train, _, put = make(cfg, module=module)
  one = put(batch())
  state, first = train(state, one)
  state, second = train(state, one)
  assert float(first["loss"]) != float(second["loss"])


def test_accumulation_equals_the_full_batch():
  # Four times the same micro-batch: BatchNorm sees the same statistics then.
  part = batch(4)
  # Rows are dealt to micro-batches in turn, so each image stands four times.
  whole = {k: np.repeat(v, 4, axis=0) for k, v in part.items()}
  once, sums_once = run(config(optim=SGD), [part])
  accumulated = dataclasses.replace(SGD, accumulate=4)
  many, sums_many = run(config(optim=accumulated), [whole], devices=4)
  assert_close(once.params, many.params)
  assert float(sums_many["count"]) == 16
  np.testing.assert_allclose(
    sums_many["loss"], 4 * sums_once["loss"], rtol=1e-5
  )
  weight = many.batch_stats["stem"]["norm"]["weight"]
  np.testing.assert_allclose(weight, 1 - 0.99**4, rtol=1e-5)


def test_masked_examples_have_no_gradient():
  masked, other = batch(), batch()
  masked["mask"][4:] = 0
  other["mask"][4:] = 0
  other["label"][4:] = 1 - other["label"][4:]
  a, sums = run(config(optim=SGD), [masked])
  b, _ = run(config(optim=SGD), [other])
  assert float(sums["count"]) == 4
  assert_close(a.params, b.params, 0)


def test_class_weights_scale_the_gradient():
  only = batch()
  only["label"][:] = 1
  plain, sums = run(config(optim=SGD), [only])
  double, sums_double = run(config(optim=SGD), [only], class_weights=(1.0, 2.0))
  np.testing.assert_allclose(sums_double["loss"], 2 * sums["loss"], rtol=1e-6)
  np.testing.assert_allclose(
    sums_double["grad_norm"], 2 * sums["grad_norm"], rtol=1e-5
  )
  assert_close(plain.batch_stats, double.batch_stats, 0)


def test_ema_follows_and_is_what_is_evaluated():
  cfg = config(optim=SGD, train=TrainConfig(ema_decay=0.9))
  state, train, evaluate, put = make(cfg)
  start = jax.device_get(state.params)
  state, _ = train(state, put(batch()))
  # The decay rises from 1 / 10 to its value.
  expected = jax.tree.map(
    lambda old, new: 0.1 * old + 0.9 * np.asarray(new), start, state.params
  )
  assert_close(state.ema_params, expected, 1e-6)
  late = dataclasses.replace(state, step=state.step + 10_000)
  before = jax.device_get(late.ema_params)
  late, _ = train(late, put(batch()))
  expected = jax.tree.map(
    lambda old, new: 0.9 * old + 0.1 * np.asarray(new), before, late.params
  )
  assert_close(late.ema_params, expected, 1e-6)
  state, _ = train(make(cfg)[0], put(batch()))
  plain = dataclasses.replace(state, ema_params={})
  one = put(batch())
  assert not np.array_equal(
    evaluate(state, one)["logits"], evaluate(plain, one)["logits"]
  )


def test_resolution_is_resized_on_the_device():
  cfg = config(model=ModelConfig(resolution=16), optim=SGD)
  _, sums = run(cfg, [batch()])
  _, stored = run(config(optim=SGD), [batch()])
  assert float(sums["loss"]) != float(stored["loss"])


@pytest.mark.parametrize("placement", ["host", "device"])
def test_placements_give_the_same_batch(placement):
  images = batch(32)["image"]
  mesh = mesh_lib.make_mesh()
  rows = np.array([5, 31, 0, 7], np.int32)
  host = {"id": rows, "label": rows % 2, "mask": np.ones(4, np.float32)}
  if placement == "host":
    on_mesh = mesh_lib.HostImages(mesh).put({**host, "image": images[rows]})
  else:
    on_mesh = mesh_lib.DeviceImages(mesh, images).put(host)
  np.testing.assert_array_equal(on_mesh["image"], images[rows])
  np.testing.assert_array_equal(on_mesh["label"], host["label"])
  assert len(on_mesh["image"].sharding.device_set) == 4


MIXING = AugmentConfig(flip="both", mixup=0.4, cutmix=1.0)


def test_mixing_on_four_devices_equals_one_and_compiles_once():
  cfg = config(optim=SGD, augment=MIXING)
  batches = [batch(seed=s) for s in range(4)]
  one, sums_one = run(cfg, batches, devices=1)
  state, train, _, put = make(cfg, devices=4)
  for each in batches:
    state, sums = train(state, put(each))
  assert train.programs() == 1
  assert_close(one, state)
  assert_close(sums_one, sums)


def test_targets_that_nothing_mixed_are_hard_to_the_bit():
  # The next image of every image that counts is one that does not.
  sparse = batch()
  sparse["mask"][1::2] = 0
  # The others get a rectangle of their own pixels, and no label counts.
  sparse["image"][1::2] = np.roll(sparse["image"][0::2], -1, axis=0)
  a, sums = run(config(optim=SGD), [sparse], class_weights=(0.3, 1.7))
  mixing = config(optim=SGD, augment=AugmentConfig(cutmix=1.0))
  b, sums_mixed = run(mixing, [sparse], class_weights=(0.3, 1.7))
  for name in sums:
    assert float(sums[name]) == float(sums_mixed[name])
  assert state_lib.sha256(a) == state_lib.sha256(b)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_images_are_mixed_within_their_micro_batch(accumulate):
  """Two classes in two micro-batches have nothing to mix."""
  black_and_white = batch()
  label = np.arange(8, dtype=np.int32) % 2
  black_and_white["label"] = label
  black_and_white["image"][:] = 255 * label.reshape(-1, 1, 1, 1)
  optimizer = dataclasses.replace(SGD, accumulate=accumulate)
  losses_found = [
    float(
      run(
        config(optim=optimizer, augment=augment),
        [black_and_white],
        class_weights=(1.0, 0.0),
      )[1]["loss"]
    )
    for augment in (AugmentConfig(), AugmentConfig(mixup=1.0))
  ]
  same = losses_found[0] == pytest.approx(losses_found[1], rel=1e-6)
  assert same == (accumulate == 2)


def test_steps_have_pixels_of_their_own_and_the_same_again():
  augment = AugmentConfig(crop_scale=0.5, stain=0.1, erasing=0.5)
  still = OptimConfig(name="sgd", learning_rate=0.0)
  found = []
  for _ in range(2):
    state, train, _, put = make(config(optim=still, augment=augment))
    one = put(batch())
    for _ in range(3):
      state, sums = train(state, one)
      found.append(float(sums["loss"]))
  assert found[:3] == found[3:]
  assert len(set(found)) == 3


def test_evaluation_changes_no_image_and_adjusts_no_logit():
  everything = config(
    optim=SGD,
    augment=AugmentConfig(
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
    train=TrainConfig(
      label_smoothing=0.1, focal_gamma=2.0, logit_adjustment=1.0
    ),
  )
  outs = []
  for cfg in (everything, config(optim=SGD)):
    state, _, evaluate, put = make(cfg, prior=(0.9, 0.1))
    outs.append(evaluate(state, put(batch())))
  for name in outs[0]:
    np.testing.assert_array_equal(outs[0][name], outs[1][name])


def test_logits_are_adjusted_in_training_alone():
  cfg = config(optim=SGD, train=TrainConfig(logit_adjustment=2.0))
  one = batch()
  _, even = run(cfg, [one])
  _, plain = run(config(optim=SGD), [one])
  # The same number on every logit changes no loss.
  np.testing.assert_allclose(even["loss"], plain["loss"], rtol=1e-5)
  _, skewed = run(cfg, [one], prior=(0.99, 0.01))
  counts = np.bincount(one["label"], minlength=2)
  # Nothing is known yet: a prior this strong decides.
  expected = -(counts * np.log([0.99**2, 0.01**2])).sum()
  assert float(skewed["loss"]) == pytest.approx(expected, rel=0.3)
  assert float(skewed["correct"]) == float(plain["correct"])


def test_focal_loss_is_smaller():
  focal = config(optim=SGD, train=TrainConfig(focal_gamma=2.0))
  _, less = run(focal, [batch()])
  _, plain = run(config(optim=SGD), [batch()])
  assert float(less["loss"]) < 0.6 * float(plain["loss"])
