"""The beginning of an ONNX model: from pixels to the network's input.

Images are transposed once, and then resized, cropped and normalised as
`data.decode` and `augment.inputs` do.
"""

import numpy as np

from mn_jax.export.onnx.graph import Graph
from mn_jax.export.source import Source

_TO_NCHW = (0, 3, 1, 2)
# The far ends of a narrow image are not seen, but resizing them may cost
# gigabytes: `data.resizing.resize_and_crop` cuts what is longer than so many
# short sides.
_LONGEST = 8
_MODES = {"bilinear": "linear", "bicubic": "cubic"}


def normalised(graph: Graph, images: str) -> str:
  """Adds what takes f32[batch, r, r, 3] to [batch, 3, r, r]."""
  return graph.add("Transpose", [images], "input/Transpose", perm=_TO_NCHW)


def pixels(
  graph: Graph, images: str, source: Source, size: tuple[int, int] | None
) -> str:
  """Adds what takes u8[batch, h, w, 3] to f32[batch, 3, r, r], normalised.

  Args:
    graph: that is being written.
    images: name of its input.
    source: of the rules of images.
    size: h and w in pixels; None for any.

  Returns:
    The name of the result.
  """
  from onnx import TensorProto

  x = graph.add("Transpose", [images], "input/Transpose", perm=_TO_NCHW)
  x = graph.add("Cast", [x], "input/Cast", to=TensorProto.FLOAT)
  x = _fitted(graph, x, source, size)
  trained, resolution = source.trained, source.resolution
  if resolution != trained.image_size:
    sizes = graph.constant(np.array([resolution] * 2), "input/resolution")
    x = _resized(graph, x, sizes, "bilinear", "input/to_resolution")
  conventions = trained.network.conventions
  # As `augment.inputs` rounds them.
  center = np.float32(255 * np.array(conventions.mean)).reshape(1, 3, 1, 1)
  scale = np.float32(1 / (255 * np.array(conventions.std))).reshape(1, 3, 1, 1)
  x = graph.add("Sub", [x, graph.constant(center, "input/mean")], "input/Sub")
  return graph.add(
    "Mul", [x, graph.constant(scale, "input/scale")], "input/Mul"
  )


def _fitted(
  graph: Graph, x: str, source: Source, size: tuple[int, int] | None
) -> str:
  """Resizes and crops f32[batch, 3, h, w] to the size of training images."""
  trained = source.trained
  n, crop = trained.image_size, trained.crop
  if size == (n, n):  # as images of training are
    return x
  target = n if crop is None else int(n / crop)  # of the short side
  if crop is None:
    sizes = graph.constant(np.array([n, n]), "input/size")
    start = None
  elif size is None:
    x, sizes, start = _any_middle(graph, x, n, target)
  else:
    x, sizes, start = _middle(graph, x, n, target, size)
  x = _resized(graph, x, sizes, trained.interpolation, "input/Resize")
  ends = [graph.constant(np.float32(v), f"constant_{v}") for v in (0, 255)]
  x = graph.add(
    "Round", [graph.add("Clip", [x, *ends], "input/Clip")], "input/Round"
  )
  if start is None:
    return x
  end = graph.add(
    "Add", [start, graph.constant(np.array([n, n]), "input/size")], "input/end"
  )
  return _sliced(graph, x, start, end, "input/crop")


def _middle(
  graph: Graph, x: str, n: int, target: int, size: tuple[int, int]
) -> tuple[str, str, str]:
  """Cuts far ends off; returns the image, its new size and the crop's corner.

  Args:
    graph: that is being written.
    x: name of the images, f32[batch, 3, h, w].
    n: height and width of the crop.
    target: short side of the resized image.
    size: h and w in pixels.
  """
  hw = np.array(size)
  short = hw.min()
  cut = np.maximum(hw - _LONGEST * short, 0) // 2
  if cut.any():
    start, end = (graph.constant(v, "input/cut") for v in (cut, hw - cut))
    x = _sliced(graph, x, start, end, "input/narrow")
  sizes = target * (hw - 2 * cut) // short
  corner = (sizes - n) // 2
  return (
    x,
    graph.constant(sizes, "input/sizes"),
    graph.constant(corner, "input/corner"),
  )


def _any_middle(
  graph: Graph, x: str, n: int, target: int
) -> tuple[str, str, str]:
  """The same as `_middle` of images of any size."""

  def number(value: int) -> str:
    return graph.constant(np.array([value]), f"constant_{value}")

  def op(name: str, *inputs: str) -> str:
    return graph.add(name, list(inputs), f"input/{name}")

  two = number(2)
  hw = op("Slice", op("Shape", x), two, number(4))
  short = graph.add("ReduceMin", [hw], "input/short", keepdims=1)
  excess = op("Sub", hw, op("Mul", short, number(_LONGEST)))
  cut = op("Div", op("Max", excess, number(0)), two)
  end = op("Sub", hw, cut)
  x = _sliced(graph, x, cut, end, "input/narrow")
  sizes = op("Div", op("Mul", op("Sub", end, cut), number(target)), short)
  return x, sizes, op("Div", op("Sub", sizes, number(n)), two)


def _sliced(graph: Graph, x: str, start: str, end: str, name: str) -> str:
  axes = graph.constant(np.array([2, 3]), "input/axes")
  return graph.add("Slice", [x, start, end, axes], name)


def _resized(
  graph: Graph, x: str, sizes: str, interpolation: str, name: str
) -> str:
  """Resizes f32[batch, 3, h, w] as Pillow and `jax.image` do."""
  return graph.add(
    "Resize",
    [x, "", "", sizes],
    name,
    axes=(2, 3),
    mode=_MODES[interpolation],
    antialias=1,
    coordinate_transformation_mode="half_pixel",
    cubic_coeff_a=-0.5,
    exclude_outside=1,
  )
