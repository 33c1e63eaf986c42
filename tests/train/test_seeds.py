"""Tests of stepping several seeds together: both ways against each alone."""

import functools
import itertools
import types

import jax
import numpy as np
import pytest

from mn_jax.config import Config
from mn_jax.config.experiment import AugmentConfig, TrainConfig
from mn_jax.data import loader
from mn_jax.models import registry
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.train import evaluate, optimizer, step
from mn_jax.train import seeds as replicas
from mn_jax.train import state as state_lib
from mn_jax.train.rules import Rules
from tests.train.test_step import SGD, Tiny, assert_close, batch

pytestmark = pytest.mark.devices(4)

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
  tx = optimizer.make_optimizer(SGD, lambda _: SGD.learning_rate, rules)
  conventions = registry.get("mobilenet_v1").conventions
  stacked = way is replicas.Stacked
  make_train_step = functools.partial(
    step.make_train_step,
    module,
    conventions,
    tx,
    CONFIG,
    mesh,
    rules=rules,
    class_weights=np.ones(2, np.float32),
    log_prior=np.log(np.full(2, 0.5, np.float32)),
    stacked=stacked,
  )
  made = way(
    make_train_step(),
    make_train_step(scanned=True),
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


def train(made, states, seeds=SEEDS, *, pixels=True, dispatches=(1, 1, 1)):
  """(states, sums by replica) after three steps on batches of their own."""
  states, sums, number = made.join(states), [], 0
  for steps in dispatches:
    numbers = range(number, number + steps)
    batches = [
      [batch(seed=100 * seed + number) for number in numbers] for seed in seeds
    ]
    if not pixels:
      for own in itertools.chain(*batches):
        del own["image"]
    states, found = made.train_steps(states, batches)
    sums.append(made.fetch(found))
    number += steps
  return made.split(states), [
    {
      name: np.concatenate([np.ravel(some[name]) for some in own])
      for name in own[0]
    }
    for own in zip(*sums, strict=True)
  ]


def assert_same(found, expected):
  """What `train` returns, to the bit."""
  shas = [[*map(state_lib.sha256, states)] for states, _ in (found, expected)]
  assert shas[0] == shas[1]
  jax.tree.map(np.testing.assert_array_equal, found[1], expected[1])


@pytest.fixture(scope="module")
def alone():
  """The same of every seed by itself."""
  found = [
    train(*make(replicas.SideBySide, (seed,)), (seed,)) for seed in SEEDS
  ]
  return [states[0] for states, _ in found], [sums[0] for _, sums in found]


def test_side_by_side_each_is_what_it_is_alone(alone):
  made, states = make(replicas.SideBySide)
  found = train(made, states)
  assert len({state_lib.sha256(state) for state in found[0]}) == len(SEEDS)
  assert_same(found, alone)


@pytest.mark.parametrize("way", [replicas.SideBySide, replicas.Stacked])
@pytest.mark.parametrize("devices", [1, 2])
def test_several_steps_in_a_dispatch_are_those_one_by_one(way, devices):
  expected = train(*make(way, devices=devices))
  assert all(sums["loss"].shape == (3,) for sums in expected[1])
  found = train(*make(way, devices=devices), dispatches=(1, 2))
  for some, its in zip(found, expected, strict=True):
    assert_close(some, its)


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
  found = train(made, states, pixels=False, dispatches=(1, 2))

  class FromHost(mesh_lib.HostImages):
    def put(self, batch, *, axis=0):
      return super().put({**batch, "image": IMAGES[batch["id"]]}, axis=axis)

  made, states = make(way, devices=2, placement=FromHost)
  assert_same(found, train(made, states, pixels=False, dispatches=(1, 2)))


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
