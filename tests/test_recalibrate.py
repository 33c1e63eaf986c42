"""Tests of running statistics matched to new images."""

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax import recalibrate
from mn_jax.errors import InputError
from mn_jax.models import registry, variables

SIZE = 32


def _setup(name="mobilenet_v2", seed=0):
  """(network, module, variables whose statistics describe no image)."""
  network = registry.describe(name, num_classes=3, width=0.25)
  module = registry.build(network, norm_momentum=0.5)
  values = variables.initial_values(module, SIZE, seed)
  draw = np.random.default_rng(seed)
  flat = flax.traverse_util.flatten_dict(values, sep="/")
  for path, x in flat.items():
    low, high = {
      "scale": (0.5, 1.5),
      "var": (0.5, 1.5),
      "bias": (-0.3, 0.3),
      "mean": (-0.3, 0.3),
      "weight": (1, 1),
    }.get(path.rsplit("/", 1)[1], (None, None))
    if low is not None:
      flat[path] = draw.uniform(low, high, x.shape).astype(np.float32)
  return network, module, flax.traverse_util.unflatten_dict(flat, sep="/")


def _images(count, seed=1):
  draw = np.random.default_rng(seed)
  return draw.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)


def _match(network, module, values, batches):
  return recalibrate.match_statistics(
    module, network.conventions, values, iter(batches), resolution=0
  )


def test_the_function_stays_and_training_begins_with_it():
  network, module, values = _setup()
  images = _images(16)
  matched = _match(network, module, values, [images[:8], images[8:]])
  x = (images.astype(np.float32) - 127.5) / 127.5

  @jax.jit
  def logits(v, x):
    trained, _ = module.apply(v, x, True, mutable=["batch_stats"])
    return module.apply(v, x, False)[0], trained[0]

  before, trained_before = logits(values, x)
  after, trained_after = logits(matched, x)
  scale = np.abs(before).max()
  np.testing.assert_allclose(after, before, atol=1e-4 * scale)
  # Of the very images, the batch's statistics are the running ones.
  np.testing.assert_allclose(trained_after, before, atol=1e-3 * scale)
  assert np.abs(trained_before - before).max() > 0.1 * scale


def test_the_head_is_left_alone_and_running_averages_too():
  network, module, values = _setup("mobilenet_v1")
  matched = _match(network, module, values, [_images(8)])
  np.testing.assert_array_equal(
    matched["params"]["head"]["logits"]["kernel"],
    values["params"]["head"]["logits"]["kernel"],
  )
  stem = matched["batch_stats"]["backbone"]["stem"]["norm"]
  assert stem["weight"] == 1
  assert stem["mean"].dtype == np.float32
  assert jax.tree.map(np.shape, matched) == jax.tree.map(np.shape, values)


def test_batches_count_alike():
  network, module, values = _setup("mobilenet_v1")
  images = _images(8)
  whole = _match(network, module, values, [images])
  halves = _match(network, module, values, [images[4:], images[:4]])
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
    whole,
    halves,
  )


@pytest.mark.parametrize("name", ["inception_v3", "simple_cnn"])
def test_networks_without_scales_are_refused(name):
  network = registry.describe(name, num_classes=3)
  with pytest.raises(InputError, match=r"model.match_statistics: got .* valid"):
    recalibrate.check(network)
