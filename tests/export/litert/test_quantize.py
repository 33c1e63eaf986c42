"""LiteRT files in other precisions: what is stored, what is computed."""

import dataclasses

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.errors import InputError, RunError
from mn_jax.export.litert import file as litert_file
from mn_jax.export.litert import quantize
from mn_jax.models import registry
from tests.export import toy_sources
from tests.export.litert import reading
from tests.export.litert.test_file import export

_QUICK = ("mobilenet_v4_conv_small", "resnet18", "vgg16")
_LAYERS = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def relative_error(found, expected):
  return np.sqrt(np.mean((found - expected) ** 2)) / np.std(expected)


@pytest.fixture(scope="module")
def made():
  return toy_sources.make("mobilenet_v1", width=0.35)


@pytest.fixture(scope="module")
def contents(made):
  """The network in every precision."""
  images = toy_sources.images(made, 5)
  return {
    precision: export(made, precision=precision, calibration=images)
    for precision in ("float32", "float16", "int8_weights", "int8_full")
  }


@pytest.mark.parametrize(
  ("precision", "error", "share"),
  [
    ("float16", 0.01, 0.56),
    ("int8_weights", 0.1, 0.36),
    ("int8_full", 0.2, 0.5),
  ],
)
def test_logits_and_sizes(made, contents, precision, error, share):
  """Of networks this small names and scales are much of a file."""
  batch = toy_sources.images(made, 2)
  expected = toy_sources.logits(made, batch)
  found = litert_file.open_bytes(contents[precision]).run(batch)
  assert 0 < relative_error(found.logits, expected) < error
  assert len(contents[precision]) < share * len(contents["float32"])
  assert found.logits.dtype == found.probabilities.dtype == np.float32
  # Of the logits, without rounding of their own.
  np.testing.assert_allclose(
    found.probabilities, jax.nn.softmax(found.logits), atol=1e-6
  )


def test_kernels_are_stored_in_half_the_bits(contents):
  stored = reading.kernel_types(contents["float16"])
  assert {kind for kinds in stored.values() for kind in kinds} == {"FLOAT16"}
  assert stored.keys() == {*_LAYERS}


def test_kernels_are_stored_in_8_bits_but_for_depthwise_ones(contents):
  stored = reading.kernel_types(contents["int8_weights"])
  assert stored["DEPTHWISE_CONV_2D"] == {"FLOAT16"}
  assert stored["CONV_2D"] == stored["FULLY_CONNECTED"] == {"INT8"}
  # Products are of float32.
  for layer in reading.layers(contents["int8_weights"]):
    assert layer.inputs[0] == layer.outputs[0] == "FLOAT32"


@pytest.mark.parametrize("batch", [None, 2])
def test_what_float16_cannot_hold_is_refused(made, batch):
  flat = flax.traverse_util.flatten_dict(made.variables)
  path = ("params", "backbone", "block0", "depthwise", "conv", "kernel")
  flat[path] = np.full_like(flat[path], 1e5)
  large = dataclasses.replace(
    made, variables=flax.traverse_util.unflatten_dict(flat)
  )
  for precision in ("float16", "int8_weights"):
    with pytest.raises(InputError, match=f"got {precision}, in .* overflows"):
      export(large, precision=precision, batch=batch)


def test_all_of_the_network_is_in_8_bits(contents):
  found = reading.layers(contents["int8_full"])
  assert len(found) == 14 + 13 + 1
  for layer in found:
    assert layer.inputs == ("INT8", "INT8", "INT32"), layer
    assert layer.outputs == ("INT8",)
  counts = reading.operators(contents["int8_full"])
  # Pixels are taken as they are, and logits become float32 once.
  assert counts["QUANTIZE"] == counts["DEQUANTIZE"] == 1
  assert "CAST" not in counts
  (first, *_) = reading.types(contents["int8_full"], "QUANTIZE")
  assert (first.inputs, first.outputs) == (("UINT8",), ("INT8",))
  (last,) = reading.types(contents["int8_full"], "SOFTMAX")
  assert last.inputs == last.outputs == ("FLOAT32",)


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in _QUICK else pytest.mark.extended)
    for name in registry.MODELS
  ],
)
def test_every_network_is_in_8_bits(name):
  made = toy_sources.make(name)
  batch = toy_sources.images(made, 2)
  content = export(made, precision="int8_full", calibration=batch)
  found = litert_file.open_bytes(content).run(batch)
  expected = litert_file.open_bytes(export(made)).run(batch)
  assert 0 < relative_error(found.logits, expected.logits) < 0.3
  for layer in reading.layers(content):
    assert (*layer.inputs, *layer.outputs) == ("INT8", "INT8", "INT32", "INT8")
  in_float = {
    op.name
    for op in reading.operations(content)
    if "FLOAT32" in op.inputs + op.outputs
  }
  assert in_float == {"DEQUANTIZE", "SOFTMAX"}


def test_calibration_images_give_the_ranges(made):
  dark = toy_sources.images(made, 4) // 8
  batch = toy_sources.images(made, 2)
  expected = toy_sources.logits(made, batch)
  errors = []
  for images in (batch, dark):
    content = export(made, precision="int8_full", calibration=images)
    found = litert_file.open_bytes(content).run(batch)
    errors.append(relative_error(found.logits, expected))
  # What the brighter images reach is cut off.
  assert errors[1] > 2 * errors[0]


@pytest.mark.parametrize("images", [None, np.zeros((0, 32, 32, 3), np.uint8)])
def test_without_images_there_is_no_calibration(made, images):
  with pytest.raises(InputError, match="calibration: got no images"):
    export(made, precision="int8_full", calibration=images)


@pytest.mark.parametrize("precision", ["float16", "int8_weights", "int8_full"])
@pytest.mark.parametrize(
  "fields",
  [
    {"batch": None},
    {"batch": 3},
    {"batch": 1, "input": "normalised"},
    {"batch": None, "size": (48, 70)},
  ],
)
def test_options_of_float32_are_those_of_others(precision, fields):
  made = toy_sources.make("simple_cnn", multi_label=True)
  size = fields.get("size", (32, 32))
  batch = toy_sources.images(made, 3, size)
  reference = litert_file.open_bytes(export(made, **fields))
  # Of 5 images, which no batch of 3 divides.
  session = litert_file.open_bytes(
    export(
      made,
      precision=precision,
      calibration=toy_sources.images(made, 5),
      **fields,
    )
  )
  assert session.batch == fields["batch"]
  if "input" in fields:
    batch = np.asarray(made.normalise(batch))
  batch = batch[: fields["batch"]]
  expected, found = reference.run(batch), session.run(batch)
  assert 0 < relative_error(found.logits, expected.logits) < 0.2
  np.testing.assert_allclose(
    found.probabilities, 1 / (1 + np.exp(-found.logits)), atol=1e-6
  )


def test_resizing_stays_in_float32():
  made = toy_sources.make("mobilenet_v1", crop=0.875, resolution=40)
  images = toy_sources.images(made, 4)
  content = export(
    made, precision="int8_full", size=(48, 70), calibration=images
  )
  counts = reading.operators(content)
  assert counts["GATHER_ND"] > 0
  assert counts["QUANTIZE"] == counts["DEQUANTIZE"] == 1
  for layer in reading.layers(content):
    assert layer.outputs == ("INT8",)


def test_an_activation_that_is_always_0_is_no_problem():
  """Its steps would be so fine that the runtime refuses the file."""
  made = toy_sources.make("mobilenet_v3_small")
  flat = flax.traverse_util.flatten_dict(made.variables)
  path = ("params", "backbone", "block0", "squeeze_excite", "reduce", "bias")
  flat[path] = flat[path] - 1000
  variables = flax.traverse_util.unflatten_dict(flat)
  made = dataclasses.replace(made, variables=variables)
  images = toy_sources.images(made, 4)
  session = litert_file.open_bytes(
    export(made, precision="int8_full", calibration=images)
  )
  assert np.isfinite(session.run(images[:2]).logits).all()


def test_the_bias_of_a_dead_channel_has_room(monkeypatch):
  """Its kernel is almost 0, and a bias is in steps of the kernel's."""
  made = toy_sources.make("simple_cnn")
  flat = flax.traverse_util.flatten_dict(made.variables)
  (kernel, *_) = (
    path for path in flat if path[-1] == "kernel" and "backbone" in path
  )
  bias = next(
    path
    for path in flat
    if path[:3] == kernel[:3] and path[-1] == "bias" and path != kernel
  )
  flat[kernel] = flat[kernel].copy()
  flat[kernel][..., 0] = 1e-12
  flat[bias] = flat[bias].copy()
  flat[bias][0] = 3
  variables = flax.traverse_util.unflatten_dict(flat)
  made = dataclasses.replace(made, variables=variables)
  content = export(
    made, precision="int8_full", calibration=toy_sources.images(made, 4)
  )
  biases = reading.biases(content)
  assert np.isclose(biases[0][0], 3, rtol=1e-3)
  # Without it there is no file.
  monkeypatch.setattr(
    quantize, "_with_room_for_biases", lambda data, ranges: data
  )
  with pytest.raises(RunError, match="cut off a bias"):
    export(made, precision="int8_full", calibration=toy_sources.images(made, 4))
