"""Exports a network as StableHLO: one file that JAX alone runs, any later one.

The program takes decoded images of any size and gives probabilities: resizing,
cropping and normalisation are part of it, and BatchNorm is folded. A small JSON
file beside it describes it. A process that has nothing of this package:

  from jax import export
  exported = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
  probabilities = jax.jit(exported.call)(images)  # u8[n, h, w, 3]
"""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from mn_jax.data import atomic
from mn_jax.deploy.folded import Folded
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError

# One program for all of them; which one runs it decides when it is called.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


def export(
  trained: Trained, network: Folded, path: pathlib.Path, version: str
) -> pathlib.Path:
  """Writes a network to a file, and its description to `PATH.json`.

  Args:
    trained: the network with its weights.
    network: the same, folded.
    path: of the file.
    version: of this package, for the description.

  Returns:
    The path of the file.

  Raises:
    InputError: without the package flatbuffers, or for a file that cannot be
      written.
  """
  if importlib.util.find_spec("flatbuffers") is None:
    raise InputError(
      "export: got an environment without flatbuffers; valid: after pip "
      "install 'mn_jax[export]'"
    )
  batch, height, width = jax_export.symbolic_shape("batch, height, width")
  images = jax.ShapeDtypeStruct((batch, height, width, 3), np.uint8)
  exported = jax_export.export(
    jax.jit(_program(trained, network)), platforms=PLATFORMS
  )(images)
  description = {
    "format": "StableHLO, as jax.export serializes it",
    "network": trained.network.name,
    "classes": list(trained.classes),
    "input": {
      "dtype": "uint8",
      "shape": ["batch", "height", "width", 3],
      "channels": "RGB in [0, 255]",
      "resized_to": trained.image_size,
      "cropped_share": trained.crop,
      "interpolation": trained.interpolation,
      "resolution": trained.resolution or trained.image_size,
    },
    "output": {
      "dtype": "float32",
      "shape": ["batch", len(trained.classes)],
      "meaning": (
        "probability of each label"
        if trained.multi_label
        else "probabilities of the classes"
      ),
    },
    "platforms": list(PLATFORMS),
    "conventions": dataclasses.asdict(trained.network.conventions),
    "versions": {"mn_jax": version, "jax": jax.__version__},
  }
  try:
    atomic.write_bytes(path, exported.serialize())
    atomic.write_json(path.with_name(f"{path.name}.json"), description)
  except OSError as error:
    raise InputError(
      f"path: got {str(path)!r}, which cannot be written ({error.strerror}); "
      "valid: a file that you may write"
    ) from None
  return path


def _program(
  trained: Trained, network: Folded
) -> Callable[[jax.Array], jax.Array]:
  """Returns the function u8[batch, h, w, 3] -> f32[batch, classes]."""
  activation = jax.nn.sigmoid if trained.multi_label else jax.nn.softmax

  def program(images: jax.Array) -> jax.Array:
    fitted = fit(
      images,
      trained.image_size,
      crop=trained.crop,
      interpolation=trained.interpolation,
    )
    logits, _ = network.apply(network.stored, fitted)
    return activation(logits)

  return program


def fit(
  images: jax.Array, size: int, *, crop: float | None, interpolation: str
) -> jax.Array:
  """Resizes and crops images as `data.decode` does, for any height and width.

  Pixels differ by rounding, at most by a few of 255 levels; images that have
  the size already are not changed where nothing is cropped of them.

  Args:
    images: u8[batch, h, w, 3]; h and w may be symbolic.
    size: height and width of the result in pixels.
    crop: share of the short side that the middle square has; None: resized
      without regard to the aspect ratio.
    interpolation: 'bilinear' or 'bicubic'.

  Returns:
    u8[batch, size, size, 3].
  """
  height, width = (jnp.asarray(n, jnp.int32) for n in images.shape[1:3])
  if crop is None:
    resized = (jnp.int32(size), jnp.int32(size))
    corner = (jnp.int32(0), jnp.int32(0))
  else:
    short = jnp.minimum(height, width)
    # Rounded down, as there.
    resized = tuple(int(size / crop) * n // short for n in (height, width))
    corner = tuple((n - size) // 2 for n in resized)
  scale = [a / b for a, b in zip(resized, (height, width), strict=True)]

  def same(images: jax.Array) -> jax.Array:
    # Of another size this is not called; indices keep the shapes right.
    rows, columns = (
      jnp.minimum(jnp.arange(size), n - 1) for n in (height, width)
    )
    return images[:, rows][:, :, columns]

  def other(images: jax.Array) -> jax.Array:
    x = jax.image.scale_and_translate(
      images.astype(jnp.float32),
      (images.shape[0], size, size, 3),
      spatial_dims=(1, 2),
      scale=jnp.stack(scale).astype(jnp.float32),
      translation=-jnp.stack(corner).astype(jnp.float32),
      method={"bilinear": "linear", "bicubic": "cubic"}[interpolation],
      antialias=True,
    )
    return jnp.round(x.clip(0, 255)).astype(jnp.uint8)

  if crop is not None and int(size / crop) != size:
    return other(images)
  is_fit = (height == size) & (width == size)
  return jax.lax.cond(is_fit, same, other, images)
