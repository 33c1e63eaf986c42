"""Tests of distillation: the divergence, and steps with a teacher."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from mn_jax.augment import mix, pipeline
from mn_jax.config import Config
from mn_jax.config.experiment import AugmentConfig, OptimConfig, TrainConfig
from mn_jax.models.spec import Conventions
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.train import distill, optimizer, step
from mn_jax.train import state as state_lib
from mn_jax.train.rules import Rules
from tests.train import test_step

pytestmark = pytest.mark.devices(4)

_DRAW = np.random.default_rng(0)
LOGITS = 5 * _DRAW.normal(size=(50, 4)).astype(np.float32)
OF_TEACHER = 5 * _DRAW.normal(size=(50, 4)).astype(np.float32)

# Another normalisation than that of the students, MobileNetV1's.
CONVENTIONS = Conventions(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
TEACHER = distill.Teacher(test_step.TINY, CONVENTIONS, resolution=8)
CONFIG = TrainConfig(teacher="a run", teacher_weight=0.5)
STUDENT = test_step.registry.get("mobilenet_v1").conventions


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_is_that_of_scipy(temperature):
  kl = distill.divergence(
    LOGITS, OF_TEACHER, temperature=temperature, multi_label=False
  )
  p, q = (
    scipy.special.softmax(np.float64(x) / temperature, axis=1)
    for x in (OF_TEACHER, LOGITS)
  )
  expected = temperature**2 * scipy.stats.entropy(p, q, axis=1)
  assert kl.dtype == np.float32
  np.testing.assert_allclose(kl, expected, rtol=1e-4, atol=1e-5)
  same = distill.divergence(
    LOGITS, LOGITS, temperature=temperature, multi_label=False
  )
  np.testing.assert_array_equal(same, 0)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_divergence_of_labels_is_the_mean_over_binary_ones(temperature):
  kl = distill.divergence(
    LOGITS, OF_TEACHER, temperature=temperature, multi_label=True
  )
  p, q = (
    scipy.special.expit(np.float64(x) / temperature)
    for x in (OF_TEACHER, LOGITS)
  )
  rel_entr = scipy.special.rel_entr
  labels = rel_entr(p, q) + rel_entr(1 - p, 1 - q)
  expected = temperature**2 * labels.mean(axis=1)
  np.testing.assert_allclose(kl, expected, rtol=1e-4, atol=1e-5)


def test_at_high_temperature_it_fits_centred_logits():
  """Hinton et al. 2015, equation 4: then it is a squared error."""
  gradient = jax.grad(
    lambda x: distill.divergence(
      x, OF_TEACHER, temperature=1000.0, multi_label=False
    ).sum()
  )(LOGITS)
  centred = [x - x.mean(axis=1, keepdims=True) for x in (LOGITS, OF_TEACHER)]
  expected = (centred[0] - centred[1]) / LOGITS.shape[1]
  np.testing.assert_allclose(gradient, expected, rtol=0.05, atol=0.02)


@pytest.mark.parametrize("multi_label", [False, True])
def test_extreme_logits_have_finite_divergences_and_slopes(multi_label):
  divergence = functools.partial(
    distill.divergence, temperature=1.0, multi_label=multi_label
  )
  large, small = np.float32([[1e4, -1e4]]), np.float32([[-1e4, 1e4]])
  assert np.isfinite(divergence(large, small)).all()
  slope = jax.grad(lambda x: divergence(x, small).sum())(large)
  assert np.isfinite(slope).all()


def test_sums_leave_out_what_the_mask_leaves_out():
  mask = np.float32(np.arange(50) % 3 > 0)
  sums = distill.sums(
    LOGITS, OF_TEACHER, mask, temperature=2.0, multi_label=False
  )
  some = mask > 0
  kl = distill.divergence(
    LOGITS[some], OF_TEACHER[some], temperature=2.0, multi_label=False
  )
  assert float(sums["teacher_loss"]) == pytest.approx(float(kl.sum()), 1e-5)
  same = LOGITS[some].argmax(1) == OF_TEACHER[some].argmax(1)
  assert float(sums["teacher_agreement"]) == same.sum()
  labels = distill.sums(
    LOGITS, OF_TEACHER, mask, temperature=2.0, multi_label=True
  )
  same = (LOGITS[some] >= 0) == (OF_TEACHER[some] >= 0)
  expected = pytest.approx(same.mean(axis=1).sum())
  assert float(labels["teacher_agreement"]) == expected


def _variables(seed=7):
  """A teacher's: its statistics are not those of a new network."""
  module = TEACHER.module
  variables = module.init(jax.random.key(seed), jnp.zeros((1, 8, 8, 3)), False)
  stats = jax.tree.map(lambda x: x + 0.5, variables["batch_stats"])
  head = jax.tree.map(lambda x: 5 * x, variables["params"]["head"])
  return {
    "params": {**variables["params"], "head": head},
    "batch_stats": stats,
  }


def _predict(variables, conventions, images, *, train=False):
  """Logits f64[batch, 2] of images f32[batch, 8, 8, 3] in [0, 255]."""
  mean, std = (
    np.float32(x).reshape(1, 1, 1, 3)
    for x in (conventions.mean, conventions.std)
  )
  x = (np.asarray(images) / np.float32(255) - mean) / std
  options = {"mutable": ["batch_stats"]} if train else {}
  output = test_step.TINY.apply(variables, x, train, **options)
  return np.float64(output[0][0] if train else output[0])


def _of_student():
  return test_step.TINY.init(jax.random.key(1), jnp.zeros((1, 8, 8, 3)), False)


@functools.cache
def _make(config, devices, teacher, scanned):
  mesh = mesh_lib.make_mesh(jax.devices()[:devices])
  variables = _of_student()
  rules = Rules(config.optim.rules)
  tx = optimizer.make_optimizer(
    config.optim, lambda _: config.optim.learning_rate, rules
  )
  state = mesh_lib.replicate(
    mesh, state_lib.create(variables, tx, rules, ema=False)
  )
  train_step = step.make_train_step(
    test_step.TINY,
    STUDENT,
    tx,
    config,
    mesh,
    rules=rules,
    class_weights=np.ones(2, np.float32),
    log_prior=np.zeros(2, np.float32),
    teacher=teacher,
    scanned=scanned,
  )
  return state, train_step, mesh


def run(
  batches,
  *,
  train=CONFIG,
  augment=None,
  accumulate=1,
  devices=1,
  teacher=TEACHER,
  variables=None,
  scanned=False,
):
  """The state after a step on each batch, and the sums of the last step."""
  optim = OptimConfig(
    name="sgd", learning_rate=0.1, momentum=0.0, accumulate=accumulate
  )
  config = dataclasses.replace(
    Config(), optim=optim, train=train, augment=augment or AugmentConfig()
  )
  state, train_step, mesh = _make(config, devices, teacher, scanned)
  state = jax.tree.map(jnp.copy, state)  # it is donated
  put = mesh_lib.HostImages(mesh).put
  constants = [np.int32(0)]
  if teacher is not None:
    constants.append(mesh_lib.replicate(mesh, variables or _variables()))
  if scanned:
    stacked = put(mesh_lib.stack(batches), axis=1)
    state, sums = train_step(state, stacked, *constants)
    return state, {name: value[-1] for name, value in sums.items()}
  for batch in batches:
    state, sums = train_step(state, put(batch), *constants)
  return state, sums


BATCHES = [test_step.make_batch(seed=seed) for seed in range(3)]


def test_loss_is_the_weighted_mean_of_labels_and_teacher():
  _, labels = run(BATCHES[:1], teacher=None, train=TrainConfig())
  assert "teacher_loss" not in labels
  _, sums = run(BATCHES[:1])
  both = 0.5 * float(labels["loss"]) + 0.5 * float(sums["teacher_loss"])
  assert float(sums["loss"]) == pytest.approx(both, rel=1e-5)
  assert float(sums["teacher_loss"]) > 0.1
  assert float(sums["correct"]) == float(labels["correct"])
  # An oracle: the networks' logits of the first step.
  ours = _predict(_of_student(), STUDENT, BATCHES[0]["image"], train=True)
  theirs = _predict(_variables(), CONVENTIONS, BATCHES[0]["image"])
  p, q = (scipy.special.softmax(x / 4, axis=1) for x in (theirs, ours))
  expected = 16 * scipy.stats.entropy(p, q, axis=1).sum()
  assert float(sums["teacher_loss"]) == pytest.approx(expected, rel=1e-4)
  agreement = (ours.argmax(1) == theirs.argmax(1)).sum()
  assert float(sums["teacher_agreement"]) == agreement


def test_weight_0_trains_as_without_a_teacher():
  train = dataclasses.replace(CONFIG, teacher_weight=0.0)
  state, sums = run(BATCHES, train=train)
  alone, sums_alone = run(BATCHES, teacher=None, train=TrainConfig())
  test_step.assert_close(state, alone)
  assert float(sums["loss"]) == pytest.approx(float(sums_alone["loss"]), 1e-5)
  assert float(sums["teacher_loss"]) > 0


def test_weight_1_ignores_labels():
  train = dataclasses.replace(CONFIG, teacher_weight=1.0, label_smoothing=0.1)
  state, sums = run(BATCHES, train=train)
  others = [{**batch, "label": 1 - batch["label"]} for batch in BATCHES]
  same, sums_of_others = run(others, train=train)
  test_step.assert_close(state, same, 0)
  assert float(sums["loss"]) == float(sums_of_others["loss"])
  half, _ = run(BATCHES)
  kernels = [x.params["head"]["kernel"] for x in (state, half)]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-3


def test_the_teacher_is_not_trained_and_its_values_decide():
  variables = _variables()
  before = jax.tree.map(np.array, variables)
  state, _ = run(BATCHES, variables=variables)
  test_step.assert_close(variables, before, 0)
  assert jax.tree.structure(state.params) == jax.tree.structure(
    before["params"]
  )
  # Variables are an argument: one program for another teacher too.
  turned = {
    **variables["params"],
    "head": jax.tree.map(lambda x: -x, variables["params"]["head"]),
  }
  other, _ = run(BATCHES, variables={**variables, "params": turned})
  kernels = [x.params["head"]["kernel"] for x in (state, other)]
  assert np.abs(kernels[0] - kernels[1]).max() > 1e-3
  slope = jax.grad(lambda v: TEACHER.logits(v, BATCHES[0]["image"]).sum())(
    variables
  )
  assert all(not np.any(x) for x in jax.tree.leaves(slope))


@pytest.mark.parametrize(
  "change",
  [
    {"conventions": STUDENT},
    {"resolution": 12},
  ],
  ids=lambda change: next(iter(change)),
)
def test_the_teacher_sees_its_own_normalisation_and_size(change):
  _, sums = run(BATCHES[:1])
  teacher = dataclasses.replace(TEACHER, **change)
  _, other = run(BATCHES[:1], teacher=teacher)
  before, after = (float(x["teacher_loss"]) for x in (sums, other))
  assert abs(before - after) > 0.01 * before


def test_the_teacher_sees_the_augmented_and_mixed_image():
  augment = AugmentConfig(flip="horizontal", mixup=1.0)
  _, sums = run(BATCHES[:1], augment=augment)
  keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 0), 3)
  images = pipeline.augment(BATCHES[0]["image"], keys[0], augment)
  images, _ = mix.mix(
    images, jnp.zeros((8, 2)), keys[2], augment, mask=jnp.ones(8)
  )
  assert np.abs(images - np.float32(BATCHES[0]["image"])).max() > 10
  p, q = (
    scipy.special.softmax(x / 4, axis=1)
    for x in (
      _predict(_variables(), CONVENTIONS, images),
      _predict(_of_student(), STUDENT, images, train=True),
    )
  )
  expected = 16 * scipy.stats.entropy(p, q, axis=1).sum()
  assert float(sums["teacher_loss"]) == pytest.approx(expected, rel=1e-4)


def test_devices_and_scanned_steps_change_rounding_alone():
  state, sums = run(BATCHES)
  for options in ({"devices": 4}, {"scanned": True}):
    other, sums_of_other = run(BATCHES, **options)
    test_step.assert_close(state, other, 1e-4)
    for name, value in sums.items():
      assert float(sums_of_other[name]) == pytest.approx(float(value), 1e-4)


def test_accumulated_sums_are_those_of_the_micro_batches():
  _, sums = run(BATCHES[:1], accumulate=2)
  # Interleaved: BatchNorm normalises each half by itself.
  halves = [
    {name: value[part::2] for name, value in BATCHES[0].items()}
    for part in (0, 1)
  ]
  found = [run([half])[1] for half in halves]
  for name in ("loss", "teacher_loss", "teacher_agreement", "count"):
    expected = sum(float(x[name]) for x in found)
    assert float(sums[name]) == pytest.approx(expected, rel=1e-5), name
