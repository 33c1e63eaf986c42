"""The least bytes that a step must move, by how well its operations are fused.

Counted from the layers of a network, for one image. Of a convolution with an
input of I and an output of O values:

- forward it reads I and writes O; backward, the gradient of its input reads O
  and writes I, and that of its kernel reads I and O again: 3 I + 3 O. The first
  convolution has no input gradient: 2 I + 2 O. Dense layers count as
  convolutions.
- A BatchNorm behind it reads O for its statistics, reads and writes O to
  normalise, and backward reads two arrays for its sums and two for its
  gradient, which it writes: 8 O.
- An activation behind that reads and writes O, and backward reads two arrays
  and writes one: 5 O.

What a compiler fuses is not moved:

- *nothing fused*: all of the above. Every BatchNorm is taken to have an
  activation behind it, which linear bottlenecks do not: 2 % too much for
  MobileNetV2.
- *as XLA fuses*: no activations. They are part of the BatchNorm; that is not
  part of the convolutions, which are kernels of a library or products.
- *perfectly fused*: no BatchNorm either. Its statistics come from what writes
  O and its normalisation is done by what reads O; backward, one kernel reads
  the gradient, the output and the input of a convolution, for BatchNorm's
  gradient and those of kernel and input, and writes the last: 3 I + 3 O, of the
  first convolution 2 I + 3 O.

Inference reads I and writes O, perfectly fused or as XLA fuses: BatchNorm and
activation cost nothing. With nothing fused they cost 2 O each.

Not counted: the uint8 images and their augmentation, additions of shortcuts,
squeeze-and-excitation but its dense layers, pooling, and the loss.

Parameters are read once in inference. Training reads them forward and backward
and writes the gradient; Adam reads gradient, parameters and two moments and
writes the last three: ten times float32. They are shared by the batch. Nothing
stays in a cache from one operation to the next.
"""

import math
from collections.abc import Sequence

from mn_jax.models.counting import Layer

NOTHING, XLA, PERFECT = "nothing fused", "as XLA fuses", "perfectly fused"
_PARAMETER_BYTES = 4


def bytes_per_image(
  layers: Sequence[Layer],
  *,
  params: int,
  batch: int,
  train: bool,
  dtype: str,
) -> dict[str, float]:
  """Counts the bytes of one image of a step, by how well it is fused.

  Args:
    layers: from `counting.list_layers`.
    params: number of trainable parameters.
    batch: images per step.
    train: whether it trains; otherwise it infers.
    dtype: of activations, 'float32' or 'bfloat16'.

  Returns:
    Bytes by NOTHING, XLA and PERFECT.
  """
  convolutions, norms, first = _values(layers, train)
  shared = _PARAMETER_BYTES * (10 if train else 1) * params / batch
  if train:
    values = {
      NOTHING: convolutions + 13 * norms,
      XLA: convolutions + 8 * norms,
      PERFECT: convolutions + first,
    }
  else:
    values = {
      NOTHING: convolutions + 4 * norms,
      XLA: convolutions,
      PERFECT: convolutions,
    }
  return {
    name: item_bytes(dtype) * count + shared for name, count in values.items()
  }


def item_bytes(dtype: str) -> int:
  """Bytes of a number of 'float32' or 'bfloat16'."""
  return 2 if dtype == "bfloat16" else 4


def _values(layers: Sequence[Layer], train: bool) -> tuple[int, int, int]:
  """Counts values: moved by convolutions, in norms, in the first of these.

  A norm has as many as the output of the convolution before it; the first is
  the one behind the first convolution.
  """
  norms = {layer.path for layer in layers if layer.kind == "norm"}
  convolutions = [layer for layer in layers if layer.path not in norms]
  moved = normalised = first = 0
  for i, layer in enumerate(convolutions):
    both = math.prod(layer.input) + layer.outputs
    if train:
      both *= 3 if i else 2
    moved += both
    if layer.path.removesuffix("conv") + "norm" in norms:
      normalised += layer.outputs
      first += 0 if i else layer.outputs
  return moved, normalised, first
