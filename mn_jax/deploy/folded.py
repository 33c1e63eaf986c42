"""A network for inference: BatchNorm folded, in a precision of its own."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import jax
import numpy as np

from mn_jax.augment import inputs
from mn_jax.metrics import predictions
from mn_jax.models import folding, quantize, registry
from mn_jax.parallel import batching, image_groups


@dataclasses.dataclass(frozen=True)
class Precision:
  """How a folded network's weights are stored and its products computed.

  Attributes:
    dtype: compute type of the backbone: 'float32' or 'bfloat16'.
    int8: whether kernels are stored as 8-bit integers; if not, those of the
      backbone are stored in the compute type, those of the head in float32.
  """

  dtype: str
  int8: bool = False


PRECISIONS = {
  "float32": Precision("float32"),
  "bfloat16": Precision("bfloat16"),
  "int8": Precision("float32", int8=True),
  "int8_bfloat16": Precision("bfloat16", int8=True),
}


class Outputs(NamedTuple):
  """What a network computes of an image.

  Attributes:
    logits: f32[classes].
    features: f32[d], the mean over the pixels of the backbone's last feature
      map.
  """

  logits: np.ndarray
  features: np.ndarray


class Folded:
  """A folded network, compiled for each number of images that it gets.

  Attributes:
    stored: its parameters and statistics, on the device.
    program: (stored, images) -> Outputs, compiled; see `apply`.
  """

  def __init__(
    self,
    network: registry.Network,
    values: dict,
    *,
    resolution: int,
    precision: str,
  ):
    """Folds the network's BatchNorm; compiles nothing yet.

    Args:
      network: definition of the network.
      values: its variables, not folded yet.
      resolution: input size in pixels; 0: that of the images.
      precision: a name in PRECISIONS.
    """
    chosen = PRECISIONS[precision]
    self._conventions, self._resolution = network.conventions, resolution
    self._module = registry.build(network, dtype=chosen.dtype, folded=True)
    folded = folding.fold(values, epsilon=network.conventions.epsilon)
    params = folded["params"]
    if chosen.int8:
      params = quantize.quantize(params)
    else:
      backbone = jax.tree.map(
        lambda x: x.astype(chosen.dtype), params["backbone"]
      )
      params = {**params, "backbone": backbone}
    self.stored = jax.device_put({**folded, "params": params})
    self.program = jax.jit(self._compute)

  def apply(
    self, stored: dict, images: jax.Array
  ) -> tuple[jax.Array, jax.Array]:
    """Computes the outputs of a batch, to be traced by JAX.

    Args:
      stored: as the attribute.
      images: u8[batch, h, w, 3].

    Returns:
      Logits f32[batch, classes] and features f32[batch, d], the mean of the
      backbone's last feature map.
    """
    x = inputs.to_input(
      images,
      resolution=self._resolution,
      mean=self._conventions.mean,
      std=self._conventions.std,
    )
    params = quantize.dequantize(stored["params"])
    logits, maps = self._module.apply({**stored, "params": params}, x, False)
    return logits, maps["pooled"]

  def _compute(self, stored: dict, images: jax.Array) -> Outputs:
    return image_groups.apply(
      lambda group: Outputs(*self.apply(stored, group)), images
    )

  def outputs(
    self, images: Iterable[np.ndarray], *, batch_size: int
  ) -> Iterator[Outputs]:
    """Yields logits and features of each of any number of images.

    Args:
      images: u8[h, w, 3], all of one size.
      batch_size: largest number of images in a batch.

    Raises:
      RunError: for logits that are not finite.
    """
    for output in batching.apply_in_batches(
      functools.partial(self.program, self.stored),
      images,
      batch_size=batch_size,
    ):
      predictions.check_finite(output.logits)
      yield output

  def logits(
    self, images: Iterable[np.ndarray], *, batch_size: int
  ) -> Iterator[np.ndarray]:
    """Yields the logits f32[classes] of each image; see `outputs`."""
    return (x.logits for x in self.outputs(images, batch_size=batch_size))

  def features(
    self, images: Iterable[np.ndarray], *, batch_size: int
  ) -> Iterator[np.ndarray]:
    """Yields the features f32[d] of each image; see `outputs`."""
    return (x.features for x in self.outputs(images, batch_size=batch_size))
