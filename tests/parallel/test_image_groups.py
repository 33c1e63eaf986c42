"""Tests of networks that compute a batch in groups of images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.parallel import image_groups


def _network(shapes):
  """Sums and last pixels of images; keeps the shapes that it sees."""

  def apply(x):
    shapes.append(x.shape)
    return {"sum": jnp.sum(x, axis=(1, 2, 3)), "last": x[:, -1, -1]}

  return apply


@pytest.mark.parametrize("batch", [8, 12])
def test_groups_give_the_outputs_of_the_batch(batch):
  images = np.random.default_rng(0).normal(size=(batch, 224, 224, 1))
  images = images.astype(np.float32)
  shapes = []
  lowered = jax.jit(lambda x: image_groups.apply(_network(shapes), x)).lower(
    images
  )
  assert set(shapes) == {(2, 224, 224, 1), images.shape}
  assert "stablehlo.while" in lowered.as_text()
  outputs = lowered.compile()(images)
  np.testing.assert_allclose(outputs["sum"], images.sum((1, 2, 3)), atol=0.05)
  np.testing.assert_array_equal(outputs["last"], images[:, -1, -1])


def test_other_platforms_compute_the_batch_at_once():
  images = jax.ShapeDtypeStruct((8, 224, 224, 1), jnp.float32)
  traced = jax.jit(lambda x: image_groups.apply(_network([]), x)).trace(images)
  text = traced.lower(lowering_platforms=("tpu",)).as_text()
  assert "stablehlo.while" not in text


@pytest.mark.parametrize(("batch", "size"), [(8, 64), (4, 224), (10, 224)])
def test_other_batches_are_computed_at_once(batch, size):
  shapes = []
  images = jnp.zeros((batch, size, size, 1))
  image_groups.apply(_network(shapes), images)
  assert shapes == [images.shape]
