"""Tests of heads, and of a classifier's two halves."""

import functools

import flax.linen as nn
import jax
import numpy as np
import pytest

from mn_jax.models import layers, variables
from mn_jax.models.classifier import HEADS, Classifier, Head, HeadSpec

_EPSILON = 1e-3


class Toy(nn.Module):
  """A backbone with statistics and dropout of its own."""

  @nn.compact
  def __call__(self, x, train):
    x = layers.Conv(3, stride=2, name="conv")(x)
    x = layers.BatchNorm(name="norm")(x, train)
    x = nn.Dropout(0.5, deterministic=not train)(x)
    return x, {"last": x}


def _norm(**options):
  return layers.BatchNorm(epsilon=_EPSILON, **options)


def _classifier(spec, *, dropout=0.0, frozen=False):
  return Classifier(Toy(), Head(2, spec, dropout, _norm), frozen=frozen)


def _images(size=6):
  draw = np.random.default_rng(0)
  return draw.normal(size=(8, size, size, 3)).astype(np.float32)


def _values(module, size=6):
  """Drawn, and not what a new network has: biases and statistics count."""
  draw = np.random.default_rng(1)
  values = variables.initial_values(module, size, 0)

  def fill(path, x):
    if path[-1].key in ("kernel", "weight"):
      return x
    return draw.uniform(0.5, 2, x.shape).astype(np.float32)

  return jax.tree_util.tree_map_with_path(fill, values)


@functools.partial(jax.jit, static_argnums=(0, 3), static_argnames="method")
def _apply(module, values, x, *train, method=None):
  return module.apply(values, x, *train, method=method)


@functools.partial(jax.jit, static_argnums=0, static_argnames="method")
def _train(module, values, x, seed=0, method=None):
  return module.apply(
    values,
    x,
    True,
    method=method,
    mutable=["batch_stats"],
    rngs={"dropout": jax.random.key(seed)},
  )


def _reference(spec, params, stats, features):
  """Logits in float64, for statistics that are as they are."""

  def normalise(x, name):
    var = np.float64(stats[name]["var"]) + _EPSILON
    x = (x - stats[name]["mean"]) / np.sqrt(var)
    return x * params[name]["scale"] + params[name]["bias"]

  def dense(x, name):
    return x @ np.float64(params[name]["kernel"]) + params[name].get("bias", 0)

  x = np.float64(features)
  for i in range(len(spec.hidden)):
    x = dense(x, f"dense{i}")
    if spec.norm == "before":
      x = normalise(x, f"norm{i}")
    # Its shift tells what comes before it from what comes after.
    x = np.abs(x - 0.3)
    if spec.norm == "after":
      x = normalise(x, f"norm{i}")
  return dense(x, "logits")


@pytest.mark.parametrize(
  ("pool", "norm", "hidden_bias"),
  [
    (False, "none", True),
    (True, "after", True),
    (True, "before", True),
    (False, "before", False),
  ],
)
def test_order_of_layers(pool, norm, hidden_bias):
  spec = HeadSpec(
    pool=pool,
    hidden=(5, 4),
    activation=lambda x: abs(x - np.float32(0.3)),
    norm=norm,
    hidden_bias=hidden_bias,
  )
  module = _classifier(spec)
  values, x = _values(module), _images()
  logits, features = _apply(module, values, x, False)
  last = np.asarray(features["last"])
  assert last.shape == (8, 3, 3, 3)
  seen = last.mean(axis=(1, 2)) if pool else last.reshape(8, -1)
  expected = _reference(
    spec,
    values["params"]["head"],
    values["batch_stats"].get("head", {}),
    seen,
  )
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)
  assert ("bias" in values["params"]["head"]["dense0"]) == hidden_bias


@pytest.mark.parametrize("pool", [True, False])
def test_extract_then_classify_equals_the_call(pool):
  spec = HeadSpec(pool=pool, hidden=(5, 4), norm="after")
  module = _classifier(spec, dropout=0.5, frozen=True)
  values, x = _values(module), _images()
  extracted = _apply(module, values, x, method="extract")

  whole, features = _apply(module, values, x, False)
  expected = np.float64(features["last"]).mean(axis=(1, 2))
  np.testing.assert_allclose(features["pooled"], expected, rtol=1e-5, atol=1e-6)
  seen = features["pooled" if pool else "last"]
  np.testing.assert_array_equal(extracted, seen)
  in_two = _apply(module, values, extracted, False, method="classify")
  np.testing.assert_allclose(in_two, whole, rtol=1e-6, atol=1e-6)

  # In training too: the same units are dropped, the same statistics gathered.
  (whole, _), updated = _train(module, values, x)
  in_two, updated_in_two = _train(module, values, extracted, method="classify")
  np.testing.assert_allclose(in_two, whole, rtol=1e-6, atol=1e-6)
  jax.tree.map(
    functools.partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-6),
    updated_in_two["batch_stats"],
    updated["batch_stats"],
  )


def _constant(spec, value):
  """A classifier's head with kernels of a value and nothing else."""
  module = _classifier(spec, dropout=0.5)
  values = jax.tree_util.tree_map_with_path(
    lambda path, x: np.full_like(x, value if path[-1].key == "kernel" else 0),
    variables.initial_values(module, 6, 0),
  )
  return module, values


def test_dropout_is_before_the_logits_of_a_head_without_hidden_layers():
  module, values = _constant(HEADS["plain"], 1.0)
  seen = np.ones((64, 3), np.float32)
  logits, _ = _train(module, values, seen, method="classify")
  # Each of three features is 0 or twice itself.
  assert set(np.unique(logits)) == {0, 2, 4, 6}
  np.testing.assert_array_equal(
    _apply(module, values, seen, False, method="classify"), np.full((64, 2), 3)
  )


@pytest.mark.parametrize(
  ("norm", "hidden", "one_dropout"),
  [
    ("none", (5, 4), False),
    ("before", (4,), False),
    ("after", (4,), False),
    ("none", (5, 4), True),
  ],
)
def test_dropout_is_last_in_every_hidden_layer(norm, hidden, one_dropout):
  spec = HeadSpec(
    hidden=hidden,
    activation=lambda x: abs(x) + np.float32(1),
    norm=norm,
    one_dropout=one_dropout,
  )
  module = _classifier(spec, dropout=0.5)
  values = _values(module)
  values["params"]["head"]["logits"] = {
    "kernel": np.eye(4, 2, dtype=np.float32),
    "bias": np.zeros(2, np.float32),
  }
  seen = np.random.default_rng(2).normal(size=(256, 3)).astype(np.float32)
  logits, _ = _train(module, values, seen, method="classify")
  kept = np.asarray(logits) != 0
  assert 0.4 < kept.mean() < 0.6
  # With one hidden layer, or one dropout, nothing else is dropped.
  without, _ = _train(_classifier(spec), values, seen, method="classify")
  doubled = np.isclose(logits, 2 * without, rtol=1e-5, atol=1e-6)[kept]
  once = one_dropout or len(hidden) == 1
  assert doubled.all() if once else doubled.mean() < 0.5


@pytest.mark.parametrize("frozen", [True, False])
def test_a_frozen_backbone_is_in_evaluation(frozen):
  assert HEADS["gap_128_64"].norm == "after"
  module = _classifier(HEADS["gap_128_64"], dropout=0.5, frozen=frozen)
  values, x = _values(module), _images()
  (logits, features), updated = _train(module, values, x)
  (other, other_features), _ = _train(module, values, x, seed=1)
  # The head's dropout is on all the same, and its statistics move.
  assert np.any(logits != other)
  before, after = values["batch_stats"], updated["batch_stats"]
  for norm in ("norm0", "norm1"):
    assert np.any(after["head"][norm]["mean"] != before["head"][norm]["mean"])
  same = np.array_equal(features["last"], other_features["last"])
  stayed = jax.tree.leaves(
    jax.tree.map(np.array_equal, after["backbone"], before["backbone"])
  )
  assert len(stayed) == 3
  assert same == frozen
  assert all(stayed) if frozen else not any(stayed)
  if frozen:
    expected = _apply(module, values, x, method="extract")
    np.testing.assert_allclose(features["pooled"], expected, rtol=1e-6)


def test_a_head_is_in_float32():
  class Half(nn.Module):
    @nn.compact
    def __call__(self, x, train):
      return x.astype(jax.numpy.bfloat16), {}

  spec = HeadSpec(hidden=(4,), norm="after")
  module = Classifier(Half(), Head(2, spec, 0.0, _norm))
  x = jax.ShapeDtypeStruct((8, 6, 6, 3), np.float32)
  values = variables.shapes(module, 6)
  logits, features = jax.eval_shape(
    lambda v, x: module.apply(v, x, False), values, x
  )
  assert logits.dtype == features["pooled"].dtype == np.float32
  extracted = jax.eval_shape(
    lambda v, x: module.apply(v, x, method="extract"), values, x
  )
  assert extracted.dtype == np.float32
