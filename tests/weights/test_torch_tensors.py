"""Prefixes, copies and other heads in safetensors; timm's config.json."""

import ml_dtypes
import numpy as np
import pytest

from mn_jax.weights import pretrained, torch_layout
from tests.weights import toy_h5
from tests.weights.test_pretrained_torch import (
  CONFIG,
  describe,
  refused,
  to_torch,
  write,
)

NAMES = ("mobilenet_v2", "resnet18", "vgg16")


@pytest.fixture(scope="module")
def network():
  return describe("mobilenet_v3_small")


@pytest.fixture(scope="module")
def values(network):
  return toy_h5.tensors(network)


@pytest.fixture(scope="module")
def raw(network, values):
  return to_torch(network, values, torch_layout.LAYOUTS[network.name][0])


def prefixed(tensors, prefix):
  return {f"{prefix}{name}": value for name, value in tensors.items()}


def check(loaded, values):
  assert loaded.tensors.keys() == values.keys()
  for key, value in values.items():
    np.testing.assert_array_equal(loaded.tensors[key], value, err_msg=key)


@pytest.mark.parametrize(
  "prefix",
  ["model.", "module.", "state_dict_ema.", "ema.", "model.module.", "encoder."],
)
def test_a_prefix_of_all_names_is_taken_off(
  network, values, raw, prefix, tmp_path
):
  path = write(tmp_path, prefixed(raw, prefix))
  loaded = pretrained.load(path, network)
  check(loaded, values)
  assert loaded.origin.note == ""
  assert loaded.origin.head_problem == ""


@pytest.mark.parametrize("name", NAMES)
def test_names_within_blocks_are_no_prefix(name, tmp_path):
  network = describe(name, width=1 / 16)
  values = toy_h5.tensors(network)
  for layout in torch_layout.LAYOUTS[name]:
    raw = to_torch(network, values, layout)
    for prefix in ("", "net."):
      check(
        pretrained.load(write(tmp_path, prefixed(raw, prefix)), network), values
      )


def test_of_copies_the_moving_average_is_used(network, values, raw, tmp_path):
  other = {
    name: value + 1 if value.ndim == 4 else value for name, value in raw.items()
  }
  for plain, average in (
    ("model.", "model_ema."),
    ("", "ema."),
    ("state_dict.", "state_dict_ema."),
    ("module.", "ema.module."),
  ):
    path = write(tmp_path, prefixed(other, plain) | prefixed(raw, average))
    loaded = pretrained.load(path, network)
    check(loaded, values)
    assert loaded.origin.note == (
      f"of 2 copies of the network, {average!r} is used, the moving average"
    )


def test_several_networks_are_refused(network, raw, tmp_path):
  path = write(tmp_path, prefixed(raw, "student.") | prefixed(raw, "teacher."))
  message = refused(path, network)
  assert (
    "several networks, with names that start with 'student.', 'te" in message
  )


def test_what_is_beside_an_encoder_is_another_head(
  network, values, raw, tmp_path
):
  of_head = ("classifier.", "conv_head.")
  encoder = {k: v for k, v in raw.items() if not k.startswith(of_head)}
  projector = {"projector.0.weight": np.ones((8, 4), np.float32)}
  path = write(tmp_path, prefixed(encoder, "encoder.") | projector)
  loaded = pretrained.load(path, network)
  backbone = {k: v for k, v in values.items() if k.startswith("backbone/")}
  check(loaded, backbone)
  assert "projector.0.weight is one too many" in loaded.origin.head_problem


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_values_of_16_bits_are_converted_and_said(
  network, values, raw, dtype, tmp_path
):
  short = {k: v.astype(dtype) for k, v in raw.items()}
  loaded = pretrained.load(write(tmp_path, short), network)
  assert loaded.origin.note == "values of 16 bits are converted to float32"
  for key, value in loaded.tensors.items():
    assert value.dtype == np.float32
    np.testing.assert_array_equal(value, values[key].astype(dtype))


def test_class_names_are_those_of_the_file(network, raw, tmp_path):
  names = ["a", "b", "c, d", "e", "f"]
  by_number = {str(i): name for i, name in enumerate(names)}
  described = {"a": "tumour, of the colon", "b": "stroma"}
  for change, expected in (
    ({"label_names": names}, ("a", "b", "c", "e", "f")),
    ({"label_names": by_number}, ("a", "b", "c", "e", "f")),
    (
      {"label_names": names, "label_descriptions": described},
      ("tumour", "stroma", "c", "e", "f"),
    ),
    ({"label_names": names[:3]}, ()),
    ({"label_names": {"3": "a"}}, ()),
    ({"label_names": 5}, ()),
    ({}, ()),
  ):
    path = write(tmp_path, raw, CONFIG | change)
    assert pretrained.load(path, network).class_names == expected
  nested = CONFIG["pretrained_cfg"] | {"label_names": names}
  path = write(tmp_path, raw, CONFIG | {"pretrained_cfg": nested})
  assert pretrained.load(path, network).class_names[0] == "a"


def test_arguments_of_timm_change_padding_and_epsilon(network, raw, tmp_path):
  arguments = {"pad_type": "same", "bn_eps": 1e-3, "drop_rate": 0.2}
  path = write(tmp_path, raw, CONFIG | {"model_args": arguments})
  conventions = pretrained.load(path, network).network.conventions
  assert (conventions.padding, conventions.epsilon) == ("same", 1e-3)
  for wrong in (
    {"act_layer": "gelu"},
    {"in_chans": 1},
    {"global_pool": "max"},
    {"bn_eps": "x"},
    {"pad_type": "valid"},
    [1],
  ):
    path = write(tmp_path, raw, CONFIG | {"model_args": wrong})
    assert "config.json', which cannot be understood (" in refused(
      path, network
    ), wrong
