"""Tensors of timm's and torchvision's files: found by name, their axes turned.

`torch_layout` has the names.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.errors import InputError
from mn_jax.models.counting import Layer
from mn_jax.weights.torch_layout import LAYOUTS, Layout

# Of a BatchNorm, and of everything else.
_NORM = {
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
_OTHER = {"kernel": "weight", "bias": "bias"}
# In files of training: counters of BatchNorm, the head beside InceptionV3's.
_IGNORED = re.compile(r".*\.num_batches_tracked|AuxLogits\..*")
# Prefixes of a moving average of parameters.
_AVERAGE = re.compile(r"(^|[._])ema([._]|$)")


@dataclasses.dataclass(frozen=True)
class Recognised:
  """A file whose names are known.

  Attributes:
    layout: of its names.
    content: tensors by name, without the prefix that all of a network have.
    note: which of several networks in the file is meant, or ''.
  """

  layout: Layout
  content: dict[str, np.ndarray]
  note: str


def recognise(
  model: str, content: Mapping[str, np.ndarray], file: str
) -> Recognised:
  """Finds the layout of a file, and the network in it.

  Programs that train put a prefix before all names: 'model.', 'module.',
  'encoder.'. Of a network and its moving average, `model_ema.` or such, the
  average is taken, as timm does.

  Args:
    model: name of the network.
    content: the file's tensors by name.
    file: its path, for the message.

  Raises:
    InputError: if it is of no library that has this network, or has several
      networks.
  """
  layouts = LAYOUTS.get(model, ())
  for layout in layouts:
    prefixes = _prefixes(layout, content)
    if prefixes:
      return _unwrap(layout, content, prefixes, file)
  known = " or ".join(f"{a.first}.weight ({a.source})" for a in layouts)
  raise InputError(
    f"model.weights: got {file!r}, which has none of the names of {model}; "
    f"valid: a file with {known or 'weights of Keras Applications (.h5)'}"
  )


def _prefixes(layout: Layout, content: Mapping[str, np.ndarray]) -> list[str]:
  """Returns what precedes the names of each network in a file; '' is one."""
  first = f"{layout.first}.weight"
  found = [
    key.removesuffix(first)
    for key in content
    if key == first or key.endswith(f".{first}")
  ]
  if len(found) < 2 and "" in found:
    return found  # even if most of the network is missing
  return [
    prefix
    for prefix in found
    if any(key.startswith(f"{prefix}{layout.inner}.") for key in content)
  ]


def _unwrap(
  layout: Layout,
  content: Mapping[str, np.ndarray],
  prefixes: Sequence[str],
  file: str,
) -> Recognised:
  """Takes a prefix from the names of a network, and leaves its twins out."""
  averages = [p for p in prefixes if _AVERAGE.search(p)]
  chosen = averages if len(prefixes) > 1 and averages else prefixes
  if len(chosen) > 1:
    names = ", ".join(map(repr, chosen))
    raise InputError(
      f"model.weights: got {file!r}, which has several networks, with names "
      f"that start with {names}; valid: a file of one of them"
    )
  (prefix,) = chosen
  twins = tuple(p for p in prefixes if p != prefix and p)
  note = ""
  if len(prefixes) > 1:
    note = (
      f"of {len(prefixes)} copies of the network, {prefix!r} is used, the "
      "moving average"
    )
  inside = {
    key.removeprefix(prefix): value
    for key, value in content.items()
    if key.startswith(prefix) and not key.startswith(twins)
  }
  if "" in prefixes:
    return Recognised(layout, inside, note)
  # What else there is may be a head beside an encoder.
  outside = {
    key: value
    for key, value in content.items()
    if not key.startswith((prefix, *twins)) and key not in inside
  }
  return Recognised(layout, inside | outside, note)


def num_logits(layout: Layout, content: Mapping[str, np.ndarray]) -> int:
  """Counts the logits of a file's classifier; 0 if it has none."""
  kernel = content.get(f"{layout.last}.weight", np.zeros(()))
  return kernel.shape[0] if kernel.ndim else 0


def separate_head(
  layout: Layout, backbone: Sequence[Layer], content: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], bool]:
  """Separates the tensors of a backbone from those of any head.

  Args:
    layout: of the file.
    backbone: its layers.
    content: the file's tensors by name.

  Returns:
    The tensors of the backbone's modules, as `features` or `layer1`, and
    whether there are others. What is in these modules belongs to a backbone,
    perhaps to a longer one.
  """
  paths = [layer.path for layer in backbone]
  modules = {layout.name(path, paths).partition(".")[0] for path in paths}
  rest = {
    key: value
    for key, value in content.items()
    if key.partition(".")[0] in modules
  }
  others = content.keys() - rest.keys()
  return rest, not all(map(_IGNORED.fullmatch, others))


def convert(
  layout: Layout, layers: Sequence[Layer], content: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], list[str]]:
  """Converts a file's tensors to this package's names and axes.

  Args:
    layout: of the file.
    layers: that are needed, in the order of their calls.
    content: the file's tensors by name.

  Returns:
    Tensors by path ('backbone/stem/conv/kernel'), and a message for everything
    that does not fit.
  """
  paths = [layer.path for layer in layers]
  tensors, problems, used = {}, [], set()
  channels = 0  # of the layer before
  for layer in layers:
    prefix = layout.name(layer.path, paths)
    for name, shape in layer.shapes.items():
      suffix = (_NORM if layer.kind == "norm" else _OTHER)[name]
      key = f"{prefix}.{suffix}"
      if key not in content:
        problems.append(f"{key} is missing")
        continue
      used.add(key)
      value = content[key]
      if value.dtype != np.float32:
        problems.append(f"{key} has values of type {value.dtype}")
        continue
      if name == "kernel":
        value = _kernel(value, layer, channels)
      if value is None or value.shape != shape:
        problems.append(
          f"{key} is {content[key].shape}, {layer.path}/{name} here {shape}"
        )
      else:
        tensors[f"{layer.path}/{name}"] = np.ascontiguousarray(value)
    channels = layer.output[-1]
  problems += [
    f"{key} is one too many"
    for key in content
    if key not in used and not _IGNORED.fullmatch(key)
  ]
  return tensors, problems


def _kernel(
  value: np.ndarray, layer: Layer, channels: int
) -> np.ndarray | None:
  """A kernel with this package's order of axes; None if its size is another.

  Args:
    value: PyTorch's: [out, in, h, w] of a convolution, [out, 1, h, w] of a
      depthwise one, [out, in] or [out, in, h, w] of a dense layer.
    layer: that it is for.
    channels: of the layer before. A dense layer on a flattened map has
      several inputs for each of them, its pixels.
  """
  shape = layer.shapes["kernel"]
  if value.size != math.prod(shape):
    return None
  if layer.kind != "dense":
    return value.transpose(2, 3, 1, 0) if value.ndim == 4 else value
  side = math.isqrt(shape[0] // channels)
  if value.ndim == 2 and side > 1 and value.shape[1] % side**2 == 0:
    # PyTorch flattens channels before pixels.
    value = value.reshape(len(value), -1, side, side)
  if value.ndim == 4:
    return value.transpose(2, 3, 1, 0).reshape(-1, len(value))
  return value.T


def revert(
  layout: Layout,
  layers: Sequence[Layer],
  tensors: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
  """Gives tensors a library's names and axes, as `convert` takes them off.

  Args:
    layout: of the library.
    layers: of the network, in the order of their calls; none of them is a dense
      layer on a flattened map.
    tensors: f32 by path.
  """
  paths = [layer.path for layer in layers]
  reverted = {}
  for layer in layers:
    prefix = layout.name(layer.path, paths)
    names = _NORM if layer.kind == "norm" else _OTHER
    for name in layer.shapes:
      value = tensors[f"{layer.path}/{name}"]
      if name == "kernel" and value.ndim == 4:
        value = value.transpose(3, 2, 0, 1)
      elif name == "kernel":
        value = value.T
        if prefix != layout.last:  # 1x1 convolutions on a pooled map
          value = value[:, :, None, None]
      reverted[f"{prefix}.{names[name]}"] = np.ascontiguousarray(value)
  return reverted
