"""Weight files of Keras Applications: the order of layers, the axes of tensors.

Layers are matched by their order; names differ between releases and are not
used.

`model.layers`, and so a legacy file, is sorted by depth, counted back from the
output, and within one depth by the order in which Keras's traversal from the
output meets the layers; files of Keras 3 are put into that order first, by
`arrange`. Networks without branches are in the order of their
calls. Where branches meet again, in an addition or a concatenation, they are
aligned at their ends: each is written here as a column of layers, `None` for
one without weights, and the columns are read row by row.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from mn_jax.models.counting import Layer
from mn_jax.weights.keras_files import KerasLayer

# These were trained on Caffe's channel order, blue first.
_BLUE_FIRST = ("resnet50", "resnet152", "vgg16")

_NORM = {
  "scale": "gamma",
  "bias": "beta",
  "mean": "moving_mean",
  "var": "moving_variance",
}
_KERNELS = ("kernel", "depthwise_kernel", "pointwise_kernel")


# Keras 3's classes of layers by kind; the first that has layers left is taken.
_CLASSES = {
  "norm": ("batch_normalization",),
  "depthwise": ("depthwise_conv2d", "separable_conv2d"),
  "conv": ("conv2d", "dense"),
  "dense": ("dense", "conv2d"),
}


def arrange(
  model: str, layers: Sequence[Layer], content: Sequence[KerasLayer]
) -> list[KerasLayer]:
  """Puts the layers of a Keras 3 file in order, and names their weights.

  The file has the order of layers within each class; that of the classes is the
  network's.

  Args:
    model: name of the network.
    layers: that are needed, in the order of their calls.
    content: the file's layers; those of legacy files are returned as they are.

  Returns:
    Those that have a place in the network, then all others.
  """
  if not any(layer.kind for layer in content):
    return list(content)
  waiting: dict[str, list[KerasLayer]] = {}
  for keras_layer in content:
    waiting.setdefault(keras_layer.kind, []).append(keras_layer)
  arranged = []
  pointwise = False  # comes with the depthwise convolution before it
  for layer in in_keras_order(model, layers):
    if pointwise:
      pointwise = False
      continue
    for kind in _CLASSES[layer.kind.partition(" ")[0]]:
      if waiting.get(kind):
        arranged.append(_named(waiting[kind].pop(0), layer.shapes))
        pointwise = kind == "separable_conv2d"
        break
  return arranged + [
    _named(keras_layer, {}) for rest in waiting.values() for keras_layer in rest
  ]


def _named(
  layer: KerasLayer, shapes: Mapping[str, tuple[int, ...]]
) -> KerasLayer:
  """Names the weights of a Keras 3 layer, whose file numbers them.

  Args:
    layer: of the file.
    shapes: of the layer that it is for.
  """
  count = len(layer.weights)
  if layer.kind == "batch_normalization":
    # Without a scale, or as Keras never has it, without an offset.
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    names = names[1:] if count < 4 and "scale" not in shapes else names
  else:
    names = {
      "depthwise_conv2d": ["depthwise_kernel", "bias"],
      "separable_conv2d": ["depthwise_kernel", "pointwise_kernel", "bias"],
    }.get(layer.kind, ["kernel", "bias"])
  names += [str(i) for i in range(len(names), count)]
  weights = dict(zip(names, layer.weights.values(), strict=False))
  return dataclasses.replace(layer, weights=weights)


def num_logits(content: Sequence[KerasLayer]) -> int:
  """Counts the logits of a file's classifier; 0 if it has none.

  All networks of Keras Applications have a bias in their last layer with a
  top, and end with a BatchNorm or, VGG16, a 3x3 convolution without.
  """
  last = content[-1].weights if content else {}
  if "bias" not in last or "kernel" not in last:
    return 0
  shape = last["kernel"].shape
  dense = len(shape) == 2 or (len(shape) == 4 and shape[:2] == (1, 1))
  return shape[-1] if dense else 0


def separate_head(
  backbone: Sequence[Layer], content: Sequence[KerasLayer]
) -> tuple[list[KerasLayer], bool]:
  """Separates the layers of a backbone from those of any head after it.

  Args:
    backbone: its layers.
    content: the file's layers.

  Returns:
    The layers before the head, and whether there is one. What looks at
    neighbouring pixels is no head: it belongs to a longer backbone.
  """
  content = [part for layer in content for part in _separate(layer)]
  head = content[len(backbone) :]
  kernels = [
    value.shape
    for layer in head
    for key, value in layer.weights.items()
    if key.endswith("kernel")
  ]
  has_head = bool(kernels) and all(
    len(shape) == 2 or shape[:2] == (1, 1) for shape in kernels
  )
  return content[: len(backbone)] if has_head else content, has_head


def convert(
  model: str, layers: Sequence[Layer], content: Sequence[KerasLayer]
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Converts a file's tensors to this package's names and axes.

  Args:
    model: name of the network.
    layers: that are needed, in the order of their calls.
    content: the file's layers.

  Returns:
    Tensors by path ('backbone/stem/conv/kernel'), and a message for everything
    that does not fit.
  """
  content = [part for layer in content for part in _separate(layer)]
  tensors, problems, biases = {}, [], {}
  if len(layers) != len(content):
    problems.append(
      f"it has {len(content)} layers with weights instead of {len(layers)}"
    )
  ordered = in_keras_order(model, layers)
  for layer, keras_layer in zip(ordered, content, strict=False):
    problems += _convert_layer(layer, keras_layer, tensors, biases)
  if problems:
    return tensors, problems
  for norm, bias in biases.items():
    # Before a BatchNorm a bias is as good as a smaller running mean.
    tensors[f"{norm}/mean"] = tensors[f"{norm}/mean"] - bias
  if model in _BLUE_FIRST:
    name = f"{layers[0].path}/kernel"
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
  layer: Layer,
  keras_layer: KerasLayer,
  tensors: dict[str, np.ndarray],
  biases: dict[str, np.ndarray],
) -> list[str]:
  """Adds a layer's tensors, and biases by the BatchNorm that follows them.

  Returns:
    A message for everything that does not fit.
  """
  problems = []
  weights = dict(keras_layer.weights)
  for name, shape in layer.shapes.items():
    if layer.kind == "norm":
      key = _NORM[name]
    elif name == "kernel":
      key = next((k for k in _KERNELS if k in weights), "kernel")
    else:
      key = name
    if key not in weights:
      problems.append(
        f"{keras_layer.name} has no {key} for {layer.path}/{name}"
      )
      continue
    value = fitting = weights.pop(key)
    if layer.kind.startswith("depthwise") and value.ndim == 4:
      fitting = value.transpose(0, 1, 3, 2)
    elif (
      layer.kind == "dense" and value.ndim == 4 and value.shape[:2] == (1, 1)
    ):
      fitting = value[0, 0]  # a 1x1 convolution on a pooled map
    if fitting.shape != shape:
      problems.append(
        f"{keras_layer.name}/{key} is {value.shape}, {layer.path}/{name} here "
        f"{shape}"
      )
    tensors[f"{layer.path}/{name}"] = fitting
  if "bias" in weights and layer.path.endswith("/conv"):
    bias = weights.pop("bias")
    if bias.shape != layer.shapes["kernel"][-1:]:
      problems.append(
        f"{keras_layer.name}/bias is {bias.shape}, {layer.path} has "
        f"{layer.shapes['kernel'][-1]} channels here"
      )
    biases[f"{layer.path.removesuffix('conv')}norm"] = bias
  problems += [
    f"{keras_layer.name}/{key} is one too many for {layer.path}"
    for key in weights
  ]
  return problems


# A column's entry: the layers of this package that one Keras layer holds.
_Entry = tuple[Layer, ...] | None
_Column = list[_Entry]


def in_keras_order(model: str, layers: Sequence[Layer]) -> list[Layer]:
  """Sorts the layers of a network into the order of Keras's `model.layers`.

  Args:
    model: name of the network.
    layers: in the order of their calls.
  """
  for family, columns in _COLUMNS.items():
    if model.startswith(family):
      blocks = itertools.groupby(
        layers, key=lambda layer: layer.path.split("/")[1]
      )
      return [
        layer
        for _, block in blocks
        for layer in _row_by_row(columns(list(block)))
      ]
  return list(layers)


def _row_by_row(columns: Sequence[_Column]) -> list[Layer]:
  longest = max(map(len, columns))
  even = [[None] * (longest - len(column)) + column for column in columns]
  rows = zip(*even, strict=True)
  return [layer for row in rows for entry in row if entry for layer in entry]


def _residual(block: Sequence[Layer]) -> tuple[_Column, _Column]:
  """Returns the residual, a ReLU after every BatchNorm, and the shortcut."""
  main: _Column = []
  shortcut: _Column = []
  waiting: tuple[Layer, ...] = ()
  for layer in block:
    if "/shortcut/" in layer.path:
      shortcut.append((layer,))
    elif layer.kind.startswith("depthwise"):
      waiting = (layer,)
    else:
      after = [None] if layer.kind == "norm" else []
      main += [(*waiting, layer), *after]
      waiting = ()
  return main, shortcut


def _resnet(block: Sequence[Layer]) -> list[_Column]:
  """The shortcut, then the residual; its last ReLU is after the addition."""
  main, shortcut = _residual(block)
  return [shortcut, main[:-1]] if shortcut else [main]


def _xception(block: Sequence[Layer]) -> list[_Column]:
  """The separable convolutions, then the shortcut.

  What follows a block's last BatchNorm is no ReLU but the pooling.
  """
  return list(_residual(block))


def _inception(block: Sequence[Layer]) -> list[_Column]:
  """A column per branch, and one for the second half of a fork.

  In a residual block what the branches give goes on through a convolution.
  """
  branches: dict[str, _Column] = {}
  residual: _Column = []
  for layer in block:
    *_, name, part = layer.path.split("/")
    if part == "up":
      residual = [None, (layer,)]
      continue
    branch, half = _BRANCH.fullmatch(name).groups()
    column = branches.setdefault(f"{branch} b" if half == "b" else branch, [])
    column.append((layer,))
    if layer.kind == "norm":
      # ReLU; a fork's halves are also concatenated before the branches are.
      column += [None, None] if half else [None]
  first, *others = branches.values()
  after: _Column = [None] * len(residual)
  return [first + residual, *(column + after for column in others)]


# 'branch3x3dbl_3a': the branch, and which half of its fork.
_BRANCH = re.compile(r"(.+?)(?:_\d+([ab])?)?")

_COLUMNS: dict[str, Callable[[Sequence[Layer]], list[_Column]]] = {
  "resnet": _resnet,
  "xception": _xception,
  "inception": _inception,
}
