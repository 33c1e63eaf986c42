"""Networks as ONNX files, run by onnxruntime."""

import collections
import importlib.util

import flax.traverse_util
import jax
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto

import mn_jax
from mn_jax.errors import InputError
from mn_jax.export.onnx import file as onnx_file
from mn_jax.export.options import OUTPUTS, Options
from mn_jax.models import registry
from tests.export import toy_sources


def export(
  made, *, description=toy_sources.DESCRIPTION, calibration=None, **fields
):
  size = made.trained.image_size
  return onnx_file.export(
    made,
    Options(**{"size": (size, size), **fields}),
    description=description,
    calibration=calibration,
  )


def operations(content):
  """Returns how often a file has each operation, and checks the file."""
  model = onnx.load_from_string(content)
  onnx.checker.check_model(model, full_check=True)
  inferred = onnx.shape_inference.infer_shapes(
    model, strict_mode=True, data_prop=True
  )
  assert len(inferred.graph.value_info) >= len(model.graph.value_info) > 0
  return collections.Counter(node.op_type for node in model.graph.node)


def check(made, content, atol=1e-4):
  """A file computes what our own network does."""
  images = toy_sources.images(made, 3)
  expected = toy_sources.logits(made, images)
  # A network that does not see the images would agree with any other.
  assert np.std(expected, axis=0).mean() > 10 * atol
  found = onnx_file.open_bytes(content).run(images)
  np.testing.assert_allclose(found.logits, expected, atol=atol, rtol=1e-5)
  np.testing.assert_allclose(
    found.probabilities, jax.nn.softmax(expected), atol=atol
  )


@pytest.mark.parametrize("name", toy_sources.NETWORKS)
def test_every_network_computes_the_same(name):
  made = toy_sources.make(name)
  content = export(made)
  check(made, content)
  counts = operations(content)
  assert counts["Transpose"] == 1
  # Nothing is left of what JAX spells out.
  assert not counts.keys() & {"ReduceSum", "Div", "Slice", "Reshape", "Min"}
  layers = flax.traverse_util.flatten_dict(made.variables["params"])
  kernels = sum(path[-1] == "kernel" for path in layers)
  assert counts["Conv"] + counts["Gemm"] == kernels


@pytest.mark.parametrize(
  "fields",
  [
    {"name": "mobilenet_v1", "options": registry.Options(conv_bias=True)},
    {"name": "mobilenet_v1", "options": registry.Options(separable=False)},
    {"name": "mobilenet_v1", "options": registry.Options(shallow=True)},
    {"name": "mobilenet_v1", "size": 39},
    {
      "name": "mobilenet_v3_small",
      "options": registry.Options(minimalistic=True),
    },
    pytest.param(
      {"name": "resnet50", "options": registry.Options(stride_in_1x1=True)},
      marks=pytest.mark.extended,
    ),
    *({"name": "simple_cnn", "head": head} for head in registry.HEADS),
  ],
  ids=str,
)
def test_variants_and_heads_compute_the_same(fields):
  made = toy_sources.make(**fields)
  content = export(made)
  check(made, content)
  assert operations(content)["Transpose"] == 1


def test_layers_have_their_biases_and_activations_their_names():
  made = toy_sources.make("mobilenet_v3_small")
  model = onnx.load_from_string(export(made))
  assert operations(model.SerializeToString()) == {
    "Transpose": 1,
    "Cast": 1,
    "Sub": 1,
    "Mul": 10,  # one of normalisation, nine of squeeze and excitation
    "Conv": 52,
    "Relu": 14,
    "HardSigmoid": 9,
    "HardSwish": 19,
    "GlobalAveragePool": 10,
    "Add": 7,
    "Flatten": 1,
    "Gemm": 2,
    "Softmax": 1,
  }
  convs = [node for node in model.graph.node if node.op_type == "Conv"]
  first = convs[0]
  assert first.name == "backbone/stem/conv/Conv"
  assert list(first.input[1:]) == [
    "backbone/stem/conv/kernel",
    "backbone/stem/norm/bias",
  ]
  assert all(len(node.input) == 3 for node in convs)


def test_equal_constants_are_one():
  made = toy_sources.make("mobilenet_v1")
  model = onnx.load_from_string(export(made))
  values = [
    (x.data_type, tuple(x.dims), x.raw_data) for x in model.graph.initializer
  ]
  assert len(set(values)) == len(values)
  assert len({x.name for x in model.graph.initializer}) == len(values)


def test_a_file_says_what_it_is():
  made = toy_sources.make("simple_cnn")
  content = export(made, size=None)
  model = onnx.load_from_string(content)
  assert model.producer_name == "mn_jax"
  assert model.producer_version == mn_jax.__version__
  assert "simple_cnn" in model.doc_string
  session = onnx_file.open_bytes(content)
  assert (session.batch, session.metadata) == (None, toy_sources.DESCRIPTION)
  assert [x.name for x in model.graph.input] == ["images"]
  assert tuple(x.name for x in model.graph.output) == OUTPUTS
  shapes = [
    [dim.dim_param or dim.dim_value for dim in x.type.tensor_type.shape.dim]
    for x in (*model.graph.input, *model.graph.output)
  ]
  assert shapes == [
    ["batch", "height", "width", 3],
    ["batch", 3],
    ["batch", 3],
  ]


def test_a_fixed_batch_and_normalised_images():
  made = toy_sources.make("simple_cnn")
  content = export(made, batch=2, input="normalised")
  session = onnx_file.open_bytes(content, threads=2)
  images = toy_sources.images(made, 2)
  found = session.run(np.asarray(made.normalise(images)))
  expected = toy_sources.logits(made, images)
  np.testing.assert_allclose(found.logits, expected, atol=1e-4)
  assert session.batch == 2
  assert operations(content)["Transpose"] == 1
  with pytest.raises(Exception, match=r"Got: 1 Expected: 2"):
    session.run(np.asarray(made.normalise(images[:1])))


def test_probabilities_of_several_labels():
  made = toy_sources.make("simple_cnn", multi_label=True)
  images = toy_sources.images(made, 3)
  found = onnx_file.open_bytes(export(made)).run(images)
  np.testing.assert_allclose(
    found.probabilities, jax.nn.sigmoid(found.logits), atol=1e-6
  )
  assert not np.allclose(found.probabilities.sum(axis=1), 1, atol=1e-2)


@pytest.mark.parametrize(
  ("precision", "dtype", "wider", "atol"),
  [
    ("float16", TensorProto.FLOAT16, 0, 1e-2),
    ("int8_weights", TensorProto.INT8, 13, 0.1),  # not depthwise ones
  ],
)
def test_kernels_are_stored_in_fewer_bits(precision, dtype, wider, atol):
  made = toy_sources.make("mobilenet_v1")
  full, content = export(made), export(made, precision=precision)
  model = onnx.load_from_string(content)
  stored = [x for x in model.graph.initializer if x.data_type == dtype]
  counts = operations(content)
  assert len(stored) == counts["Conv"] + counts["Gemm"] - wider
  assert len(content) < len(full) * (0.6 if precision == "float16" else 0.4)
  images = toy_sources.images(made, 3)
  expected = onnx_file.open_bytes(full).run(images).logits
  found = onnx_file.open_bytes(content).run(images).logits
  np.testing.assert_allclose(found, expected, atol=atol * expected.std())
  assert not np.array_equal(found, expected)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8_weights"])
def test_onnxruntime_fuses_activations_and_reads_kernels_once(
  precision, tmp_path
):
  made = toy_sources.make("mobilenet_v1")
  options = onnxruntime.SessionOptions()
  options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
  options.log_severity_level = 3  # it warns of files for this machine alone
  content = export(made, precision=precision)
  onnxruntime.InferenceSession(content, options)
  optimized = onnx.load(tmp_path / "optimized.onnx")
  counts = collections.Counter(node.op_type for node in optimized.graph.node)
  assert counts["Conv"] + counts["FusedConv"] == 27
  assert counts["Cast"] == counts["Mul"] == 1  # of the images
  assert not counts.keys() & {"Clip", "Relu", "DequantizeLinear"}


def test_weights_beyond_float16_are_refused():
  made = toy_sources.make("simple_cnn")
  kernel = made.variables["params"]["head"]["logits"]["kernel"]
  kernel[0, 0] = 1e5
  with pytest.raises(
    InputError, match=r"float16 .*head/logits/kernel.* 100000"
  ):
    export(made, precision="float16")


def test_more_than_a_file_holds_is_refused(monkeypatch):
  made = toy_sources.make("simple_cnn")
  monkeypatch.setattr("mn_jax.export.onnx.graph.LARGEST_BYTES", 1000)
  with pytest.raises(InputError, match="more than 2 GiB"):
    export(made)


def test_missing_packages_are_one_line(monkeypatch):
  made = toy_sources.make("simple_cnn")
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name: None if name == "onnxruntime" else find(name),
  )
  for act in (lambda: export(made), lambda: onnx_file.open_bytes(b"")):
    with pytest.raises(InputError, match=r"pip install '.\[export\]'"):
      act()
