"""Pixels of any size in ONNX files, resized and cropped as ours are."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from mn_jax.data import resizing
from mn_jax.export import fitting, source
from mn_jax.export.onnx import inputs
from mn_jax.export.onnx.graph import Graph
from mn_jax.export.options import Options
from tests.export import toy_networks as toy

RULES = [
  {"crop": None, "interpolation": "bilinear"},
  {"crop": 1.0, "interpolation": "bilinear"},
  {"crop": 0.875, "interpolation": "bilinear"},
  {"crop": 0.7, "interpolation": "bicubic"},
]


def normalised(made, size, images):
  """Runs the beginning of a file alone, f32[batch, r, r, 3]."""
  graph = Graph()
  result = inputs.pixels(graph, "images", made, size)
  model = graph.model(
    "input",
    helper.make_tensor_value_info(
      "images", TensorProto.UINT8, ["b", *(size or ("h", "w")), 3]
    ),
    [
      helper.make_tensor_value_info(
        result, TensorProto.FLOAT, ["b", 3, made.resolution, made.resolution]
      )
    ],
  )
  onnx.checker.check_model(model, full_check=True)
  options = onnxruntime.SessionOptions()
  options.log_severity_level = 2  # warnings would be printed
  session = onnxruntime.InferenceSession(model.SerializeToString(), options)
  return session.run(None, {"images": images})[0].transpose(0, 2, 3, 1)


def expected(made, size, images):
  return np.asarray(fitting.to_network(made, Options(size=size), images))


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("fixed", [False, True])
def test_images_are_fitted_as_by_jax(rule, fixed, capfd):
  made = source.of(toy.trained(**rule))
  level = 2 / 255  # of grey, after normalisation
  for shape in ((31, 50), (97, 64), (20, 20), (32, 33), (32, 32)):
    images = toy.images(2, *shape)
    size = shape if fixed else None
    found = normalised(made, size, images)
    wanted = expected(made, size, images)
    # Sums in another order, and then perhaps rounded to the other side.
    assert np.abs(found - wanted).max() <= 1.01 * level
    assert np.mean(np.abs(found - wanted) > 1e-5) < 0.02
    if shape == (32, 32) and (fixed or rule["crop"] in (None, 1.0)):
      assert np.array_equal(found, np.asarray(made.normalise(images)))
  assert capfd.readouterr().err == ""


@pytest.mark.parametrize("shape", [(400, 20), (20, 401), (1, 300), (1, 1)])
def test_narrow_images_lose_their_far_ends_first(shape):
  """As in `data.decode`: resizing them whole could take gigabytes."""
  made = source.of(toy.trained(crop=0.875, interpolation="bilinear"))
  images = toy.images(1, *shape)
  fitted = resizing.resize_and_crop(images[0], toy.SIZE, share=0.875)
  wanted = np.asarray(made.normalise(fitted[None]))
  for size in (None, shape):
    found = normalised(made, size, images)
    assert np.abs(found - wanted).max() <= 1.01 * 2 / 255


@pytest.mark.parametrize("resolution", [24, 48])
def test_the_resolution_of_the_network(resolution):
  made = source.of(toy.trained(resolution=resolution))
  images = toy.images(2)
  found = normalised(made, (toy.SIZE, toy.SIZE), images)
  assert found.shape[1:3] == (resolution, resolution)
  np.testing.assert_allclose(found, made.normalise(images), atol=1e-5)
