"""Tests of running statistics computed from given images."""

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.run import recalibrate

SIZE = 32


def _setup(name="mobilenet_v1", seed=0):
  """(network, module, variables with random statistics)."""
  network = registry.describe(
    name,
    num_classes=3,
    width=0.25,
    options=registry.Options(shallow=name == "mobilenet_v1"),
  )
  module = registry.build(network, norm_momentum=0.5)
  values = variables.initial_values(module, SIZE, seed)
  draw = np.random.default_rng(seed)
  flat = flax.traverse_util.flatten_dict(values, sep="/")
  bounds = {"scale": (0.5, 1.5), "var": (0.5, 1.5), "weight": (1, 1)}
  bounds |= {"bias": (-0.3, 0.3), "mean": (-0.3, 0.3)}
  for path, x in flat.items():
    if (name := path.rsplit("/", 1)[1]) in bounds:
      flat[path] = draw.uniform(*bounds[name], x.shape).astype(np.float32)
  return network, module, flax.traverse_util.unflatten_dict(flat, sep="/")


def _images(count, seed=1):
  draw = np.random.default_rng(seed)
  return draw.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def _input(images):
  return (images.astype(np.float32) - 127.5) / 127.5


def _match(network, module, values, batches):
  return recalibrate.match_statistics(
    module, network.conventions, values, iter(batches), resolution=0
  )


def _by_batches(network, module, values, batches):
  return recalibrate.batch_statistics(
    module, network.conventions, values, batches, resolution=0
  )


def test_matching_changes_no_prediction_and_training_starts_with_it():
  network, module, values = _setup("mobilenet_v2")
  images = _images(16)
  matched = _match(network, module, values, [images[:8], images[8:]])

  @jax.jit
  def logits(v, x):
    trained, _ = module.apply(v, x, True, mutable=["batch_stats"])
    return module.apply(v, x, False)[0], trained[0]

  before, trained_before = logits(values, _input(images))
  after, trained_after = logits(matched, _input(images))
  scale = np.abs(before).max()
  np.testing.assert_allclose(after, before, atol=1e-4 * scale)
  # Of the very images, the batch's statistics are the running ones.
  np.testing.assert_allclose(trained_after, before, atol=1e-3 * scale)
  assert np.abs(trained_before - before).max() > 0.1 * scale


def test_matching_leaves_the_head_alone_and_weighs_batches_alike():
  network, module, values = _setup()
  images = _images(8)
  matched = _match(network, module, values, [images])
  np.testing.assert_array_equal(
    matched["params"]["head"]["logits"]["kernel"],
    values["params"]["head"]["logits"]["kernel"],
  )
  stem = matched["batch_stats"]["backbone"]["stem"]["norm"]
  assert stem["weight"] == 1
  assert stem["mean"].dtype == np.float32
  assert jax.tree.map(np.shape, matched) == jax.tree.map(np.shape, values)
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    matched,
    _match(network, module, values, [images[4:], images[:4]]),
  )


def test_statistics_of_a_batch_are_what_training_normalises_by():
  network, module, values = _setup()
  # Nothing is dropped at random.
  dropping = registry.build(network, norm_momentum=0.5, dropout=0.9)
  images = _images(8)
  after = _by_batches(network, dropping, values, [images])

  @jax.jit
  def logits(before, after, x):
    trained, _ = module.apply(before, x, True, mutable=["batch_stats"])
    evaluated = [module.apply(v, x, False)[0] for v in (before, after)]
    return trained[0], *evaluated

  trained, before, evaluated = logits(values, after, _input(images))
  scale = np.abs(trained).max()
  # As above: many layers, each variance rounded in another way.
  np.testing.assert_allclose(evaluated, trained, atol=1e-3 * scale)
  assert np.abs(before - trained).max() > 0.1 * scale
  assert after["params"] is values["params"]


def test_statistics_of_batches_are_those_of_all_images():
  network, module, values = _setup()
  batches = [_images(8), _images(8, seed=2) // 4]
  stats = _by_batches(network, module, values, batches)["batch_stats"]
  # Before the first BatchNorm nothing normalises.
  matched = _match(network, module, values, batches)["batch_stats"]
  for name in ("mean", "var"):
    np.testing.assert_allclose(
      stats["backbone"]["stem"]["norm"][name],
      matched["backbone"]["stem"]["norm"][name],
      rtol=1e-5,
    )
  shapes = jax.tree.map(np.shape, values["batch_stats"])
  assert jax.tree.map(np.shape, stats) == shapes


def test_statistics_of_a_frozen_backbone_stay_and_those_of_the_head_change():
  network = registry.describe(
    "mobilenet_v1", num_classes=3, width=0.25, head="gap_128_64"
  )
  module = registry.build(network, freeze_backbone=True)
  values = variables.initial_values(module, SIZE, 0)
  stats = _by_batches(network, module, values, [_images(8)])["batch_stats"]
  jax.tree.map(
    np.testing.assert_array_equal,
    stats["backbone"],
    values["batch_stats"]["backbone"],
  )
  assert (stats["head"]["norm0"]["mean"] != 0).any()


def test_networks_without_statistics_or_scales_are_refused():
  for name, frozen in (("mobilenet_v1", True), ("simple_cnn", False)):
    network = registry.describe(name, num_classes=3, width=0.25)
    module = registry.build(network, freeze_backbone=frozen)
    values = variables.initial_values(module, SIZE, 0)
    with pytest.raises(InputError, match=r"--recalibrate: got .*; valid: one"):
      _by_batches(network, module, values, [_images(4)])
  for name in ("inception_v3", "simple_cnn"):
    network = registry.describe(name, num_classes=3)
    with pytest.raises(InputError, match=r"match_statistics: got .* valid"):
      recalibrate.check(network)


def test_statistics_of_a_batch_are_without_drop_path():
  network = registry.describe("resnet18", num_classes=2, width=0.05)
  values = variables.initial_values(registry.build(network), SIZE, 0)
  images = _images(4)
  expected, statistics = (
    _by_batches(
      network, registry.build(network, drop_path=rate), values, [images]
    )
    for rate in (0.0, 0.9)
  )
  jax.tree.map(
    np.testing.assert_array_equal,
    statistics["batch_stats"],
    expected["batch_stats"],
  )
