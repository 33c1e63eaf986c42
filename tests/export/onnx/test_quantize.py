"""ONNX files whose weights and activations are 8-bit integers."""

import collections
import csv
import logging
import pathlib
import tempfile
import zipfile

import jax
import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from mn_jax.deploy import trained
from mn_jax.export import source
from mn_jax.export.onnx import file as onnx_file
from mn_jax.export.options import Options
from mn_jax.models import registry
from tests.export import toy_sources

FAMILIES = [
  "mobilenet_v1",
  "mobilenet_v2",
  "mobilenet_v3_small",
  "mobilenet_v4_conv_small",
]


def export(made, images, **fields):
  size = made.trained.image_size
  fields = {"precision": "int8_full", "size": (size, size), **fields}
  return onnx_file.export(
    made, Options(**fields), description="{}", calibration=images
  )


REAL = {  # top-1 of 334 images in float32 is 91.6, 90.1 and 82.6 %
  "mobilenet_v1": ("mobilenet_v1_1.0_224_tf.h5", 0.89),
  "mobilenet_v2": ("mobilenet_v2_1.0_224_tf.h5", 0.88),
  "mobilenet_v3_small": ("mobilenet_v3_small_224_tf.h5", 0.78),
}


@pytest.mark.extended
@pytest.mark.parametrize("name", REAL)
def test_accuracy_of_published_weights(name, shared_weights, shared_data):
  file, least = REAL[name]
  network = registry.describe(name, num_classes=1000)
  made = source.of(trained.from_weights(str(shared_weights / file), network))
  with (shared_data / "imagenet-sample-334.csv").open() as table:
    rows = list(csv.DictReader(table))
  with zipfile.ZipFile(shared_data / "imagenet-sample-334.zip") as archive:
    members = {pathlib.PurePath(n).name: n for n in archive.namelist()}
    images = np.stack(
      [made.trained.read_image(archive.read(members[r["file"]])) for r in rows]
    )
  content = export(made, images[::5])
  assert len(content) < 4.6e6
  session = onnx_file.open_bytes(content, threads=2)
  found = np.concatenate(
    [session.run(images[i : i + 32]).logits for i in range(0, 334, 32)]
  )
  labels = [int(row["index"]) for row in rows]
  assert np.mean(found.argmax(axis=1) == labels) > least


@pytest.mark.parametrize("name", FAMILIES)
def test_8_bits_say_almost_the_same(name, capfd, monkeypatch, tmp_path):
  monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
  root = logging.getLogger()
  before = (list(root.handlers), root.level, root.manager.disable)
  made = toy_sources.make(name)
  images = toy_sources.images(made, 6)
  content = export(made, images)
  # Nothing is left behind, printed, or set for others.
  assert not list(tmp_path.iterdir())
  assert capfd.readouterr() == ("", "")
  assert (list(root.handlers), root.level, root.manager.disable) == before
  expected = toy_sources.logits(made, images)
  found = onnx_file.open_bytes(content).run(images)
  error = np.sqrt(np.mean(np.square(found.logits - expected)))
  spread = np.std(expected, axis=0).mean()
  assert 0 < error < 0.5 * spread
  np.testing.assert_allclose(
    found.probabilities, jax.nn.softmax(found.logits), atol=1e-6
  )


def test_layers_are_quantized_and_pixels_are_not():
  made = toy_sources.make("mobilenet_v3_small")
  # A dead channel, as real weights have them.
  made.variables["params"]["backbone"]["top"]["conv"]["kernel"][..., 0] *= 1e-30
  images = toy_sources.images(made, 2)
  model = onnx.load_from_string(export(made, images, size=None, batch=1))
  onnx.checker.check_model(model, full_check=True)
  assert [(x.domain, x.version) for x in model.opset_import] == [("", 18)]
  nodes = {node.name: node for node in model.graph.node}
  makers = {out: node for node in nodes.values() for out in node.output}
  stored = {x.name: x for x in model.graph.initializer}
  layers = [n for n in nodes.values() if n.op_type in ("Conv", "Gemm")]
  quantized = []
  for node in layers:
    sources = [makers.get(name) for name in node.input[:2]]
    if all(x and x.op_type == "DequantizeLinear" for x in sources):
      quantized.append(node)
      kernel, scale = (stored[x] for x in sources[1].input[:2])
      assert kernel.data_type == TensorProto.INT8
      assert scale.dims == [kernel.dims[0]]  # one for each channel
  # No bias was clipped to what its scale cannot hold.
  biases = [x for x in stored.values() if x.data_type == TensorProto.INT32]
  largest = [
    np.abs(numpy_helper.to_array(x).astype(np.int64)).max(initial=0)
    for x in biases
  ]
  assert len(largest) > 50
  assert max(largest) < 2**31 - 1
  # All but the first two.
  assert len(quantized) == len(layers) - 2
  assert nodes["backbone/stem/conv/Conv"] not in quantized
  counts = collections.Counter(node.op_type for node in nodes.values())
  assert counts["Transpose"] == 1
  # Limits of hard swishes are implied by ranges; those in float are not there.
  assert counts["Clip"] <= 3
  (first,) = (x for x in layers if "/stem/" in x.name)
  assert makers[first.input[0]].op_type == "Mul"  # the normalisation
  assert "Resize" in {node.op_type for node in nodes.values()}


# ReLU6 has constants, as resizing has, and the names of both are of values.
@pytest.mark.parametrize("size", [None, (40, 48)])
def test_what_resizes_and_what_is_quantized_share_no_names(size):
  made = toy_sources.make("mobilenet_v1", crop=0.875)
  images = toy_sources.images(made, 2)
  content = export(made, images, size=size)
  names = [x.name for x in onnx.load_from_string(content).graph.initializer]
  assert len(names) == len({*names})
  larger = toy_sources.images(made, 2, (40, 48))
  found = onnx_file.open_bytes(content).run(larger)
  assert found.logits.shape == (2, 3)


def test_any_number_of_images_calibrates():
  made = toy_sources.make("simple_cnn")
  for count in (1, 11):
    images = toy_sources.images(made, count)
    found = onnx_file.open_bytes(export(made, images)).run(images)
    assert found.logits.shape == (count, 3)


def test_normalised_images_and_several_labels():
  made = toy_sources.make("simple_cnn", multi_label=True)
  images = toy_sources.images(made, 4)
  content = export(made, images, input="normalised", size=None)
  x = np.asarray(made.normalise(images))
  found = onnx_file.open_bytes(content).run(x)
  np.testing.assert_allclose(
    found.probabilities, jax.nn.sigmoid(found.logits), atol=1e-6
  )
  assert pathlib.Path.cwd().joinpath("augmented_model.onnx").exists() is False
