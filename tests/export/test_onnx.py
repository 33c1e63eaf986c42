"""Networks as ONNX files, run by onnxruntime."""

import json

import numpy as np
import onnx
import pytest

from mn_jax.errors import InputError
from mn_jax.export import onnx as onnx_lib
from mn_jax.export import source
from mn_jax.export.options import OUTPUTS, Options
from tests.export import toy_networks as toy

_DESCRIPTION = json.dumps({"classes": ["a", "ü"]}, ensure_ascii=False)


def export(made, description=_DESCRIPTION, **fields):
  return onnx_lib.export(made, Options(**fields), description=description)


def test_a_file_says_what_it_is():
  made = source.of(toy.trained())
  content = export(made)
  model = onnx.load_from_string(content)
  onnx.checker.check_model(model, full_check=True)
  assert model.producer_name == "mn_jax"
  session = onnx_lib.open_bytes(content)
  assert (session.batch, session.metadata) == (None, _DESCRIPTION)
  assert tuple(x.name for x in model.graph.output) == OUTPUTS


@pytest.mark.parametrize("data", [b"", b"hello", b"\x08\x07", bytes(100)])
def test_other_files_are_refused(data):
  with pytest.raises(InputError, match="valid: an ONNX file that mn-jax"):
    onnx_lib.open_bytes(data)


@pytest.mark.parametrize("multi_label", [False, True])
def test_it_computes_what_our_network_does(multi_label):
  made = source.of(toy.trained(multi_label=multi_label))
  session = onnx_lib.open_bytes(export(made, size=(toy.SIZE, toy.SIZE)))
  images = toy.images(3)
  logits = np.asarray(made.logits(made.normalise(images)))
  assert np.std(logits, axis=0).min() > 1e-2
  found = session.run(images)
  np.testing.assert_allclose(found.logits, logits, atol=1e-4)
  np.testing.assert_allclose(
    found.probabilities, made.probabilities(logits), atol=1e-5
  )
