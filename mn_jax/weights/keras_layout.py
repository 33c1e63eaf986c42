"""Keras Applications' layers, and their tensors' axes.

Layers are matched by their order; names differ between releases and are not
used.
"""

from collections.abc import Sequence

import numpy as np

from mn_jax.weights import keras_order
from mn_jax.weights.files import KerasLayer
from mn_jax.weights.units import Unit

# These were trained on Caffe's channel order, blue first.
_BLUE_FIRST = ("resnet50", "resnet152", "vgg16")

_NORM = {
  "scale": "gamma",
  "bias": "beta",
  "mean": "moving_mean",
  "var": "moving_variance",
}
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


def num_classes(layers: Sequence[KerasLayer]) -> int:
  """Logits of a file's classifier, or 0 if it ends with a feature map.

  All networks of Keras Applications have a bias in their last layer with a
  top, and end with a BatchNorm or, VGG16, a 3x3 convolution without.
  """
  last = layers[-1].weights if layers else {}
  if "bias" not in last or "kernel" not in last:
    return 0
  shape = last["kernel"].shape
  dense = len(shape) == 2 or (len(shape) == 4 and shape[:2] == (1, 1))
  return shape[-1] if dense else 0


def convert(
  model: str, units: Sequence[Unit], layers: Sequence[KerasLayer]
) -> tuple[dict[str, np.ndarray], list[str]]:
  """A file's tensors by our paths, and everything that does not fit.

  Args:
    model: name of the network.
    units: that are needed, in the order of their calls.
    layers: the file's content.
  """
  layers = [part for layer in layers for part in _separate(layer)]
  tensors, problems, biases = {}, [], {}
  if len(units) != len(layers):
    problems.append(
      f"it has {len(layers)} layers with weights instead of {len(units)}"
    )
  ordered = keras_order.in_keras_order(model, units)
  for unit, layer in zip(ordered, layers, strict=False):
    problems += _convert_layer(unit, layer, tensors, biases)
  if problems:
    return tensors, problems
  for norm, bias in biases.items():
    # Before a BatchNorm a bias is as good as a smaller running mean.
    tensors[f"{norm}/mean"] = tensors[f"{norm}/mean"] - bias
  if model in _BLUE_FIRST:
    name = f"{units[0].path}/kernel"
    tensors[name] = np.ascontiguousarray(tensors[name][:, :, ::-1])
  return tensors, problems


def _separate(layer: KerasLayer) -> list[KerasLayer]:
  """A separable convolution as its two."""
  if not layer.weights.keys() >= {"depthwise_kernel", "pointwise_kernel"}:
    return [layer]
  rest = dict(layer.weights)
  depthwise = {"depthwise_kernel": rest.pop("depthwise_kernel")}
  return [KerasLayer(layer.name, depthwise), KerasLayer(layer.name, rest)]


def _convert_layer(
  unit: Unit,
  layer: KerasLayer,
  tensors: dict[str, np.ndarray],
  biases: dict[str, np.ndarray],
) -> list[str]:
  """Adds a layer's tensors, and biases by the BatchNorm that follows them.

  Returns:
    What does not fit.
  """
  problems = []
  weights = dict(layer.weights)
  for name, shape in unit.shapes.items():
    if unit.kind == "norm":
      key = _NORM[name]
    elif name == "kernel":
      key = next((k for k in _KERNELS if k in weights), "kernel")
    else:
      key = name
    if key not in weights:
      problems.append(f"{layer.name} has no {key} for {unit.path}/{name}")
      continue
    value = weights.pop(key)
    if unit.kind == "depthwise" and value.ndim == 4:
      fitting = value.transpose(0, 1, 3, 2)
    elif unit.kind == "dense" and value.ndim == 4 and value.shape[:2] == (1, 1):
      fitting = value[0, 0]  # a 1x1 convolution on a pooled map
    else:
      fitting = value
    if fitting.shape != shape:
      problems.append(
        f"{layer.name}/{key} is {value.shape}, {unit.path}/{name} here {shape}"
      )
    tensors[f"{unit.path}/{name}"] = fitting
  if "bias" in weights and unit.path.endswith("/conv"):
    bias = weights.pop("bias")
    if bias.shape != unit.shapes["kernel"][-1:]:
      problems.append(
        f"{layer.name}/bias is {bias.shape}, {unit.path} has "
        f"{unit.shapes['kernel'][-1]} channels here"
      )
    biases[f"{unit.path.removesuffix('conv')}norm"] = bias
  problems += [
    f"{layer.name}/{key} is one too many for {unit.path}" for key in weights
  ]
  return problems
