"""Keras's files into networks: what is taken over, and what is refused."""

import itertools

import flax.traverse_util
import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.weights import pretrained
from tests.weights import toy_h5

CLASSES = 5


def small(name="mobilenet_v1", *, classes=CLASSES, head="own", width=0.25):
  shallow = name == "mobilenet_v1"
  return registry.describe(
    name,
    num_classes=classes,
    width=width,
    head=head,
    options=registry.Options(shallow=shallow),
  )


def flat(tree):
  return flax.traverse_util.flatten_dict(tree, sep="/")


def initial(network, resolution=32):
  return variables.initial_values(registry.build(network), resolution, seed=9)


def insert(path, network, resolution=32):
  """(values before, values after) by 'params/...' and 'batch_stats/...'."""
  before = initial(network, resolution)
  loaded = pretrained.load(path, network)
  return flat(before), flat(pretrained.insert(loaded, before))


def refused(path, network):
  """The one line that `load` ends in."""
  with pytest.raises(InputError) as caught:
    pretrained.load(path, network)
  message = str(caught.value)
  assert "\n" not in message
  assert message.startswith("model.weights: got ")
  assert "; valid: " in message
  return message


@pytest.fixture(scope="module")
def network():
  return small()


@pytest.fixture(scope="module")
def values(network):
  return toy_h5.tensors(network)


@pytest.fixture(scope="module")
def layers(network, values):
  return toy_h5.keras_layers(network, values)


@pytest.fixture(scope="module")
def path(tmp_path_factory, layers):
  """A file of `values`."""
  folder = tmp_path_factory.mktemp("weights")
  return toy_h5.write_layers(folder / "five.h5", layers)


@pytest.mark.parametrize(
  "name",
  [
    "mobilenet_v1",
    "mobilenet_v3_small",
    "inception_v3",
    "resnet50",
    "vgg16",
    "xception",
  ],
)
def test_every_tensor_finds_its_place(name, tmp_path):
  network = small(name, width=0.125)
  values = toy_h5.tensors(network)
  path = toy_h5.write(tmp_path / "a.h5", network, values)
  loaded = pretrained.load(path, network)
  if name in ("resnet50", "vgg16"):  # blue first
    (stem,) = (k for k, v in values.items() if v.shape[2:3] == (3,))
    values[stem] = values[stem][:, :, ::-1]
    np.testing.assert_allclose(
      255 * np.array(loaded.network.conventions.mean),
      (123.68, 116.779, 103.939),
    )
    np.testing.assert_allclose(loaded.network.conventions.std, 1 / 255)
  else:
    assert loaded.network.conventions.mean == (0.5, 0.5, 0.5)
  assert loaded.tensors.keys() == values.keys()
  for key, value in values.items():
    np.testing.assert_array_equal(loaded.tensors[key], value, err_msg=key)
  assert loaded.origin.num_classes == CLASSES


def test_names_of_layers_do_not_matter(network, values, layers, tmp_path):
  """And a classifier may be a 1x1 convolution."""
  name, head = layers[-1]
  head = {**head, "kernel": head["kernel"][None, None]}
  renamed = [
    (f"z{99 - i}/x", w) for i, (_, w) in enumerate([*layers[:-1], (name, head)])
  ]
  path = toy_h5.write_layers(tmp_path / "a.h5", renamed, root="model_weights")
  loaded = pretrained.load(path, network)
  for key, value in values.items():
    np.testing.assert_array_equal(loaded.tensors[key], value)
  origin = loaded.origin
  assert (origin.file, origin.source) == ("a.h5", "keras")
  assert (len(origin.sha256), origin.num_classes) == (64, CLASSES)


def test_a_separable_convolution_may_be_one_layer(tmp_path):
  network = small("xception", width=0.125)
  values = toy_h5.tensors(network)
  layers, waiting = [], {}
  for name, weights in toy_h5.keras_layers(network, values):
    if "depthwise_kernel" in weights:
      waiting = weights
    elif waiting:
      both = {**waiting, "pointwise_kernel": weights["kernel"]}
      layers.append((name, both))
      waiting = {}
    else:
      layers.append((name, weights))
  path = toy_h5.write_layers(tmp_path / "a.h5", layers)
  loaded = pretrained.load(path, network)
  for key, value in values.items():
    np.testing.assert_array_equal(loaded.tensors[key], value)


def _changed(before, after):
  """Paths below 'params' and 'batch_stats' whose values differ."""
  assert before.keys() == after.keys()
  return {
    key.partition("/")[2]
    for key in before
    if not np.array_equal(before[key], after[key])
  }


def test_same_classes_keep_the_head(path, network, values):
  before, after = insert(path, network)
  assert _changed(before, after) >= values.keys()
  for key, value in values.items():
    kind = "batch_stats" if key.endswith(("/mean", "/var")) else "params"
    np.testing.assert_array_equal(after[f"{kind}/{key}"], value)


@pytest.mark.parametrize(
  ("classes", "head"),
  [(3, "own"), (3, "plain"), (CLASSES, "plain"), (CLASSES, "gap_128_64")],
)
def test_other_classes_or_heads_get_a_fresh_head(classes, head, path, values):
  before, after = insert(path, small(classes=classes, head=head))
  changed = _changed(before, after)
  assert changed >= {key for key in values if key.startswith("backbone/")}
  assert all(key.startswith("backbone/") for key in changed)


def test_other_classes_keep_the_hidden_layers_of_the_own_head(tmp_path):
  network = small("mobilenet_v3_small")
  path = toy_h5.write(tmp_path / "a.h5", network, toy_h5.tensors(network))
  changed = _changed(*insert(path, small("mobilenet_v3_small", classes=3)))
  assert {key for key in changed if key.startswith("head/")} == {
    "head/dense0/kernel",
    "head/dense0/bias",
  }


def test_a_file_without_top_gives_the_backbone(network, values, tmp_path):
  path = toy_h5.write(tmp_path / "a.h5", network, values, skip_head=True)
  loaded = pretrained.load(path, network)
  assert loaded.origin.num_classes == 0
  assert loaded.tensors.keys() == {
    key for key in values if key.startswith("backbone/")
  }
  changed = _changed(*insert(path, network))
  assert all(key.startswith("backbone/") for key in changed)


@pytest.mark.parametrize("name", ["mobilenet_v1", "mobilenet_v3_small"])
def test_another_head_leaves_the_backbone(name, tmp_path):
  network = small(name)
  values = toy_h5.tensors(network)
  layers = toy_h5.keras_layers(network, values, skip_head=True)
  channels = values["head/logits/kernel"].shape[0]
  backbone = {key for key in values if key.startswith("backbone/")}
  ones = np.ones
  dense = ("dense", {"kernel": ones((channels, 7)), "bias": ones(7)})
  norm = ("norm", dict.fromkeys(toy_h5.NORM.values(), ones(7)))
  last = ("last", {"kernel": ones((7, CLASSES)), "bias": ones(CLASSES)})
  flat_map = ("dense", {"kernel": ones((channels * 4, 2)), "bias": ones(2)})
  for head in ([dense, last], [dense, norm, last], [flat_map]):
    path = toy_h5.write_layers(tmp_path / "a.h5", [*layers, *head])
    loaded = pretrained.load(path, network)
    assert loaded.tensors.keys() == backbone
    assert loaded.origin.num_classes == 0
    assert loaded.origin.head_problem
    changed = _changed(*insert(path, network))
    assert all(key.startswith("backbone/") for key in changed)
  # A longer backbone is no head, however well its start fits.
  depthwise = ("dw", {"depthwise_kernel": ones((3, 3, 8, 1))})
  longer = [*layers, depthwise, dense, last]
  refused(toy_h5.write_layers(tmp_path / "a.h5", longer), network)


def test_one_logit_is_the_second_of_two(tmp_path):
  network = small(classes=1)
  values = toy_h5.tensors(network)
  path = toy_h5.write(tmp_path / "a.h5", network, values)
  loaded = pretrained.load(path, small(classes=2))
  assert (loaded.origin.num_classes, loaded.origin.one_logit) == (2, True)
  for name in ("head/logits/kernel", "head/logits/bias"):
    first, second = np.moveaxis(loaded.tensors[name], -1, 0)
    assert not first.any()
    np.testing.assert_array_equal(second, values[name][..., 0])


def test_running_averages_need_no_more_debiasing(path):
  before, after = insert(path, small(head="gap_128_64"))
  weights = {key for key in before if key.endswith("/weight")}
  assert {before[key].item() for key in weights} == {0}
  # Those of the fresh head have not begun.
  for key in weights:
    assert after[key] == ("/backbone/" in key), key
    assert after[key].dtype == np.float32
  assert any("/head/" in key for key in weights)


def test_a_flattened_head_is_for_one_resolution(tmp_path):
  network = small("vgg16", width=1 / 64)
  path = toy_h5.write(tmp_path / "a.h5", network, toy_h5.tensors(network))
  loaded = pretrained.load(path, network)
  values = initial(network, 224)
  after = pretrained.insert(loaded, values)
  assert jax.tree.map(np.shape, after) == jax.tree.map(np.shape, values)
  assert after["batch_stats"] == {}
  with pytest.raises(InputError) as caught:
    pretrained.insert(loaded, initial(network, 64))
  message = str(caught.value)
  assert "\n" not in message
  assert "head/dense0/kernel: (392, 64), (32, 64) here" in message
  assert message.endswith("valid: model.resolution=224, or another head")
  plain = small("vgg16", width=1 / 64, head="plain")
  assert all(
    key.startswith("backbone/") for key in _changed(*insert(path, plain, 64))
  )


def test_a_bias_before_a_norm_goes_into_its_mean(tmp_path):
  biased = registry.describe(
    "mobilenet_v1",
    num_classes=CLASSES,
    width=0.25,
    options=registry.Options(shallow=True, conv_bias=True),
  )
  values = toy_h5.tensors(biased)
  path = toy_h5.write(tmp_path / "a.h5", biased, values)
  loaded = pretrained.load(path, small())
  biases = {key for key in values if key.endswith("/conv/bias")}
  assert loaded.tensors.keys() == values.keys() - biases
  for key in biases:
    mean = key.removesuffix("conv/bias") + "norm/mean"
    np.testing.assert_array_equal(
      loaded.tensors[mean], values[mean] - values[key]
    )
    values[mean] = loaded.tensors[mean]
  for key, value in loaded.tensors.items():
    np.testing.assert_array_equal(value, values[key])
  # A network with biases takes them as they are.
  biases_kept = pretrained.load(path, biased).tensors
  assert biases <= biases_kept.keys()


def test_another_width_is_refused_with_what_differs(path, values):
  other = small(width=0.5)
  wanted = toy_h5.tensors(other)
  differ = {k for k in values if values[k].shape != wanted[k].shape}
  message = refused(path, other)
  assert path in message
  assert f"does not fit mobilenet_v1 at width 0.5, {len(differ)} times: " in (
    message
  )
  named = {k for k in differ if f"{k} here {wanted[k].shape}" in message}
  assert len(named) == 12
  assert f"; and {len(differ) - 12} more; valid: " in message
  assert f"layer_0/kernel is {values['backbone/stem/conv/kernel'].shape}" in (
    message
  )


def test_another_model_is_refused(path, values):
  message = refused(path, small("mobilenet_v2"))
  assert "does not fit mobilenet_v2 at width 0.25, " in message
  count = len({key.rpartition("/")[0] for key in values})
  assert f"it has {count} layers with weights instead of 105; " in message


def _without(layers, index, key):
  name, weights = layers[index]
  rest = {k: v for k, v in weights.items() if k != key}
  return [*layers[:index], (name, rest), *layers[index + 1 :]]


def _with(layers, index, **arrays):
  name, weights = layers[index]
  return [
    *layers[:index],
    (name, {**weights, **arrays}),
    *layers[index + 1 :],
  ]


def test_missing_and_superfluous_tensors_are_named(network, layers, tmp_path):
  # Layer 0 is a convolution, 1 its BatchNorm.
  wrong = _without(layers, 1, "gamma")
  wrong = _with(wrong, 3, moving_sum=np.ones(8, np.float32))
  wrong = _with(wrong, 4, bias=np.ones(1, np.float32))
  message = refused(toy_h5.write_layers(tmp_path / "a.h5", wrong), network)
  assert " 3 times: " in message
  assert "layer_1 has no gamma for backbone/stem/norm/scale; " in message
  assert "layer_3/moving_sum is one too many for backbone/block0/" in message
  assert "layer_4/bias is (1,), backbone/block0/pointwise/conv has" in message


def test_missing_and_superfluous_layers_are_counted(network, layers, tmp_path):
  extra = ("extra", {"kernel": np.ones((3, 3, 3, 3), np.float32)})
  backbone = len(layers) - 1
  for wrong, units in (
    ([*layers, extra], backbone),
    (layers[1:], len(layers)),
    ([], backbone),
  ):
    message = refused(toy_h5.write_layers(tmp_path / "a.h5", wrong), network)
    expected = f"it has {len(wrong)} layers with weights instead of {units}"
    assert expected in message


def test_odd_shapes_are_only_reported(network, layers, tmp_path):
  for shape in ((), (4,), (2, 3), (1, 1, 2), (1,) * 5):
    odd = np.ones(shape, np.float32)
    keys = itertools.cycle(["pointwise_kernel", "depthwise_kernel", "kernel"])
    wrong = [
      (name, {key: odd, "bias": odd})
      for (name, _), key in zip(layers[:-1], keys, strict=False)
    ]
    # As if it were a classifier's.
    wrong.append(("last", {"kernel": odd, "bias": odd}))
    refused(toy_h5.write_layers(tmp_path / "a.h5", wrong), network)


def test_values_that_make_no_sense_are_named(network, layers, tmp_path):
  path = tmp_path / "a.h5"
  for i, key, value, expected in (
    (4, "kernel", np.nan, "backbone/block0/pointwise/conv/kernel has values"),
    (4, "kernel", -np.inf, "backbone/block0/pointwise/conv/kernel has values"),
    (1, "moving_variance", -0.1, "backbone/stem/norm/var has negative values"),
  ):
    broken = layers[i][1][key].copy()
    broken.flat[2] = value
    wrong = _with(layers, i, **{key: broken})
    message = refused(toy_h5.write_layers(path, wrong), network)
    assert f" 1 times: {expected}" in message


def test_networks_that_keras_lacks_take_no_keras_file(path):
  for name in ("simple_cnn", "mobilenet_v4_conv_small", "resnet18"):
    message = refused(path, small(name))
    assert f"got a Keras file for {name!r}; valid: " in message
    assert "xception" in message
