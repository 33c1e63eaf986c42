"""Tests of MobileNetV3: counts, tables, blocks, head."""

import dataclasses

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import counting, layers, mobilenet_v3, registry, variables
from mn_jax.models.classifier import Classifier

_NAMES = ("mobilenet_v3_large", "mobilenet_v3_small")
# Name, width, minimalistic; parameters with running means and variances, with
# and without the top; mult-adds at 224 pixels: Keras Applications. TF-slim's
# README has the same of Large in millions, 217, 155 and 209; its 66 for Small
# are not those of its code, 56.5.
_KERAS_COUNTS = [
  ("mobilenet_v3_large", 1.0, False, 5_507_432, 2_996_352, 216_589_760),
  ("mobilenet_v3_large", 0.75, False, 4_012_616, 1_808_736, 154_560_624),
  ("mobilenet_v3_large", 1.0, True, 3_948_688, 1_437_608, 209_136_704),
  ("mobilenet_v3_small", 1.0, False, 2_554_968, 939_120, 56_510_400),
  ("mobilenet_v3_small", 0.75, False, 2_051_552, 583_160, 43_399_344),
  ("mobilenet_v3_small", 1.0, True, 2_056_848, 441_000, 52_288_448),
]
# Bottlenecks of tables 1 and 2: height and width of the kernels, strides.
_KERNELS = {
  "mobilenet_v3_large": (3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5),
  "mobilenet_v3_small": (3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5),
}
_STRIDES = {
  "mobilenet_v3_large": (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1),
  "mobilenet_v3_small": (2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1),
}
# Which of them have squeeze and excitation, hard swish, a shortcut.
_EXCITED = {
  "mobilenet_v3_large": {3, 4, 5, 10, 11, 12, 13, 14},
  "mobilenet_v3_small": {0, 3, 4, 5, 6, 7, 8, 9, 10},
}
_SWISH = {
  "mobilenet_v3_large": set(range(6, 15)),
  "mobilenet_v3_small": set(range(3, 11)),
}
_RESIDUAL = {
  "mobilenet_v3_large": {0, 2, 4, 5, 7, 8, 9, 11, 13, 14},
  "mobilenet_v3_small": {2, 4, 5, 7, 9, 10},
}

_each = pytest.mark.parametrize("name", _NAMES)
_both = pytest.mark.parametrize("minimalistic", [False, True])


def _build(
  name: str,
  *,
  width: float = 1.0,
  minimalistic: bool = False,
  classes: int = 3,
  padding: str = "same",
) -> Classifier:
  conventions = registry.get(name).conventions
  return registry.build(
    registry.describe(
      name,
      num_classes=classes,
      width=width,
      options=registry.Options(minimalistic=minimalistic),
      conventions=dataclasses.replace(conventions, padding=padding),
    )
  )


def _maps(module: Classifier, size: int) -> dict:
  """Shapes of the named feature maps of one image."""
  x = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
  (_, maps), _ = jax.eval_shape(
    lambda x: module.init_with_output(jax.random.key(0), x, False), x
  )
  return maps


def _outputs(module: Classifier, values: dict, size: int) -> dict:
  """What every unit and block of the backbone returns, by its path."""
  kinds = (
    layers.ConvBN,
    layers.SqueezeExcite,
    mobilenet_v3.InvertedResidual,
  )
  rng = np.random.default_rng(0)
  x = rng.normal(size=(2, size, size, 3)).astype(np.float32)
  _, kept = jax.jit(
    lambda v, x: module.apply(
      v,
      x,
      False,
      capture_intermediates=lambda child, _: isinstance(child, kinds),
      mutable=["intermediates"],
    )
  )(values, x)
  flat = flax.traverse_util.flatten_dict(kept["intermediates"]["backbone"])
  return {"/".join(path[:-1]): np.asarray(out) for path, (out,) in flat.items()}


@pytest.mark.parametrize(
  ("name", "width", "minimalistic", "total", "headless", "macs"), _KERAS_COUNTS
)
def test_counts_are_those_of_keras(
  name, width, minimalistic, total, headless, macs
):
  module = _build(name, width=width, minimalistic=minimalistic, classes=1000)
  listed = counting.list_layers(module, 224)
  assert sum(layer.params + layer.stats for layer in listed) == total
  assert headless == sum(
    layer.params + layer.stats
    for layer in listed
    if layer.path.startswith("backbone/")
  )
  assert sum(layer.macs for layer in listed) == macs


@_each
@pytest.mark.parametrize("size", [50, 224])
def test_feature_maps(name, size):
  maps = _maps(_build(name), size)
  expected, pixels = {"stem": -(-size // 2)}, -(-size // 2)
  for i, stride in enumerate(_STRIDES[name]):
    pixels = -(-pixels // stride)
    expected[f"block{i}"] = pixels
  expected["top"] = pixels
  pooled = maps.pop("pooled")
  assert {key: x.shape[1:3] for key, x in maps.items()} == {
    key: (n, n) for key, n in expected.items()
  }
  assert pixels == -(-size // 32)
  channels = 960 if name == "mobilenet_v3_large" else 576
  assert maps["top"].shape[-1] == pooled.shape[-1] == channels


def test_width_leaves_the_stem():
  """Ratios of expansion stay: 72 / 24 of 24 channels is 72 at 0.75."""
  for width, block, top in ((0.75, 32, 720), (1.25, 48, 1200)):
    module = _build("mobilenet_v3_large", width=width)
    maps = _maps(module, 32)
    assert maps["stem"].shape[-1] == 16
    assert maps["block3"].shape[-1] == block
    assert maps["top"].shape[-1] == top
  params = variables.shapes(_build(_NAMES[0], width=0.75), 32)["params"]
  expand = params["backbone"]["block3"]["expand"]["conv"]["kernel"]
  assert expand.shape == (1, 1, 24, 72)


@_each
@_both
def test_kernels_and_strides_are_those_of_the_tables(
  name, minimalistic, monkeypatch
):
  """And every one of them is padded by the network's rule."""
  resolve, calls = layers.padding_lib.resolve, []

  def record(rule, size, window, stride):
    calls.append((rule, window, stride))
    return resolve(rule, size, window, stride)

  monkeypatch.setattr(layers.padding_lib, "resolve", record)
  module = _build(name, minimalistic=minimalistic, padding="symmetric")
  variables.shapes(module, 32)
  kernels = _KERNELS[name]
  if minimalistic:
    kernels = (3,) * len(kernels)
  assert calls == [
    ("symmetric", (kernel, kernel), stride)
    for kernel, stride in zip((3, *kernels), (2, *_STRIDES[name]), strict=True)
  ]


@_each
def test_bottlenecks_are_those_of_the_tables(name):
  module, rng = _build(name), np.random.default_rng(1)
  values = variables.initial_values(module, 32, 0)
  backbone = values["params"]["backbone"]
  blocks = range(len(_STRIDES[name]))
  assert _EXCITED[name] == {
    i for i in blocks if "squeeze_excite" in backbone[f"block{i}"]
  }
  for i in _EXCITED[name]:
    # Gates of 0, of 1 and between.
    expand = backbone[f"block{i}"]["squeeze_excite"]["expand"]
    expand["bias"][:] = rng.normal(scale=4, size=expand["bias"].shape)

  outputs = _outputs(module, values, 32)
  assert outputs["stem"].min() < 0
  assert outputs["top"].min() < 0
  swish, residual = set(), set()
  before = outputs["stem"]
  for i in blocks:
    out, hidden = outputs[f"block{i}"], outputs[f"block{i}/depthwise"]
    project = outputs[f"block{i}/project"]
    assert project.min() < 0
    if hidden.min() < 0:
      swish.add(i)
    if i > 0:
      assert (outputs[f"block{i}/expand"].min() < 0) == (hidden.min() < 0)
    if not np.array_equal(out, project):
      residual.add(i)
      np.testing.assert_allclose(out, project + before, rtol=1e-5, atol=1e-6)
    before = out
  assert "block0/expand" not in outputs
  assert swish == _SWISH[name]
  assert residual == _RESIDUAL[name]


def test_channels_are_weighted_after_the_activation():
  """Between depthwise and projection, by the formula of section 5.3."""
  module, rng = _build("mobilenet_v3_small"), np.random.default_rng(1)
  values = variables.initial_values(module, 32, 0)
  block = values["params"]["backbone"]["block3"]
  excite = block["squeeze_excite"]
  for layer in excite.values():
    layer["bias"][:] = rng.normal(scale=4, size=layer["bias"].shape)
  outputs = _outputs(module, values, 32)

  x = outputs["block3/depthwise"]
  squeezed = x.mean((1, 2), keepdims=True) @ excite["reduce"]["kernel"][0, 0]
  squeezed = np.maximum(squeezed + excite["reduce"]["bias"], 0)
  gate = squeezed @ excite["expand"]["kernel"][0, 0] + excite["expand"]["bias"]
  gate = np.clip(gate + 3, 0, 6) / 6
  assert gate.min() == 0
  assert gate.max() == 1
  weighted = outputs["block3/squeeze_excite"]
  np.testing.assert_allclose(weighted, x * gate, rtol=1e-4, atol=1e-6)
  # The running statistics are still 0 and 1.
  projected = weighted @ block["project"]["conv"]["kernel"][0, 0]
  np.testing.assert_allclose(
    outputs["block3/project"],
    projected / np.sqrt(np.float32(1.001)),
    rtol=1e-4,
    atol=1e-6,
  )


def test_minimalistic_has_relu_alone_and_no_excitation():
  module = _build("mobilenet_v3_small", minimalistic=True)
  values = variables.initial_values(module, 32, 0)
  outputs = _outputs(module, values, 32)
  assert not [path for path in outputs if "squeeze_excite" in path]
  for path, out in outputs.items():
    if path.endswith(("stem", "expand", "depthwise", "top")):
      assert out.min() == 0, path


@_each
@_both
def test_head(name, minimalistic):
  """Hidden layer with bias and hard swish, or ReLU; then the logits."""
  module = _build(name, minimalistic=minimalistic, width=0.25)
  values = variables.initial_values(module, 32, 0)
  head = values["params"]["head"]
  hidden = 1280 if name == "mobilenet_v3_large" else 1024
  rng = np.random.default_rng(0)
  pooled = rng.normal(size=(2, len(head["dense0"]["kernel"])))
  pooled = pooled.astype(np.float32)
  head["dense0"]["bias"][:] = rng.normal(size=hidden)
  logits = module.apply(values, pooled, False, method="classify")
  x = pooled @ head["dense0"]["kernel"] + head["dense0"]["bias"]
  gate = x > 0 if minimalistic else np.clip(x + 3, 0, 6) / 6
  expected = x * gate @ head["logits"]["kernel"]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
  ("width", "hidden"), [(0.5, 1024), (1.0, 1024), (1.25, 1280)]
)
def test_the_hidden_layer_only_grows(width, hidden):
  """As in Keras: `alpha` above 1 alone scales the last point convolution."""
  spec = mobilenet_v3.head(1024, width, False)
  assert spec.hidden == (hidden,)
