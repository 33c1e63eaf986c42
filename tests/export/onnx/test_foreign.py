"""Files that `mn-jax export` did not write, opened as ONNX."""

import contextlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from mn_jax.errors import InputError
from mn_jax.export.onnx import file as onnx_file
from mn_jax.export.options import Options
from tests.export import toy_sources


@pytest.fixture(scope="module")
def content():
  made = toy_sources.make("simple_cnn")
  return onnx_file.export(made, Options(), description="{}")


def refused(data, match):
  with pytest.raises(InputError, match=match) as caught:
    onnx_file.open_bytes(data)
  assert "\n" not in str(caught.value)
  assert "valid: an ONNX file that mn-jax export wrote" in str(caught.value)


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"hello",
    bytes(100),
    b"\x20\x00\x00\x00TFL3" + bytes(100),
    b"ORTM" * 20,
    b"PK\x03\x04" + bytes(100),
    b"\x08\x08",
  ],
)
def test_data_that_are_not_of_onnx(data):
  refused(data, "not of ONNX")


def test_truncated_files(content):
  draw = np.random.default_rng(0)
  for length in draw.integers(1, len(content), 20):
    refused(content[:length], "file: got ")


def test_damaged_files_do_not_crash(content):
  """Whatever a flipped bit makes of a file, it is opened or refused."""
  draw = np.random.default_rng(0)
  for place in draw.integers(0, len(content), 40):
    data = bytearray(content)
    data[place] ^= 1 << draw.integers(8)
    with contextlib.suppress(InputError):
      assert onnx_file.open_bytes(bytes(data)).batch in (None, 0)


def test_data_in_other_files(content, tmp_path, monkeypatch):
  """They would be read from wherever the file says."""
  (tmp_path / "secret").write_bytes(bytes(1 << 20))
  monkeypatch.chdir(tmp_path)
  model = onnx.load_from_string(content)
  tensor = model.graph.initializer[-1]
  tensor.ClearField("raw_data")
  tensor.data_location = TensorProto.EXTERNAL
  tensor.external_data.add(key="location", value="secret")
  refused(model.SerializeToString(), "data in other files")

  model = onnx.load_from_string(content)
  hidden = numpy_helper.from_array(np.zeros(2, np.float32), "hidden")
  hidden.external_data.add(key="location", value="secret")
  node = model.graph.node.add(op_type="Constant", output=["hidden"])
  node.attribute.append(helper.make_attribute("value", hidden))
  refused(model.SerializeToString(), "data in other files")


def test_models_of_others(content):
  model = onnx.load_from_string(content)
  model.graph.input[0].name = "pixels"
  refused(model.SerializeToString(), r"a model from \['pixels'\] to \['prob")

  model = onnx.load_from_string(content)
  model.graph.node[3].op_type = "Unheard"
  refused(model.SerializeToString(), "Unheard")

  for shape in ([], [2], None):
    nodes = [
      helper.make_node("Identity", ["images"], [name])
      for name in ("probabilities", "logits")
    ]
    infos = [
      helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
      for name in ("images", "probabilities", "logits")
    ]
    graph = helper.make_graph(nodes, "other", infos[:1], infos[1:])
    other = helper.make_model(
      graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)]
    )
    refused(other.SerializeToString(), f"input has {len(shape or [])} axes")
