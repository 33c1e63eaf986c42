"""A trained network as files, and back: the same tensors and logits."""

import copy
import dataclasses
import functools
import json

import jax
import numpy as np
import pytest
import safetensors.numpy

from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.weights import exported, pretrained
from tests.weights import golden, toy_h5

CLASSES = ("benign", "malignant", "unclear")
TIMM = ["mobilenet_v3_small", "resnet18"]
MORE = [
  "mobilenet_v1",
  "mobilenet_v2",
  "mobilenet_v3_large",
  "mobilenet_v4_conv_small",
  "mobilenet_v4_conv_medium",
  "resnet50",
]


def describe(network, **changes):
  described = exported.Description(
    network=network,
    classes=CLASSES,
    image_size=64,
    resolution=96,
    other_sizes="crop",
    bits=12,
    multi_label=False,
    dtype="float32",
  )
  return dataclasses.replace(described, **changes)


def network_of(name, **changes):
  network = registry.describe(name, num_classes=3)
  return dataclasses.replace(network, **changes)


def values_of(network):
  """Variables with values of their own everywhere."""
  initial = variables.initial_values(
    registry.build(network), network.conventions.resolution, seed=0
  )
  return exported.insert(toy_h5.tensors(network), initial)


def check_equal(first, second):
  assert jax.tree.structure(first) == jax.tree.structure(second)
  jax.tree.map(np.testing.assert_array_equal, first, second)


@pytest.mark.parametrize(
  "name", [*TIMM, *(pytest.param(n, marks=pytest.mark.extended) for n in MORE)]
)
def test_the_names_and_shapes_are_those_of_timm(name, tmp_path):
  network = network_of(name, num_classes=1000)
  values = values_of(network)
  described = describe(network, classes=tuple(map(str, range(1000))))
  theirs = exported.write(tmp_path, described, values)
  content = safetensors.numpy.load_file(tmp_path / "model.safetensors")
  (file,) = (
    content
    for path in golden.FILES
    for ours, content in [golden.read(path)]
    if ours == name and path.stem.startswith("timm_")
  )
  assert theirs.replace("_", "") == file["network"].replace("_", "")
  assert {k: list(v.shape) for k, v in content.items()} == {
    key: shape
    for key, shape in file["tensors"].items()
    if not key.endswith("num_batches_tracked")
  }
  # Our own importer, and the reader of exports.
  loaded = pretrained.load(str(tmp_path), network)
  assert loaded.origin.num_classes == 1000
  assert loaded.class_names == described.classes
  flat = toy_h5.tensors(network)
  assert loaded.tensors.keys() == flat.keys()
  for key, value in flat.items():
    np.testing.assert_array_equal(loaded.tensors[key], value, err_msg=key)
  mine, theirs = network.conventions, loaded.network.conventions
  for field in ("mean", "std", "padding", "epsilon", "norm_scale"):
    assert getattr(mine, field) == getattr(theirs, field), field
  read, again = exported.read(tmp_path / "model.safetensors")
  assert read == described
  check_equal(again, values)


def test_config_is_as_timm_reads_it(tmp_path):
  network = network_of("mobilenet_v2")
  exported.write(tmp_path, describe(network), values_of(network))
  config = json.loads((tmp_path / "config.json").read_text())
  assert config["architecture"] == "mobilenetv2_100"
  assert config["num_classes"] == 3
  assert config["label_names"] == list(CLASSES)
  # Keras's padding and epsilon, with which it was trained from scratch.
  assert config["model_args"] == {"bn_eps": 1e-3, "pad_type": "same"}
  assert config["pretrained_cfg"] == {
    "input_size": [3, 96, 96],
    "fixed_input_size": False,
    "interpolation": "bilinear",
    "crop_pct": 1.0,
    "crop_mode": "center",
    "mean": [0.5, 0.5, 0.5],
    "std": [0.5, 0.5, 0.5],
    "num_classes": 3,
  }


def slow(*case):
  return pytest.param(*case, marks=pytest.mark.extended)


OWN = [
  slow("mobilenet_v2", {"width": 0.25}),
  slow("mobilenet_v2", {"head": "gap_128_64"}),
  ("mobilenet_v1", {"width": 0.25, "options": registry.Options(shallow=True)}),
  ("simple_cnn", {"width": 0.25, "head": "gap_128_64"}),
  slow("xception", {"width": 0.125}),
  slow("inception_v3", {"width": 0.125}),
]


@pytest.mark.parametrize(("name", "changes"), OWN)
def test_what_timm_lacks_has_names_of_this_package(name, changes, tmp_path):
  network = network_of(name, **changes)
  values = values_of(network)
  assert exported.timm_name(network) is None
  assert exported.write(tmp_path, describe(network), values) is None
  config = json.loads((tmp_path / "config.json").read_text())
  assert "architecture" not in config
  read, again = exported.read(tmp_path / "model.safetensors")
  assert read == describe(network)
  check_equal(again, values)
  # Training from it keeps the backbone, and the head where it is the same.
  wanted = dataclasses.replace(network, head="own")
  loaded = pretrained.load(str(tmp_path), wanted)
  assert loaded.origin.source == "mn_jax"
  flat = toy_h5.tensors(network)
  own = network.head == "own"
  assert (loaded.origin.num_classes == 3) == own
  assert (loaded.origin.head_problem == "") == own
  for key, value in loaded.tensors.items():
    np.testing.assert_array_equal(value, flat[key], err_msg=key)


def test_keras_conventions_have_no_place_in_timm():
  keras = network_of("mobilenet_v1")
  end = dataclasses.replace(keras.conventions, padding="end")
  assert exported.timm_name(keras) == "mobilenetv1_100"
  assert exported.timm_name(network_of("mobilenet_v1", conventions=end)) is None
  resnet = network_of("resnet50")
  assert exported.timm_name(resnet) == "resnet50"
  same = dataclasses.replace(resnet.conventions, padding="same")
  assert exported.timm_name(network_of("resnet50", conventions=same)) is None


def test_another_network_and_damage_are_refused(tmp_path):
  network = network_of("simple_cnn", width=0.25)
  exported.write(tmp_path, describe(network), values_of(network))
  file, config = tmp_path / "model.safetensors", tmp_path / "config.json"
  other = network_of("simple_cnn", width=0.5)
  with pytest.raises(
    InputError, match=r"which is of simple_cnn at width 0\.25"
  ):
    pretrained.load(str(tmp_path), other)
  fields = json.loads(config.read_text())
  for change in (
    {"format": 2},
    {"classes": []},
    {"classes": 3},
    {"image_size": -1},
    {"image_size": "64"},
    {"other_sizes": "__import__"},
    {"dtype": "int8"},
    {"network": {}},
    {"unknown": 1},
  ):
    damaged = {**fields, "mn_jax": {**fields["mn_jax"], **change}}
    config.write_text(json.dumps(damaged))
    with pytest.raises(InputError, match="cannot be understood") as caught:
      exported.read(file)
    assert "\n" not in str(caught.value), change
  config.unlink()
  assert exported.read(file) is None
  with pytest.raises(InputError, match=r"has no config\.json beside it"):
    pretrained.load(str(tmp_path), network)


@pytest.mark.parametrize(
  ("path", "values"),
  [
    ("network.name", ("vgg", None, ["vgg16"], "v" * 9999)),
    ("network.num_classes", (True, 0, 3.0, "3")),
    ("network.width", (None, 0, -1, 1e308, float("nan"), "x", [1], True)),
    ("network.head", (None, "x", ["own"])),
    ("network.options", (None, [], {"unknown": 1}, {"shallow": True})),
    ("network.options.block_dropout", ("0", 2, None)),
    ("network.conventions", (None, [], {})),
    ("network.conventions.mean", (0.5, [0.5] * 2, ["a"] * 3, [10**400] * 3)),
    ("network.conventions.std", ([0.5, 0, 0.5], [[1]] * 3, "abc")),
    ("network.conventions.padding", ("x", 0, [])),
    ("network.conventions.epsilon", (0, "1e-3", float("inf"))),
    ("network.conventions.resolution", (0, 5000, True)),
    ("network.conventions.crop", (0, 2, None)),
    ("network.conventions.interpolation", ("nearest", 1)),
    ("classes", ("abc", [1, 2, 3], ["a", "b"], {"a": 1})),
    ("resolution", (None, "", -1, 5000, 96.0)),
    ("bits", (7, 17, 12.0, True)),
    ("multi_label", (1, None, "no")),
    ("crop_share", (True, 0, "1", float("nan"))),
  ],
)
def test_hostile_values_are_refused(path, values, tmp_path):
  """A config.json from a hub is anyone's."""
  network = network_of("simple_cnn", width=0.25)
  fields = dataclasses.asdict(describe(network)) | {"format": 1}
  *above, last = path.split(".")
  for value in values:
    damaged = copy.deepcopy(fields)
    functools.reduce(dict.__getitem__, above, damaged)[last] = value
    (tmp_path / "config.json").write_text(json.dumps({"mn_jax": damaged}))
    with pytest.raises(InputError) as caught:
      exported.describe(tmp_path / "model.safetensors")
    assert "cannot be understood" in str(caught.value), value
    assert len(str(caught.value)) < 500, value
