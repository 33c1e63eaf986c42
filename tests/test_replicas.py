"""Tests of stepping several seeds together: both ways against each alone."""

import types

import jax
import numpy as np
import pytest

from mn_jax import evaluate, optim, replicas, step
from mn_jax import mesh as mesh_lib
from mn_jax import state as state_lib
from mn_jax.config import AugmentConfig, Config, TrainConfig
from mn_jax.data import loader
from mn_jax.models import registry
from mn_jax.rules import Rules
from tests.test_step import SGD, Tiny, assert_close, batch

SEEDS = (3, 0, 7)
# Every kind of random number, and an average of the parameters.
CONFIG = Config(
  optim=SGD,
  augment=AugmentConfig(flip="both", mixup=0.4),
  train=TrainConfig(ema_decay=0.9),
)
IMAGES = batch(40)["image"]


def make(way, seeds=SEEDS, *, devices=1, placement=mesh_lib.HostImages):
  """(the replicas, their first states)."""
  module, rules = Tiny(dropout=0.5), Rules(SGD.rules)
  mesh = mesh_lib.make_mesh(jax.devices()[:devices])
  tx = optim.make_optimizer(SGD, lambda _: SGD.learning_rate, rules)
  conventions = registry.get("mobilenet_v1").conventions
  stacked = way is replicas.Stacked
  made = way(
    step.make_train_step(
      module,
      conventions,
      tx,
      CONFIG,
      mesh,
      rules=rules,
      class_weights=np.ones(2, np.float32),
      log_prior=np.log(np.full(2, 0.5, np.float32)),
      stacked=stacked,
    ),
    step.make_eval_step(module, conventions, CONFIG, mesh, stacked=stacked),
    placement(mesh),
    mesh,
    seeds,
  )

  def first(seed):
    values = module.init(
      jax.random.key(seed), np.zeros((1, 8, 8, 3), np.float32), False
    )
    return mesh_lib.replicate(
      mesh, state_lib.create(values, tx, rules, ema=True)
    )

  return made, [first(seed) for seed in seeds]


def train(made, states, seeds=SEEDS, *, pixels=True):
  """(states, sums by replica) after three steps on batches of their own."""
  states = made.join(states)
  for number in range(3):
    batches = [batch(seed=100 * seed + number) for seed in seeds]
    if not pixels:
      batches = [
        {k: own[k] for k in ("id", "label", "mask")} for own in batches
      ]
    states, sums = made.train_step(states, batches)
  return made.split(states), made.fetch(sums)


@pytest.fixture(scope="module")
def alone():
  """The same of every seed by itself."""
  found = [
    train(*make(replicas.SideBySide, (seed,)), (seed,)) for seed in SEEDS
  ]
  return [states[0] for states, _ in found], [sums[0] for _, sums in found]


def test_side_by_side_each_is_what_it_is_alone(alone):
  made, states = make(replicas.SideBySide)
  states, sums = train(made, states)
  assert len({state_lib.sha256(state) for state in states}) == len(SEEDS)
  assert [*map(state_lib.sha256, states)] == [*map(state_lib.sha256, alone[0])]
  assert sums == alone[1]


@pytest.mark.parametrize(
  ("way", "devices"),
  [(replicas.Stacked, 1), (replicas.Stacked, 4), (replicas.SideBySide, 4)],
)
def test_each_is_about_what_it_is_alone(alone, way, devices):
  made, states = make(way, devices=devices)
  states, sums = train(made, states)
  for mine, its, found, expected in zip(
    states, alone[0], sums, alone[1], strict=True
  ):
    assert jax.tree.structure(mine) == jax.tree.structure(its)
    assert_close(mine, its, 1e-4)
    assert_close(found, expected, 1e-4)


def test_states_are_joined_and_split_to_the_bit(alone):
  made, _ = make(replicas.Stacked)
  again = made.split(made.join(alone[0]))
  assert [*map(state_lib.sha256, again)] == [*map(state_lib.sha256, alone[0])]


@pytest.mark.parametrize("way", [replicas.SideBySide, replicas.Stacked])
def test_images_on_the_device_are_those_of_the_rows(way):
  def on_device(mesh):
    return mesh_lib.DeviceImages(mesh, IMAGES)

  made, states = make(way, devices=2, placement=on_device)
  found, _ = train(made, states, pixels=False)

  class FromHost(mesh_lib.HostImages):
    def put(self, batch):
      return super().put({**batch, "image": IMAGES[batch["id"]]})

    def put_stacked(self, batches):
      return super().put_stacked(
        [{**own, "image": IMAGES[own["id"]]} for own in batches]
      )

  made, states = make(way, devices=2, placement=FromHost)
  expected, _ = train(made, states, pixels=False)
  for mine, its in zip(found, expected, strict=True):
    assert state_lib.sha256(mine) == state_lib.sha256(its)


@pytest.mark.parametrize("way", [replicas.SideBySide, replicas.Stacked])
def test_all_see_a_whole_part(alone, way):
  labels = np.arange(40, dtype=np.int32) % 2
  made, _ = make(way)
  found = evaluate.predict_replicas(
    made,
    made.join(alone[0]),
    loader.eval_batches(IMAGES, labels, np.arange(21), batch_size=8),
  )
  assert len(found) == len(SEEDS)
  for own, state in zip(found, alone[0], strict=True):
    one, _ = make(replicas.SideBySide, (0,))
    (expected,) = evaluate.predict_replicas(
      one,
      one.join([state]),
      loader.eval_batches(IMAGES, labels, np.arange(21), batch_size=8),
    )
    np.testing.assert_array_equal(own.ids, np.arange(21))
    np.testing.assert_array_equal(own.labels, labels[:21])
    assert_close(own.logits, expected.logits)
    assert_close(own.losses, expected.losses)
  assert not np.array_equal(found[0].logits, found[1].logits)


@pytest.mark.parametrize(
  ("platform", "count", "stacked"),
  [("cpu", 1, False), ("cpu", 5, False), ("gpu", 1, False), ("gpu", 2, True)],
)
def test_replicas_are_stacked_on_accelerators(
  monkeypatch, platform, count, stacked
):
  device = types.SimpleNamespace(platform=platform)
  monkeypatch.setattr(jax, "devices", lambda: [device])
  assert replicas.is_stacked(count) == stacked
