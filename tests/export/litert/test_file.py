"""Networks as LiteRT files in float32, run by LiteRT's interpreter."""

import importlib.metadata
import importlib.util
import pathlib
import re
import tomllib

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.export.litert import convert
from mn_jax.export.litert import file as litert_file
from mn_jax.export.options import Options
from mn_jax.models import registry
from tests.export import toy_sources
from tests.export.litert import reading


def export(
  made, *, description=toy_sources.DESCRIPTION, calibration=None, **fields
):
  size = made.trained.image_size
  fields = {"batch": 2, "size": (size, size), **fields}
  return litert_file.export(
    made, Options(**fields), description=description, calibration=calibration
  )


@pytest.mark.parametrize("name", toy_sources.NETWORKS)
def test_every_network_computes_the_same(name):
  made = toy_sources.make(name)
  content = export(made)
  session = litert_file.open_bytes(content)
  batch = toy_sources.images(made, 2)
  expected = toy_sources.logits(made, batch)
  found = session.run(batch)
  assert np.std(expected, axis=0).min() > 1e-4  # images matter
  np.testing.assert_allclose(found.logits, expected, atol=1e-4)
  np.testing.assert_allclose(
    found.probabilities, jax.nn.softmax(expected), atol=1e-4
  )
  assert (session.batch, session.metadata) == (2, toy_sources.DESCRIPTION)
  # Nothing that phones run slowly, and nothing that needs more than LiteRT.
  assert not reading.operators(content).keys() & {
    "TRANSPOSE",
    "CUSTOM",
    "BROADCAST_TO",
    "GATHER_ND",
    "BATCH_MATMUL",
  }


@pytest.mark.parametrize(
  ("name", "counts"),
  [
    ("mobilenet_v1", {"CONV_2D": 14, "DEPTHWISE_CONV_2D": 13}),
    ("mobilenet_v2", {"CONV_2D": 35, "DEPTHWISE_CONV_2D": 17}),
    ("mobilenet_v3_small", {"DEPTHWISE_CONV_2D": 11, "HARD_SWISH": 19}),
    ("mobilenet_v4_conv_small", {"CONV_2D": 30, "DEPTHWISE_CONV_2D": 15}),
  ],
)
def test_layers_are_single_operations(name, counts):
  """Bias and activation are part of the convolutions, which have no groups."""
  made = toy_sources.make(name, size=64)
  found = reading.operators(export(made))
  assert {key: found[key] for key in counts} == counts
  assert found.keys() <= {
    "ADD",
    "CAST",
    "CONV_2D",
    "DEPTHWISE_CONV_2D",
    "FULLY_CONNECTED",
    "HARD_SWISH",
    "MEAN",
    "MUL",
    "SOFTMAX",
    "SUB",
  }


@pytest.mark.parametrize(
  "fields",
  [
    {"name": "mobilenet_v1", "options": registry.Options(conv_bias=True)},
    {"name": "mobilenet_v1", "head": "gap_128_64"},
    {"name": "mobilenet_v3_small", "width": 0.35, "multi_label": True},
    {"name": "resnet18", "head": "flatten_4096_1024", "width": 0.05},
  ],
)
def test_variants(fields):
  made = toy_sources.make(**fields)
  batch = toy_sources.images(made, 2)
  found = litert_file.open_bytes(export(made)).run(batch)
  expected = toy_sources.logits(made, batch)
  assert np.std(expected, axis=0).min() > 1e-4  # images matter
  np.testing.assert_allclose(found.logits, expected, atol=1e-4)
  if made.trained.multi_label:
    expected = 1 / (1 + np.exp(-expected))
    np.testing.assert_allclose(found.probabilities, expected, atol=1e-4)


def test_normalised_input_is_what_the_network_takes():
  made = toy_sources.make("mobilenet_v1")
  batch = toy_sources.images(made, 2)
  session = litert_file.open_bytes(export(made, input="normalised"))
  found = session.run(np.asarray(made.normalise(batch)))
  expected = toy_sources.logits(made, batch)
  np.testing.assert_allclose(found.logits, expected, atol=1e-4)
  with pytest.raises(InputError, match=r"got uint8.* valid: float32\[2, 32"):
    session.run(batch)


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 32, 32), (2, 32, 31)])
def test_images_of_other_shapes_are_refused(shape):
  """The runtime itself would take another batch."""
  made = toy_sources.make("simple_cnn")
  session = litert_file.open_bytes(export(made))
  with pytest.raises(InputError, match=r"images: .* uint8\[2, 32, 32, 3\]"):
    session.run(np.zeros((*shape, 3), np.uint8))


def test_a_file_of_no_size_is_refused():
  made = toy_sources.make("simple_cnn")
  with pytest.raises(InputError, match="size: got none; valid: height"):
    export(made, size=None)


def test_another_converter_is_refused(monkeypatch):
  made = toy_sources.make("simple_cnn")
  monkeypatch.setattr(importlib.metadata, "version", lambda name: "0.6.0")
  with pytest.raises(InputError, match=r"got version 0.6.0; valid: 0.5.0"):
    export(made)


def test_the_converter_that_is_known_is_the_one_installed():
  root = pathlib.Path(__file__).parents[3]
  project = tomllib.loads((root / "pyproject.toml").read_text())
  required = project["project"]["optional-dependencies"]["export"]
  (version,) = (
    found[1]
    for line in required
    if (found := re.fullmatch("litert-converter==(.*)", line))
  )
  assert version == convert.VERSION


def test_a_missing_package_is_one_line(monkeypatch):
  made = toy_sources.make("simple_cnn")
  content = export(made)
  find = importlib.util.find_spec
  monkeypatch.setattr(
    importlib.util,
    "find_spec",
    lambda name: None if name == "ai_edge_litert" else find(name),
  )
  for call in (lambda: export(made), lambda: litert_file.open_bytes(content)):
    with pytest.raises(InputError, match=r"litert; valid: after pip install"):
      call()


def test_what_is_no_file_of_it_is_refused():
  content = export(toy_sources.make("simple_cnn", width=0.05))
  assert litert_file.open_bytes(content).batch == 2
  # Cut anywhere; of the last bytes the runtime misses none.
  for cut in (0, 3, 7, 8, 20, 100, 1000, len(content) // 2, len(content) - 64):
    with pytest.raises(InputError, match="LiteRT file: got"):
      litert_file.open_bytes(content[:cut])
  foreign = b"\x08\x07\x12\x07pytorch" + content[11:]
  for other in (b"PK\x03\x04" + content[4:8][::-1] + content[8:], foreign):
    with pytest.raises(InputError, match="without the identifier TFL3"):
      litert_file.open_bytes(other)


def test_a_damaged_file_is_refused():
  """Every byte counts; the runtime misses most that are changed."""
  content = export(toy_sources.make("simple_cnn", width=0.05))
  random = np.random.default_rng(0)
  for place in random.integers(8, len(content), 100):
    damaged = bytearray(content)
    damaged[place] ^= 1 << random.integers(8)
    with pytest.raises(InputError, match="LiteRT file: got"):
      litert_file.open_bytes(bytes(damaged))


def test_a_file_of_others_is_refused():
  made = toy_sources.make("simple_cnn", width=0.05)
  foreign = convert.convert(
    lambda x: (made.logits(x),),
    jax.ShapeDtypeStruct((1, 32, 32, 3), np.float32),
    ["logits"],
  )
  with pytest.raises(InputError, match="without a description of this pack"):
    litert_file.open_bytes(foreign)


def test_the_same_network_gives_the_same_file():
  made = toy_sources.make("simple_cnn", width=0.05)
  assert export(made) == export(made)


_BATCHES = ("mobilenet_v1", "mobilenet_v3_small", "resnet18", "simple_cnn")


@pytest.mark.parametrize(
  "name",
  [
    pytest.param(name, marks=() if name in _BATCHES else pytest.mark.extended)
    for name in registry.MODELS
  ],
)
def test_a_file_of_any_batch(name):
  made = toy_sources.make(name)
  session = litert_file.open_bytes(export(made, batch=None))
  assert session.batch is None
  batch = toy_sources.images(made, 5)
  expected = toy_sources.logits(made, batch)
  for count in (1, 5, 2, 1):
    found = session.run(batch[:count])
    assert found.probabilities.shape == (count, 3)
    np.testing.assert_allclose(found.logits, expected[:count], atol=1e-4)
  with pytest.raises(InputError, match=r"valid: uint8\[batch, "):
    session.run(batch[:0])
