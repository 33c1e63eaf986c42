"""Resizing inside of LiteRT files gives what JAX's own resizing gives."""

import jax
import numpy as np
import pytest

from mn_jax.export import fitting
from mn_jax.export.litert import file as litert_file
from mn_jax.export.litert import resize
from mn_jax.export.options import Options
from tests.export import toy_sources
from tests.export.litert import reading
from tests.export.litert.test_file import export

_CASES = [
  {"crop": None},
  {"crop": 1.0, "resolution": 40},
  {"crop": 0.875, "interpolation": "bicubic"},
  {"crop": 0.875, "resolution": 24},
]


@pytest.mark.parametrize("size", [(48, 70), (97, 64), (20, 31), (32, 32)])
@pytest.mark.parametrize("fields", _CASES)
def test_pixels_are_those_of_other_formats(fields, size):
  made = toy_sources.make("simple_cnn", **fields)
  batch = toy_sources.images(made, 2, size)
  options = Options(size=size)
  found = jax.jit(
    lambda x: made.normalise(resize.to_resolution(made, options, x))
  )(batch)
  expected = fitting.to_network(made, options, batch)
  assert found.shape == expected.shape
  # Sums in another order: a pixel may be rounded to the next level, of 255 in
  # the range from -1 to 1.
  difference = np.abs(np.asarray(found - expected))
  assert difference.max() <= 2 / 255 + 1e-5
  assert np.mean(difference > 1e-4) < 0.01


# Of odd factors bicubic has weights that are 0, between others.
@pytest.mark.parametrize("crop", [None, 1.0])
@pytest.mark.parametrize("factor", [3, 5])
def test_whole_factors(factor, crop):
  made = toy_sources.make("simple_cnn", crop=crop, interpolation="bicubic")
  size = (32 * factor, 32 * factor)
  batch = toy_sources.images(made, 1, size)
  options = Options(size=size)
  found = jax.jit(lambda x: resize.to_resolution(made, options, x))(batch)
  expected = fitting.fit(batch, 32, crop=crop, interpolation="bicubic")
  assert np.abs(np.int16(found) - np.int16(expected)).max() <= 1


@pytest.mark.parametrize("batch", [None, 1, 2])
# The last is too small for the network's head.
@pytest.mark.parametrize("fields", _CASES[:-1])
def test_a_file_takes_images_of_its_size(fields, batch):
  made = toy_sources.make("simple_cnn", **fields)
  images = toy_sources.images(made, 2, (48, 70))
  content = export(made, size=(48, 70), batch=batch)
  session = litert_file.open_bytes(content)
  options = Options(size=(48, 70))
  expected = jax.jit(
    lambda x: made.logits(fitting.to_network(made, options, x))
  )(images)
  assert np.std(expected, axis=0).min() > 1e-2
  images, expected = images[:batch], expected[:batch]
  np.testing.assert_allclose(session.run(images).logits, expected, atol=0.01)
  # No product with a matrix, which takes as long as a network.
  counts = reading.operators(content)
  assert counts["GATHER_ND"] > 0
  assert not counts.keys() & {"BATCH_MATMUL", "CUSTOM"}
  assert counts["FULLY_CONNECTED"] == 2  # the head's


# Both axes need neighbouring pixels alone, or nothing but a crop.
@pytest.mark.parametrize("size", [(40, 33), (32, 70)])
def test_slices_are_of_any_number_of_images(size):
  made = toy_sources.make("simple_cnn", crop=None if size[0] == 40 else 1.0)
  images = toy_sources.images(made, 3, size)
  content = export(made, size=size, batch=None)
  assert reading.operators(content)["SLICE"]
  options = Options(size=size)
  expected = jax.jit(
    lambda x: made.logits(fitting.to_network(made, options, x))
  )(images)
  found = litert_file.open_bytes(content).run(images).logits
  np.testing.assert_allclose(found, expected, atol=0.01)


def test_images_of_the_right_size_are_not_touched():
  made = toy_sources.make("simple_cnn", crop=0.875)
  assert "GATHER_ND" not in reading.operators(export(made))
