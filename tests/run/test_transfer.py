"""What training changes of pretrained weights, and what it leaves alone."""

import dataclasses
import pathlib

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.models import registry, variables
from mn_jax.observe.console import Console
from mn_jax.parallel import mesh
from mn_jax.run import outputs
from mn_jax.run import setup as setup_lib
from mn_jax.train import state as state_lib
from mn_jax.weights import keras_files
from tests import toy_transfer as toy
from tests.weights import toy_h5

# Adam divides small gradients by themselves, and so makes rounding visible.
SGD = {
  "optim__name": "sgd",
  "optim__learning_rate": 1e-2,
  "optim__weight_decay": 0.01,
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  """A file of weights with five classes."""
  path = tmp_path_factory.mktemp("weights") / "five.h5"
  toy.write_weights(path, classes=5)
  return str(path)


@pytest.fixture(scope="module")
def two_classes(tmp_path_factory):
  """(file of as many classes as the data has, its tensors)."""
  path = tmp_path_factory.mktemp("weights") / "two.h5"
  tensors = toy.write_weights(path, classes=2, seed=1)
  return str(path), tensors


def flat(tree):
  return {
    path: np.asarray(x)
    for path, x in flax.traverse_util.flatten_dict(tree, sep="/").items()
  }


def differences(before, after):
  """The paths of the arrays that differ."""
  before, after = flat(before), flat(after)
  assert before.keys() == after.keys()
  return {p for p in before if not np.array_equal(before[p], after[p])}


def optimized(state):
  """The paths of the optimizer's state."""
  return [
    jax.tree_util.keystr(path)
    for path, _ in jax.tree_util.tree_leaves_with_path(state.opt_state)
  ]


def test_fine_tuning_starts_from_the_file(two_classes):
  weights, tensors = two_classes
  config = toy.load(model__weights=weights, model__transfer="fine_tune")
  setup = toy.build(config)
  state = setup.initial_state
  values = flat(state.params) | flat(state.batch_stats)
  for path, tensor in tensors.items():
    np.testing.assert_array_equal(values.pop(path), tensor, path)
  # Nothing else but the weights of the running statistics.
  assert {path.split("/")[-1] for path in values} == {"weight"}
  assert all(value == 1 for value in values.values())
  assert setup.network.conventions.padding == "end"
  assert not setup.cached_features


@pytest.mark.parametrize(
  ("size", "cached"), [(0, True), (32, True), (48, False)]
)
def test_features_are_not_cached_of_another_training_resolution(size, cached):
  config = toy.load(model__transfer="frozen", model__train_resolution=size)
  assert setup_lib.caches_features(config) == cached


@pytest.mark.parametrize("head", ["own", "gap_128_64"])
@pytest.mark.parametrize("classes", [2, 5])
def test_a_new_head_is_initialised_from_the_seed(
  weights, two_classes, head, classes, capsys
):
  """That is every head but the network's own with as many classes."""
  config = toy.load(
    model__weights=weights if classes == 5 else two_classes[0],
    model__transfer="fine_tune",
    model__head=head,
    train__ema_decay=0.5,
    seed=3,
  )
  setup = toy.build(config)
  state = setup.initial_state
  random = variables.initial_values(registry.build(setup.network), 32, 3)
  same = not differences(random["params"]["head"], state.params["head"])
  assert same == ((head, classes) != ("own", 2))
  changed = differences(random["params"]["backbone"], state.params["backbone"])
  assert len(changed) > 20
  assert not differences(state.params, state.ema_params)
  assert setup.num_params == sum(x.size for x in flat(state.params).values())
  outputs.print_network(Console(), setup, seeds=(3,))
  layer = "new logits" if same else "its last layer too"
  printed = capsys.readouterr().out
  assert f"fine_tune; head: {head}, {layer}\n" in printed
  assert "features" not in printed


def test_a_head_of_another_kind_is_said_and_new(two_classes, tmp_path, capsys):
  weights, tensors = two_classes
  content = keras_files.read(pathlib.Path(weights))
  layers = [(layer.name, layer.weights) for layer in content]
  layers.append(("more", {"kernel": np.ones((2, 2)), "bias": np.ones(2)}))
  path = toy_h5.write_layers(tmp_path / "custom.h5", layers)
  setup = toy.build(toy.load(model__weights=path, model__transfer="fine_tune"))
  values = flat(setup.initial_state.params) | flat(
    setup.initial_state.batch_stats
  )
  for name, tensor in tensors.items():
    equal = np.array_equal(values[name], tensor)
    assert equal == name.startswith("backbone/")
  outputs.print_network(Console(), setup, seeds=(0,))
  printed = capsys.readouterr().out
  assert "fine_tune; head: own, new logits\n" in printed
  assert "Note: all of the head is new. The one in custom.h5 is not" in printed


def test_rules_freeze_some_blocks_and_slow_others(weights, tmp_path):
  config = toy.load(
    model__weights=weights,
    model__transfer="fine_tune",
    train__ema_decay=0.5,
    optim__rules=(
      "backbone/(stem|block[0-2])/.* frozen",
      "backbone/block[3-5]/.* lr=0",
      ".*/kernel",
      ".* wd=0",
    ),
  )
  setup = toy.build(config)
  before, (after, _) = setup.initial_state, toy.steps(setup, 6)
  names = ("stem", "block0", "block1", "block2")
  frozen = tuple(f"backbone/{name}/" for name in names)
  slow = tuple(f"backbone/block{i}/" for i in (3, 4, 5))
  params, stats = flat(before.params), flat(before.batch_stats)
  # Of the statistics only those of frozen blocks stay.
  moving = {path for path in stats if path.endswith(("/mean", "/var"))}
  assert differences(before.batch_stats, after.batch_stats) == {
    path for path in moving if not path.startswith(frozen)
  }
  trained = {path for path in params if not path.startswith(frozen + slow)}
  assert differences(before.params, after.params) == trained
  assert differences(before.ema_params, after.ema_params) == trained
  # What has a rate of 0 has moments all the same.
  paths = optimized(after)
  assert any("block3" in path for path in paths)
  assert not any("stem" in path or "block2" in path for path in paths)

  # Interrupted and resumed, it ends the same.
  assert toy.run(config, tmp_path / "run", stop_at=3)[0] is None
  summary, printed = toy.run(config, tmp_path / "run")
  assert "from step 3 of 6" in printed
  assert summary["state_sha256"] == state_lib.sha256(after)


HEADS = {
  "plain": {
    "train__ema_decay": 0.5,
    "optim__accumulate": 2,
    # Of the backbone: it is off.
    "model__block_dropout": 0.5,
  },
  "gap_128_64": {"model__dropout": 0.5, "data__placement": "device"},
  "flatten_4096_1024": {
    "model__resolution": 64,
    "model__dropout": 0.3,
    "train__label_smoothing": 0.1,
    "train__class_weights": "balanced",
  },
}


@pytest.mark.parametrize(
  "head",
  [
    *("plain", "gap_128_64"),
    pytest.param("flatten_4096_1024", marks=pytest.mark.extended),
  ],
)
def test_cached_features_train_the_same_head(weights, head):
  options = {
    **SGD,
    **HEADS[head],
    "model__weights": weights,
    "model__transfer": "frozen",
    "model__head": head,
  }
  results = []
  for cached in (True, False):
    setup = toy.build(toy.load(model__cache_features=cached, **options))
    assert setup.cached_features == cached
    before = jax.device_get(setup.initial_state)
    after, sums = toy.steps(setup, 3)
    _, predictions = setup.evaluate(after, "val")
    # The backbone stays to the last bit, and the optimizer knows none of it.
    for collection in (
      "params",
      "batch_stats",
      "ema_params",
      "ema_batch_stats",
    ):
      changed = differences(
        getattr(before, collection), getattr(after, collection)
      )
      assert not any(path.startswith("backbone/") for path in changed)
    head_params = {path for path in flat(after.params) if path[:4] == "head"}
    assert differences(before.params, after.params) == head_params
    assert optimized(after)
    assert not any("backbone" in path for path in optimized(after))
    if head == "gap_128_64":
      assert len(differences(before.batch_stats, after.batch_stats)) == 6
    results.append((after, sums, predictions))
  (state, sums, predictions), (expected, expected_sums, images) = results
  for a, b in zip(sums, expected_sums, strict=True):
    assert a == pytest.approx(b, rel=1e-5)
  # A hidden unit that rounding puts just above 0 learns from one image more.
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=5e-5),
    (state.params, state.ema_params, state.batch_stats),
    (expected.params, expected.ema_params, expected.batch_stats),
  )
  # A head's BatchNorm divides rounding by how little these features vary.
  for a, b in (
    (predictions.logits, images.logits),
    (predictions.losses, images.losses),
  ):
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
  mean = images.losses.mean()
  assert predictions.losses.mean() == pytest.approx(mean, rel=1e-5)
  np.testing.assert_array_equal(predictions.ids, images.ids)


def test_features_are_not_cached_where_images_change(weights):
  for augment in ({"augment__flip": "horizontal"}, {"augment__mixup": 0.2}):
    config = toy.load(
      model__weights=weights, model__transfer="frozen", **augment
    )
    setup = toy.build(config)
    assert not setup.cached_features
    assert setup.images.dtype == np.uint8


def test_utilisation_counts_what_is_computed(weights, monkeypatch):
  monkeypatch.setattr(mesh, "peak_flops", lambda: 1e12)
  config = toy.load(model__weights=weights, model__transfer="frozen")
  setup = toy.build(config)
  assert setup.mfu(1e3) is None
  frozen = dataclasses.replace(setup, cached_features=False)
  flops = 2 * setup.macs * 1e3 / 1e12
  assert frozen.mfu(1e3) == pytest.approx(flops)
  model = dataclasses.replace(config.model, transfer="fine_tune")
  trained = dataclasses.replace(
    frozen, config=dataclasses.replace(config, model=model)
  )
  assert trained.mfu(1e3) == pytest.approx(3 * flops)
