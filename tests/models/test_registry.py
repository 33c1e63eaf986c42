"""Tests of every network in the registry."""

import re

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import counting, registry, variables

_networks = pytest.mark.parametrize("name", registry.MODELS)

# Parameters with running means and variances, 1000 classes: Keras Applications.
_KERAS_TOTALS = [
  ("mobilenet_v1", 1.0, 4_253_864),
  ("mobilenet_v1", 0.75, 2_601_976),
  ("mobilenet_v1", 0.5, 1_342_536),
  ("mobilenet_v1", 0.25, 475_544),
  ("mobilenet_v2", 1.4, 6_156_712),
  ("mobilenet_v2", 1.3, 5_431_048),
  ("mobilenet_v2", 1.0, 3_538_984),
  ("mobilenet_v2", 0.75, 2_663_064),
  ("mobilenet_v2", 0.5, 1_987_224),
  ("mobilenet_v2", 0.35, 1_691_208),
]
# Millions of mult-adds by width and resolution: the tables of TF-slim's README,
# which for width 0.5 at 224 px says 150 where the paper's table 6 says 149, and
# gives width 1.0 of MobileNetV2, 300.8, without its fraction.
_PUBLISHED_MACS = [
  ("mobilenet_v1", 1.0, {224: 569, 192: 418, 160: 291, 128: 186}),
  ("mobilenet_v1", 0.75, {224: 325, 192: 239, 160: 166, 128: 107}),
  ("mobilenet_v1", 0.5, {224: 149, 192: 110, 160: 77, 128: 49}),
  ("mobilenet_v1", 0.25, {224: 41, 192: 30, 160: 21, 128: 14}),
  ("mobilenet_v2", 1.4, {224: 582}),
  ("mobilenet_v2", 1.3, {224: 509}),
  ("mobilenet_v2", 1.0, {224: 301}),
  ("mobilenet_v2", 0.75, {224: 209}),
  ("mobilenet_v2", 0.5, {224: 97}),
  ("mobilenet_v2", 0.35, {224: 59}),
]
_BLOCKS = {"mobilenet_v1": 13, "mobilenet_v2": 17}


def _build(name: str, **changes):
  arguments = {"num_classes": 3, "width": 0.25, "norm_momentum": 0.9}
  return registry.build(name, **(arguments | changes))


def _flat(tree: dict) -> dict:
  return flax.traverse_util.flatten_dict(tree, sep="/")


def _images(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def _output_shapes(module, size: int, batch: int = 2):
  values = variables.shapes(module, size)
  x = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.float32)
  return jax.eval_shape(lambda v, x: module.apply(v, x, False), values, x)


@pytest.mark.parametrize(("name", "width", "total"), _KERAS_TOTALS)
def test_parameters_are_those_of_keras(name, width, total):
  module = _build(name, num_classes=1000, width=width)
  assert sum(counting.count_params(variables.shapes(module, 224))) == total


@pytest.mark.parametrize(
  ("name", "total"), [("mobilenet_v1", 3_228_864), ("mobilenet_v2", 2_257_984)]
)
def test_parameters_without_the_head_are_those_of_keras(name, total):
  values = variables.shapes(_build(name, width=1.0), 224)
  del values["params"]["head"]
  assert sum(counting.count_params(values)) == total


@pytest.mark.parametrize(("name", "width", "millions"), _PUBLISHED_MACS)
def test_mult_adds_are_the_published_ones(name, width, millions):
  module = _build(name, num_classes=1000, width=width)
  counted = {size: counting.count_macs(module, size) for size in millions}
  assert {size: round(n / 1e6) for size, n in counted.items()} == millions


@_networks
def test_spec_states_its_counts(name):
  spec = registry.get(name)
  module = _build(name, num_classes=1000, width=1.0)
  params, _ = counting.count_params(variables.shapes(module, 224))
  assert params == spec.params
  assert counting.count_macs(module, 224) == spec.macs
  assert re.fullmatch(r"arXiv:\d{4}\.\d{5}", spec.paper)


@_networks
@pytest.mark.parametrize("size", [32, 33, 50, 224])
def test_output_and_feature_maps(name, size):
  logits, features = _output_shapes(_build(name), size)
  assert logits.shape == (2, 3)
  assert logits.dtype == jnp.float32
  blocks = [f"block{i}" for i in range(_BLOCKS[name])]
  top = ["top"] if name == "mobilenet_v2" else []
  assert set(features) == {"stem", *blocks, *top, "pooled"}
  last = features[[*blocks, *top][-1]].shape
  assert last[1:3] == (-(-size // 32),) * 2
  assert features["stem"].shape[1:3] == (-(-size // 2),) * 2
  assert features["pooled"].shape == (2, last[-1])


@_networks
def test_paths_of_head_and_stem(name):
  """Transfer and weight import address parameters by these."""
  params = variables.shapes(_build(name), 32)["params"]
  assert set(params["head"]) == {"kernel", "bias"}
  assert set(params["stem"]) == {"conv", "norm"}
  assert params["stem"]["conv"]["kernel"].shape[:3] == (3, 3, 3)


@_networks
def test_bfloat16_keeps_parameters_statistics_and_logits_in_float32(name):
  module = _build(name, dtype="bfloat16")
  values = variables.shapes(module, 32)
  assert {x.dtype for x in jax.tree.leaves(values)} == {np.dtype("float32")}
  x = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
  (logits, features), updated = jax.eval_shape(
    lambda v, x: module.apply(v, x, True, mutable=["batch_stats"]), values, x
  )
  assert {x.dtype for x in jax.tree.leaves(updated)} == {np.dtype("float32")}
  assert logits.dtype == features["pooled"].dtype == jnp.float32
  assert features["stem"].dtype == jnp.bfloat16
  assert features["block3"].dtype == jnp.bfloat16


@_networks
def test_training(name):
  """One compiled step: gradients, statistics, dropout; then evaluation."""
  module, x = _build(name, dropout=0.5), _images(8, 50, 50, 3)
  values = variables.initial_values(module, 50, 0)

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
      updated["batch_stats"],
    )

  step = jax.jit(jax.grad(loss, has_aux=True))
  params, stats = values["params"], values["batch_stats"]
  grads, (logits, pooled, updated) = step(params, stats, x, jax.random.key(0))
  for path, g in _flat(grads).items():
    assert np.isfinite(g).all(), path
    assert np.any(np.asarray(g) != 0), path
  changed = _flat(updated)
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
  np.testing.assert_allclose(features["pooled"], pooled, rtol=1e-4, atol=1e-4)
  head = params["head"]
  np.testing.assert_allclose(
    eval_logits, pooled @ head["kernel"] + head["bias"][None], atol=1e-4
  )
  assert np.abs(eval_logits - evaluate(values, x)[0]).max() > 1e-3
  # An image's answer does not depend on the others.
  alone, _ = evaluate(trained, x[:1].repeat(8, axis=0))
  np.testing.assert_allclose(alone[0], eval_logits[0], rtol=1e-5, atol=1e-5)


def test_v1_rounds_channels_down():
  _, features = _output_shapes(_build("mobilenet_v1", width=0.3), 32)
  channels = [features[name].shape[-1] for name in ("stem", "block0", "block1")]
  assert channels == [9, 19, 38]


def test_v2_rounds_channels_and_keeps_the_last_layer():
  _, features = _output_shapes(_build("mobilenet_v2", width=0.35), 32)
  assert features["stem"].shape[-1] == 16
  assert features["block0"].shape[-1] == 8
  assert features["top"].shape[-1] == 1280
  _, features = _output_shapes(_build("mobilenet_v2", width=1.4), 32)
  assert features["top"].shape[-1] == 1792


def test_v2_adds_the_shortcut_to_linear_bottlenecks_where_shapes_agree():
  """With all projections -1, a block is -1 or one less than the last."""
  module, x = _build("mobilenet_v2", width=0.5), _images(1, 32, 32, 3)
  values = variables.initial_values(module, 32, 0)
  for name, block in values["params"].items():
    if name.startswith("block"):
      block["project"]["norm"]["scale"][:] = 0
      block["project"]["norm"]["bias"][:] = -1
  _, features = jax.jit(lambda v, x: module.apply(v, x, False))(values, x)
  # The first block of a stage changes the size or the channels.
  levels = [-float(features[f"block{i}"].min()) for i in range(17)]
  assert levels == [1, 1, 2, 1, 2, 3, 1, 2, 3, 4, 1, 2, 3, 1, 2, 3, 1]


def test_unknown_name_lists_the_valid_ones():
  with pytest.raises(InputError, match="got 'vgg'; valid: mobilenet_v1, mob"):
    registry.build("vgg", num_classes=2, norm_momentum=0.9)
