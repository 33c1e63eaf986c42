"""Tests of every network in the registry, and of how it is asked for one."""

import dataclasses
import re

import flax.traverse_util
import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import classifier, registry, variables
from mn_jax.ops import padding
from tests.models import networks

# In the extended tier: those whose code a smaller one shares, and the largest.
_LARGE = (
  "mobilenet_v3_large",
  "mobilenet_v4_conv_medium",
  "inception_v3",
  "inception_resnet_v2",
  "xception",
  "resnet34",
  "resnet50",
  "resnet152",
)
_each_kind_of_network = pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=pytest.mark.extended if name in _LARGE else [])
    for name in registry.MODELS
  ],
)
# A training step takes seconds to compile, of a large network half a minute.
_each_network_compiled = pytest.mark.parametrize(
  ("name", "options"),
  [
    pytest.param("simple_cnn", {}),
    pytest.param("mobilenet_v1", {"shallow": True}, id="mobilenet_v1-shallow"),
    *(
      pytest.param(name, {}, id=name, marks=pytest.mark.extended)
      for name in registry.MODELS
      if name != "simple_cnn"
    ),
  ],
)


def _flat(tree: dict) -> dict:
  return flax.traverse_util.flatten_dict(tree, sep="/")


@_each_kind_of_network
def test_counts_and_paths_of_the_published_network(name):
  """Transfer and weight import address layers by their paths."""
  spec = registry.get(name)
  module = networks.build(name, classes=1000)
  layers = networks.layers(module, spec.conventions.resolution)
  assert networks.count(layers)[0] == spec.params
  assert networks.macs(layers) == spec.macs
  assert {layer.path.split("/")[0] for layer in layers} == {"backbone", "head"}
  assert layers[-1].path == "head/logits"
  # VGG16 and the simple network have no convolution before their blocks.
  first = {"vgg16": "block0/conv0", "simple_cnn": "conv0"}
  assert layers[0].path == f"backbone/{first.get(name, 'stem/conv')}"
  # Folding multiplies every BatchNorm into the convolution beside it.
  paths = {layer.path for layer in layers}
  for layer in layers:
    if layer.kind == "norm" and layer.path.startswith("backbone/"):
      assert layer.path.removesuffix("norm") + "conv" in paths


def test_every_network_has_a_source_and_valid_conventions():
  known = {field.name for field in dataclasses.fields(registry.Options)}
  for name, spec in registry.MODELS.items():
    if name != "simple_cnn":
      assert re.match(r"\w+ .*\d{4}, arXiv:\d{4}\.\d{4,5}, ", spec.paper), name
    assert spec.conventions.padding in padding.RULES, name
    assert spec.conventions.resolution >= spec.min_resolution, name
    assert set(spec.options) <= known, name


def _trace(module, size, train):
  """A pass of two images as a jaxpr, and the types of what it returns.

  Returns:
    The jaxpr; paths of its inputs, the images excepted; paths of its outputs.
  """
  values = variables.shapes(module, size)
  x = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  key = jax.eval_shape(lambda: jax.random.key(0))
  names = []

  def run(values, x, key):
    (logits, features), updated = module.apply(
      values, x, train, mutable=["batch_stats"], rngs={"dropout": key}
    )
    # A dictionary would come back in alphabetical order.
    statistics = _flat(updated.get("batch_stats", {}))
    names.extend(["logits", *features, *statistics])
    return [logits, *features.values(), *statistics.values()]

  jaxpr = jax.make_jaxpr(run)(values, x, key)
  paths = [
    "/".join(entry.key for entry in path)
    for path, _ in jax.tree_util.tree_leaves_with_path(values)
  ]
  return jaxpr.jaxpr, paths, names


def _inputs_of(jaxpr, output) -> set[int]:
  """Numbers of the inputs that an output of a jaxpr depends on."""
  needed = {output}
  for equation in reversed(jaxpr.eqns):
    if not needed.isdisjoint(equation.outvars):
      needed |= {
        v for v in equation.invars if not isinstance(v, jax.extend.core.Literal)
      }
  return {i for i, v in enumerate(jaxpr.invars) if v in needed}


@_each_kind_of_network
def test_training_pass(name):
  """In bfloat16, of an image that halves to odd maps."""
  size = networks.size(name, 50)
  module = networks.build(name, width=0.25, dtype="bfloat16", dropout=0.5)
  jaxpr, inputs, names = _trace(module, size, train=True)
  outputs = dict(zip(names, jaxpr.outvars, strict=True))
  assert len(outputs) == len(names)
  assert {v.aval.dtype for v in jaxpr.invars[: len(inputs)]} == {
    np.dtype("float32")
  }
  types = {path: v.aval for path, v in outputs.items()}
  logits = types.pop("logits")
  assert (logits.shape, logits.dtype) == ((2, 3), np.float32)
  statistics = [
    path.removeprefix("batch_stats/")
    for path in inputs
    if path.startswith("batch_stats/")
  ]
  assert set(statistics) <= set(types)
  assert {types.pop(path).dtype for path in statistics} <= {np.dtype("float32")}
  # Every statistic is a new one.
  assert {outputs[path] for path in statistics}.isdisjoint(jaxpr.invars)
  pooled = types.pop("pooled")
  *_, last = types.values()
  assert (pooled.shape, pooled.dtype) == ((2, last.shape[-1]), np.float32)
  assert {x.dtype for x in types.values()} == {np.dtype(jnp.bfloat16)}
  # In the order of the calls; the last of them is what the head gets.
  sizes = [x.shape[1:3] for x in types.values()]
  assert sizes == sorted(sizes, reverse=True)
  assert all(0 < rows == columns <= size for rows, columns in sizes)
  used = _inputs_of(jaxpr, outputs["logits"])
  unused = {path for i, path in enumerate(inputs) if i not in used}
  assert all(path.startswith("batch_stats/") for path in unused), unused


@pytest.mark.parametrize(
  "name",
  [
    *("mobilenet_v1", "inception_v3", "xception", "vgg16", "simple_cnn"),
    *(
      pytest.param(name, marks=pytest.mark.extended)
      for name in (
        "mobilenet_v2",
        "mobilenet_v3_small",
        "mobilenet_v4_conv_small",
        "inception_resnet_v2",
        "resnet18",
      )
    ),
  ],
)
def test_evaluation_of_the_smallest_image(name):
  smallest = registry.get(name).min_resolution
  module = networks.build(name, width=0.25)
  jaxpr, inputs, names = _trace(module, smallest, train=False)
  outputs = dict(zip(names, jaxpr.outvars, strict=True))
  maps = [v.aval.shape[1:3] for path, v in outputs.items() if v.aval.ndim == 4]
  assert all(0 < rows == columns for rows, columns in maps)
  used = _inputs_of(jaxpr, outputs["logits"])
  unused = {path for i, path in enumerate(inputs) if i not in used}
  assert all(path.endswith("/weight") for path in unused), unused


def test_images_that_are_too_small_are_refused():
  for name, spec in registry.MODELS.items():
    least = spec.min_resolution
    registry.check_resolution(name, least)
    message = f"got {least - 1} pixels for '{name}'; valid: {least} or more"
    with pytest.raises(InputError, match=message):
      registry.check_resolution(name, least - 1)


@_each_network_compiled
def test_training(name, options):
  """One compiled step: gradients, statistics, dropout; then evaluation."""
  size = networks.size(name, 50)
  module = networks.build(
    name, width=0.25, dropout=0.5, norm_momentum=0.9, **options
  )
  x = networks.images(8, size, size, 3)
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

  step = jax.jit(jax.grad(loss, has_aux=True))
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
  evaluate = jax.jit(lambda v, x: module.apply(v, x, False))
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
  ("name", "head", "classes", "total", "in_head"),
  [
    ("mobilenet_v1", "gap_128_64", 10, 3_369_738, 140_490),
    ("mobilenet_v1", "gap_128_64", 8, 3_369_608, 140_360),
    ("mobilenet_v2", "gap_128_64", 10, 2_431_626, 173_258),
    ("mobilenet_v2", "gap_128_64", 8, 2_431_496, 173_128),
    ("vgg16", "flatten_4096_1024", 10, 121_684_810, 106_970_122),
    ("mobilenet_v1", "gap_1024", 1000, 5_303_464, 2_074_600),
    ("resnet50", "plain", 1000, 25_610_152, 2_049_000),
  ],
)
def test_parameters_with_a_head(name, head, classes, total, in_head):
  """The total includes the running statistics."""
  layers = networks.layers(networks.build(name, classes, head=head), 224)
  assert sum(networks.count(layers)) == total
  assert networks.count(layers, "head/")[0] == in_head


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
def test_unknown_networks_heads_and_options_are_refused(name, wrong, message):
  with pytest.raises(InputError, match=re.escape(message)) as refused:
    registry.describe(name, num_classes=2, **wrong)
  assert "\n" not in str(refused.value)
