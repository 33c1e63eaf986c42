"""Images of any size are made ready in JAX as `data.decode` does it."""

import jax
import numpy as np
import pytest
from jax import export as jax_export

from mn_jax.data import resizing
from mn_jax.export import fitting, source
from mn_jax.export.options import Options
from tests.export import toy_networks as toy


@pytest.mark.parametrize("symbolic", [False, True])
@pytest.mark.parametrize("crop", [None, 1.0, 0.875, 0.7])
@pytest.mark.parametrize("shape", [(31, 50), (97, 64), (32, 32), (20, 20)])
def test_images_are_fitted_as_files_are(crop, shape, symbolic):
  image = toy.smooth(*shape)
  program = jax.jit(
    lambda x: fitting.fit(x, 32, crop=crop, interpolation="bilinear")
  )
  if symbolic:
    sizes = jax_export.symbolic_shape("batch, height, width, 3")
    exported = jax_export.export(program)(jax.ShapeDtypeStruct(sizes, "u1"))
    program = jax.jit(exported.call)
  fitted = program(image[None])
  expected = resizing.resize(image, 32)
  if crop is not None:
    expected = resizing.resize_and_crop(image, 32, share=crop)
  assert fitted.dtype == np.uint8
  # Pillow rounds after each of the two directions.
  difference = np.abs(np.asarray(fitted[0]).astype(int) - expected)
  assert difference.max() <= 1
  if shape == (32, 32) and crop in (None, 1.0):
    assert not difference.any()


def test_images_that_are_ready_are_neither_resized_nor_cropped():
  of = source.of(toy.trained())
  images = toy.images(2)
  ready = Options(size=(toy.SIZE, toy.SIZE))
  expected = of.normalise(images)
  found = fitting.to_network(of, ready, images)
  np.testing.assert_array_equal(found, expected)
  found = fitting.to_network(of, Options(input="normalised"), expected)
  np.testing.assert_array_equal(found, expected)
  cropped = fitting.to_network(
    of, Options(size=(40, 40)), toy.images(2, 40, 40)
  )
  assert cropped.shape == expected.shape
