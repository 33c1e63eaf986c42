"""Tests of every network in the registry, and of how it is asked for one."""

import dataclasses
import functools
import re

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import classifier, counting, registry, variables
from mn_jax.ops import padding

_networks = pytest.mark.parametrize("name", registry.MODELS)
# Those whose code another one tests in less time, and the slowest to compile.
_LONG = (
  "mobilenet_v3_large",
  "mobilenet_v4_conv_medium",
  "inception_resnet_v2",
  "resnet34",
  "resnet152",
)
_without_the_longest = pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=[pytest.mark.slow] if name in _LONG else [])
    for name in registry.MODELS
  ],
)
# The compiler takes twice as long to optimise.
_jit = functools.partial(
  jax.jit, compiler_options={"xla_backend_optimization_level": 0}
)


def _build(name: str, *, classes: int = 3, width: float = 0.25, **build):
  network = registry.describe(name, num_classes=classes, width=width)
  return registry.build(network, norm_momentum=0.9, **build)


def _size(name: str, least: int) -> int:
  """An input that is large enough, in pixels."""
  return max(least, registry.get(name).min_resolution)


def _flat(tree: dict) -> dict:
  return flax.traverse_util.flatten_dict(tree, sep="/")


def _images(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


@_networks
def test_counts_and_paths_of_the_published_network(name):
  """Transfer and weight import address layers by their paths."""
  spec = registry.get(name)
  module = _build(name, classes=1000, width=1.0)
  layers = counting.list_layers(module, spec.conventions.resolution)
  assert sum(layer.params for layer in layers) == spec.params
  assert sum(layer.macs for layer in layers) == spec.macs
  assert {layer.path.split("/")[0] for layer in layers} == {"backbone", "head"}
  assert layers[-1].path == "head/logits"
  # VGG16 and the simple network have no convolution before their blocks.
  first = {"vgg16": "block0/conv0", "simple_cnn": "conv0"}
  assert layers[0].path == f"backbone/{first.get(name, 'stem/conv')}"


@_networks
def test_spec_has_a_source_and_valid_conventions(name):
  spec = registry.get(name)
  if name != "simple_cnn":
    assert re.match(r"\w+ .*\d{4}, arXiv:\d{4}\.\d{4,5}, ", spec.paper)
  assert spec.conventions.padding in padding.RULES
  assert spec.conventions.resolution >= spec.min_resolution
  known = {field.name for field in dataclasses.fields(registry.Options)}
  assert set(spec.options) <= known


# The least pixels, and where it is larger a size that halves to odd maps.
_sizes = pytest.mark.parametrize(
  ("name", "size"),
  [
    (name, size)
    for name in registry.MODELS
    for size in sorted({_size(name, 1), _size(name, 50)})
  ],
)


@_sizes
def test_logits_and_feature_maps(name, size):
  module = _build(name)
  names = []

  def run(x):
    key = jax.random.key(0)
    (logits, features), _ = module.init_with_output(key, x, False)
    names.extend(features)
    # A dictionary would come back in alphabetical order.
    return logits, tuple(features.values())

  image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  logits, maps = jax.eval_shape(run, image)
  assert logits.shape == (2, 3)
  assert logits.dtype == jnp.float32
  assert len(set(names)) == len(names)
  *maps, pooled = maps
  assert names[-1] == "pooled"
  # In the order of the calls; the last of them is what the head gets.
  sizes = [x.shape[1:3] for x in maps]
  assert sizes == sorted(sizes, reverse=True)
  assert all(0 < rows == cols <= size for rows, cols in sizes)
  assert pooled.shape == (2, maps[-1].shape[-1])


@_without_the_longest
def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32(name):
  module, size = _build(name, dtype="bfloat16"), _size(name, 32)
  values = variables.shapes(module, size)
  assert {x.dtype for x in jax.tree.leaves(values)} == {np.dtype("float32")}
  (logits, features), updated = jax.eval_shape(
    lambda v, x: module.apply(v, x, True, mutable=["batch_stats"]),
    values,
    jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32),
  )
  assert all(x.dtype == jnp.float32 for x in jax.tree.leaves(updated))
  assert logits.dtype == features.pop("pooled").dtype == jnp.float32
  assert {x.dtype for x in features.values()} == {np.dtype(jnp.bfloat16)}


@_without_the_longest
def test_training(name):
  """One compiled step: gradients, statistics, dropout; then evaluation."""
  size = _size(name, 50)
  module, x = _build(name, dropout=0.5), _images(8, size, size, 3)
  values = variables.initial_values(module, size, 0)

  def loss(params, stats, x, key):
    (logits, features), updated = module.apply(
      {"params": params, "batch_stats": stats},
      x,
      True,
      mutable=["batch_stats"],
      rngs={"dropout": key},
    )
    return -jnp.sum(jax.nn.log_softmax(logits)[:, 0]), (
      logits,
      features["pooled"],
      updated.get("batch_stats", {}),
    )

  step = _jit(jax.grad(loss, has_aux=True))
  params, stats = values["params"], values["batch_stats"]
  grads, (logits, pooled, updated) = step(params, stats, x, jax.random.key(0))
  for path, g in _flat(grads).items():
    assert np.isfinite(g).all(), path
    assert np.any(np.asarray(g) != 0), path
  changed = _flat(updated)
  assert changed.keys() == _flat(stats).keys()
  for path, before in _flat(stats).items():
    assert np.any(np.asarray(changed[path]) != before), path

  _, (same, *_) = step(params, stats, x, jax.random.key(0))
  _, (other, other_pooled, _) = step(params, stats, x, jax.random.key(1))
  np.testing.assert_array_equal(logits, same)
  assert np.abs(logits - other).max() > 1e-3
  np.testing.assert_array_equal(pooled, other_pooled)

  # Debiased statistics after one step are the batch's, so evaluation repeats
  # the training pass but for dropout; without them it answers otherwise.
  evaluate = _jit(lambda v, x: module.apply(v, x, False))
  trained = {"params": params, "batch_stats": updated}
  eval_logits, features = evaluate(trained, x)
  # Last maps of one pixel: BatchNorm of eight values magnifies rounding.
  np.testing.assert_allclose(features["pooled"], pooled, rtol=1e-3, atol=3e-3)
  if stats:
    assert np.abs(eval_logits - evaluate(values, x)[0]).max() > 1e-2
  # An image's answer does not depend on the others, but on itself.
  alone, _ = evaluate(trained, x[:1].repeat(8, axis=0))
  np.testing.assert_allclose(alone[0], eval_logits[0], rtol=1e-5, atol=1e-5)
  assert np.abs(eval_logits[1] - eval_logits[0]).max() > 1e-4


@pytest.mark.parametrize(
  ("name", "head"),
  [("simple_cnn", "own"), ("simple_cnn", "gap_1024")],
)
def test_extract_and_classify_are_the_call_in_two(name, head):
  network = registry.describe(name, num_classes=3, width=0.05, head=head)
  module, x = registry.build(network), _images(2, 40, 40, 3)
  values = variables.initial_values(module, 40, 0)
  logits, features = module.apply(values, x, False)
  extracted = module.apply(values, x, method="extract")
  last = "pooled" if head == "gap_1024" else "block3"
  np.testing.assert_array_equal(extracted, features[last])
  again = module.apply(values, extracted, False, method="classify")
  np.testing.assert_array_equal(again, logits)


def test_frozen_backbone_trains_as_it_evaluates():
  network = registry.describe(
    "mobilenet_v1",
    num_classes=3,
    width=0.05,
    head="gap_128_64",
    options=registry.Options(shallow=True, block_dropout=0.5),
  )
  module = registry.build(network, dropout=0.5, freeze_backbone=True)
  values, x = variables.initial_values(module, 16, 0), _images(4, 16, 16, 3)
  (_, features), updated = _jit(
    lambda v, x: module.apply(
      v,
      x,
      True,
      mutable=["batch_stats"],
      rngs={"dropout": jax.random.key(0)},
    )
  )(values, x)
  expected = _jit(lambda v, x: module.apply(v, x, method="extract"))(values, x)
  np.testing.assert_allclose(features["pooled"], expected, rtol=1e-5, atol=1e-6)
  stats = updated["batch_stats"]
  jax.tree.map(
    np.testing.assert_array_equal,
    stats["backbone"],
    values["batch_stats"]["backbone"],
  )
  # Those of the head's own BatchNorm are gathered.
  for norm in ("norm0", "norm1"):
    assert np.all(np.asarray(stats["head"][norm]["var"]) != 1)


@pytest.mark.parametrize(
  ("name", "head", "classes", "total", "in_head"),
  [
    ("mobilenet_v1", "gap_128_64", 10, 3_369_738, 140_490),
    ("mobilenet_v1", "gap_128_64", 8, 3_369_608, 140_360),
    ("mobilenet_v2", "gap_128_64", 10, 2_431_626, 173_258),
    ("mobilenet_v2", "gap_128_64", 8, 2_431_496, 173_128),
    ("vgg16", "flatten_4096_1024", 10, 121_684_810, 106_970_122),
    ("mobilenet_v1", "gap_1024", 1000, 5_303_464, 2_074_600),
    # The published networks.
    ("vgg16", "own", 1000, 138_357_544, 123_642_856),
    ("resnet50", "plain", 1000, 25_610_152, 2_049_000),
  ],
)
def test_parameters_with_a_head(name, head, classes, total, in_head):
  """The total has running statistics, the head's own part has none."""
  network = registry.describe(name, num_classes=classes, head=head)
  values = variables.shapes(registry.build(network), 224)
  assert sum(counting.count_params(values)) == total
  of_head = {"params": values["params"]["head"], "batch_stats": {}}
  assert counting.count_params(of_head) == (in_head, 0)


def test_describe_takes_the_conventions_of_training_from_scratch():
  network = registry.describe("resnet18", num_classes=2)
  assert network.conventions == registry.get("resnet18").conventions
  others = dataclasses.replace(network.conventions, epsilon=0.5)
  network = registry.describe("resnet18", num_classes=2, conventions=others)
  assert network.conventions == others
  norm = registry.build(network).backbone.norm(name="norm")
  assert norm.epsilon == 0.5


@pytest.mark.parametrize(
  ("name", "wrong", "message"),
  [
    ("vgg", {}, "model.name: got 'vgg'; valid: mobilenet_v1, mobilenet_v2, "),
    (
      "vgg16",
      {"head": "gap"},
      f"model.head: got 'gap'; valid: own, {', '.join(classifier.HEADS)}",
    ),
    (
      "vgg16",
      {"options": registry.Options(separable=False)},
      "model.separable: got False for 'vgg16'; valid: True, or a model that "
      "has it: mobilenet_v1",
    ),
    (
      "resnet34",
      {"options": registry.Options(stride_in_1x1=True)},
      "model.stride_in_1x1: got True for 'resnet34'; valid: False, or a model "
      "that has it: resnet50, resnet152",
    ),
  ],
)
def test_what_there_is_not_is_refused(name, wrong, message):
  with pytest.raises(InputError, match=re.escape(message)) as refused:
    registry.describe(name, num_classes=2, **wrong)
  assert "\n" not in str(refused.value)


@_networks
def test_too_small_inputs_are_refused(name):
  smallest = registry.get(name).min_resolution
  registry.check_resolution(name, smallest)
  message = f"got {smallest - 1} pixels for '{name}'; valid: {smallest} or more"
  with pytest.raises(InputError, match=message):
    registry.check_resolution(name, smallest - 1)
