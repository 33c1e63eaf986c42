"""Files of timm and torchvision: names, values, and timm's config.json.

`test_torch.py` compares logits.
"""

import itertools
import json
import math
import pathlib

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.weights import pretrained, sources, torch_layout, torch_tensors
from mn_jax.weights.listing import published_layers
from tests.weights import golden, toy_h5

CLASSES = 5
SUFFIXES = {"kernel": "weight", "bias": "bias"}
NORM_SUFFIXES = {
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
# As timm writes it; the figures are of no release.
CONFIG = {
  "architecture": "mobilenetv3_small_100",
  "num_classes": CLASSES,
  "pretrained_cfg": {
    "tag": "toy",
    "input_size": [3, 160, 160],
    "interpolation": "bilinear",
    "crop_pct": 0.95,
    "crop_mode": "center",
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "num_classes": CLASSES,
  },
}


def describe(name, width=0.25):
  return registry.describe(name, num_classes=CLASSES, width=width)


def names(network, layout):
  """{theirs: (unit, key of its tensor)}, and how many there should be."""
  listed = published_layers(network)
  paths = [unit.path for unit in listed]
  pairs = [
    (unit, key, NORM_SUFFIXES if unit.kind == "norm" else SUFFIXES)
    for unit in listed
    for key in unit.shapes
  ]
  theirs = {
    f"{layout.name(unit.path, paths)}.{suffixes[key]}": (unit, key)
    for unit, key, suffixes in pairs
  }
  return theirs, len(pairs)


def to_torch(network, values, layout):
  """A state dictionary with these values."""
  made = {}
  layers = published_layers(network)
  channels = {b.path: a.output[-1] for a, b in itertools.pairwise(layers)}
  for theirs, (unit, key) in names(network, layout)[0].items():
    value = values[f"{unit.path}/{key}"]
    size = math.isqrt(len(value) // channels.get(unit.path, 1))
    if key == "kernel" and unit.kind == "dense" and size > 1:
      value = value.reshape(size, size, -1, value.shape[-1])
      value = value.transpose(3, 2, 0, 1)
      if layout.source == "torchvision":
        value = value.reshape(len(value), -1)
    elif key == "kernel":
      value = value.T if value.ndim == 2 else value.transpose(3, 2, 0, 1)
    if key == "mean":
      counter = theirs.replace("running_mean", "num_batches_tracked")
      made[counter] = np.array(3, np.int64)
    made[theirs] = np.ascontiguousarray(value)
  return made


def write(folder, tensors, config=None):
  path = folder / "model.safetensors"
  safetensors.numpy.save_file(tensors, path)
  if config is not None:
    text = config if isinstance(config, str) else json.dumps(config)
    (folder / "config.json").write_text(text)
  return str(path)


def refused(path, network):
  """The one line that `load` ends in."""
  with pytest.raises(InputError) as caught:
    pretrained.load(path, network)
  message = str(caught.value)
  assert "\n" not in message
  assert str(pathlib.Path(path).parent) in message
  assert "; valid: " in message
  return message


@pytest.fixture(scope="module")
def network():
  return describe("mobilenet_v3_small")


@pytest.fixture(scope="module")
def values(network):
  return toy_h5.tensors(network)


@pytest.fixture(scope="module")
def raw(network, values):
  """A state dictionary of timm."""
  return to_torch(network, values, torch_layout.LAYOUTS[network.name][0])


@pytest.mark.parametrize("name", torch_layout.LAYOUTS)
def test_names_are_unique_and_those_of_the_libraries(name):
  files = [
    content for ours, content in map(golden.read, golden.FILES) if ours == name
  ]
  assert files
  recognised = set()
  for content in files:
    shapes = {key: tuple(shape) for key, shape in content["tensors"].items()}
    empty = {key: np.zeros(0) for key in shapes}
    layout = torch_tensors.recognise(name, empty, "file").layout
    recognised.add(layout)
    network = sources.torch(
      registry.describe(name, num_classes=1000),
      layout.source,
      pathlib.Path("config.json"),
    )
    theirs, count = names(network, layout)
    assert len(theirs) == count
    assert theirs.keys() == {
      key
      for key in shapes
      if not key.endswith("num_batches_tracked") and "AuxLogits" not in key
    }
    for key, (unit, part) in theirs.items():
      assert np.prod(shapes[key]) == np.prod(unit.shapes[part]), key
    assert shapes[f"{layout.last}.weight"][0] == 1000
  assert recognised == set(torch_layout.LAYOUTS[name])


@pytest.mark.parametrize("name", ["mobilenet_v2", "vgg16"])
@pytest.mark.parametrize("source", [0, 1])
def test_every_tensor_finds_its_place(name, source, tmp_path):
  network = describe(name, width=1 / 64)
  values = toy_h5.tensors(network)
  layout = torch_layout.LAYOUTS[name][source]
  path = write(tmp_path, to_torch(network, values, layout))
  loaded = pretrained.load(path, network)
  assert loaded.origin.source == layout.source
  assert loaded.origin.num_classes == CLASSES
  assert loaded.tensors.keys() == values.keys()
  for key, value in values.items():
    np.testing.assert_array_equal(loaded.tensors[key], value, err_msg=key)


def test_a_file_without_classifier_gives_the_backbone(tmp_path):
  network = describe("mobilenet_v1")
  layout = torch_layout.LAYOUTS["mobilenet_v1"][0]
  raw = to_torch(network, toy_h5.tensors(network), layout)
  rest = {k: v for k, v in raw.items() if not k.startswith("classifier")}
  loaded = pretrained.load(write(tmp_path, rest), network)
  assert loaded.origin.num_classes == 0
  assert all(key.startswith("backbone/") for key in loaded.tensors)


def _linear(name, inputs, outputs):
  weight = np.ones((outputs, inputs), np.float32)
  return {f"{name}.weight": weight, f"{name}.bias": weight[:, 0].copy()}


@pytest.mark.parametrize("source", [0, 1])
@pytest.mark.parametrize(
  "name", ["mobilenet_v2", "mobilenet_v3_small", "mobilenet_v4_conv_small"]
)
def test_another_head_leaves_the_backbone(name, source, tmp_path):
  network = describe(name)
  layouts = torch_layout.LAYOUTS[name]
  if source >= len(layouts):
    return
  values = toy_h5.tensors(network)
  raw = to_torch(network, values, layouts[source])
  backbone = {key for key in values if key.startswith("backbone/")}
  (of_head,) = {
    key.partition(".")[0] for key in raw if key.startswith("classifier")
  }
  without = {k: v for k, v in raw.items() if not k.startswith(of_head)}
  # What `num_classes=0` leaves: in timm's V3 and V4 the layer before, too.
  loaded = pretrained.load(write(tmp_path, without), network)
  assert (loaded.origin.num_classes, loaded.origin.head_problem) == (0, "")
  hidden = {key for key in values if key.startswith("head/dense0/")}
  if hidden and layouts[source].source == "timm":
    assert loaded.tensors.keys() >= hidden | backbone
  else:
    assert loaded.tensors.keys() == backbone
  inputs = 16
  for head in (
    _linear("classifier.1", inputs, 7) | _linear("classifier.4", 7, 2),
    _linear("classifier.0", inputs, 7) | _linear("classifier.3", 7, 2),
    _linear("classifier", inputs, 2),
    _linear("new_head", inputs, 2),
  ):
    loaded = pretrained.load(write(tmp_path, without | head), network)
    assert loaded.tensors.keys() == backbone
    assert loaded.origin.num_classes == 0
    assert "one too many" in loaded.origin.head_problem or (
      "here" in loaded.origin.head_problem
    )
  # Stages of a longer backbone are no head.
  stage = next(iter(without)).partition(".")[0]
  longer = without | {f"{stage}.99.weight": np.ones(3, np.float32)}
  assert "one too many" in refused(write(tmp_path, longer), network)


def test_one_logit_is_the_second_of_two(tmp_path):
  network = registry.describe("mobilenet_v2", num_classes=1, width=0.25)
  values = toy_h5.tensors(network)
  for layout in torch_layout.LAYOUTS["mobilenet_v2"]:
    path = write(tmp_path, to_torch(network, values, layout))
    loaded = pretrained.load(path, network)
    assert (loaded.origin.num_classes, loaded.origin.one_logit) == (2, True)
    kernel = loaded.tensors["head/logits/kernel"]
    assert not kernel[:, 0].any()
    np.testing.assert_array_equal(kernel[:, 1:], values["head/logits/kernel"])


def test_bfloat16_is_read(network, values, raw, tmp_path):
  short = {k: v.astype(ml_dtypes.bfloat16) for k, v in raw.items()}
  loaded = pretrained.load(write(tmp_path, short), network)
  for key, value in values.items():
    assert loaded.tensors[key].dtype == np.float32
    np.testing.assert_allclose(loaded.tensors[key], value, rtol=2**-8)


def test_everything_that_does_not_fit_is_named(network, raw, tmp_path):
  wrong = dict(raw)
  del wrong["bn1.running_var"]
  wrong["classifier.bias"] = np.ones((0,), np.float32)
  wrong["conv_head.weight"] = np.ones((0, 3, 1, 1), np.float32)
  wrong["blocks.0.0.bn1.weight"] = np.ones(16, np.int8)
  wrong["blocks.0.0.bn1.bias"] = np.ones(16, np.complex64)
  wrong["blocks.0.0.bn1.running_mean"] = np.array(0.0, np.float32)
  wrong["extra"] = np.ones(3, np.float32)
  wrong["conv_stem.weight"] = wrong["conv_stem.weight"][:, :1]
  message = refused(write(tmp_path, wrong), network)
  for part in (
    "does not fit mobilenet_v3_small at width 0.25, 8 times: ",
    "bn1.running_var is missing",
    "conv_stem.weight is (16, 1, 3, 3), backbone/stem/conv/kernel here ",
    "classifier.bias is (0,), head/logits/bias here (5,)",
    "conv_head.weight is (0, 3, 1, 1), head/dense0/kernel here ",
    "blocks.0.0.bn1.weight has values of type int8",
    "blocks.0.0.bn1.bias has values of type complex64",
    "blocks.0.0.bn1.running_mean is ()",
    "extra is one too many",
  ):
    assert part in message


def test_another_network_is_refused(network, raw, tmp_path):
  path = write(tmp_path, raw)
  for name in ("mobilenet_v1", "resnet18"):
    refused(path, describe(name))
  for name in ("simple_cnn", "xception", "inception_resnet_v2"):
    message = refused(path, describe(name))
    assert "valid: a file with weights of Keras Applications (.h5)" in message
  path = write(tmp_path, {"x.weight": np.ones(3, np.float32)})
  message = refused(path, network)
  assert "conv_stem.weight (timm) or features.0.0.weight (torch" in message


def test_conventions_are_those_of_the_library(network, raw, tmp_path):
  found = pretrained.load(write(tmp_path, raw), network).network.conventions
  assert found == registry.Conventions(
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    padding="symmetric",
    epsilon=1e-5,
    resolution=224,
    crop=0.875,
    interpolation="bicubic",
  )


def test_config_of_timm_changes_conventions(network, raw, tmp_path):
  for prefix, padding, epsilon in (
    ("", "symmetric", 1e-5),
    ("tf_", "same", 1e-3),
  ):
    config = CONFIG | {"architecture": prefix + CONFIG["architecture"]}
    path = write(tmp_path, raw, config)
    found = pretrained.load(path, network).network.conventions
    assert found == registry.Conventions(
      mean=(0.1, 0.2, 0.3),
      std=(0.4, 0.5, 0.6),
      padding=padding,
      epsilon=epsilon,
      resolution=160,
      crop=0.95,
      interpolation="bilinear",
    )


def test_config_of_another_program_is_ignored(network, raw, tmp_path):
  for config in (
    {"architectures": ["ResNetForImageClassification"], "model_type": "resnet"},
    {"architecture": "mobilenetv3_small_100"},
    {"pretrained_cfg": CONFIG["pretrained_cfg"]},
    {"architecture": "mobilenetv3_small_100", "pretrained_cfg": 3},
    [CONFIG],
    "no JSON",
    "",
    "[" * 100_000,
  ):
    path = write(tmp_path, raw, config)
    found = pretrained.load(path, network).network.conventions
    assert found.resolution == 224


def test_config_of_another_network_is_refused(network, raw, tmp_path):
  config = CONFIG | {"architecture": "mobilenetv3_large_100"}
  message = refused(write(tmp_path, raw, config), network)
  assert "config.json', which is of 'mobilenetv3_large_100'; valid" in message


def test_config_that_makes_no_sense_is_refused(network, raw, tmp_path):
  for field, value in (
    ("mean", [0.5, 0.5]),
    ("mean", 0.5),
    ("mean", [0.5, 0.5, float("nan")]),
    ("std", [0.5, 0.5, 0]),
    ("std", ["a\n", 1, 1]),
    ("input_size", [3, 224]),
    ("input_size", [3, 224, 192]),
    ("input_size", [3, 0, 0]),
    ("input_size", [3, 1 << 20, 1 << 20]),
    ("input_size", None),
    ("crop_pct", 0),
    ("crop_pct", 1.5),
    ("crop_pct", "nan"),
  ):
    wrong = CONFIG["pretrained_cfg"] | {field: value}
    config = CONFIG | {"pretrained_cfg": wrong}
    message = refused(write(tmp_path, raw, config), network)
    assert "config.json', which cannot be understood (" in message, field
