"""StableHLO: a file that JAX alone runs, this version of it or a later one.

A process that has nothing of this package:

  from jax import export
  exported = export.deserialize(bytearray(open("model.stablehlo", "rb").read()))
  outputs = jax.jit(exported.call)(images)
  outputs["probabilities"], outputs["logits"]
"""

from collections.abc import Callable
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from jax import export as jax_export

from mn_jax.errors import InputError, in_one_line
from mn_jax.export import fitting, packages
from mn_jax.export.options import OUTPUTS, Options
from mn_jax.export.session import Outputs, Session
from mn_jax.export.source import Source
from mn_jax.models import quantize

# One program for all of them; which one runs it decides when it is called.
PLATFORMS = ("cpu", "cuda", "rocm", "tpu")
_ANY = 8  # pixels of an image by which a file is tried


def export(
  source: Source,
  options: Options,
  *,
  description: str,
  calibration: np.ndarray | None = None,
) -> bytes:
  """Makes the file of a network.

  Its program maps the batch, by position, to a dictionary of `OUTPUTS`, f32[
  batch, classes] each. It runs on CPUs, GPUs and TPUs.

  Args:
    source: the network.
    options: that `files.check` accepts; any batch and size may be left open.
    description: not used, as the format has no room for it.
    calibration: not used, as activations stay f32.

  Raises:
    InputError: without the package flatbuffers, or for weights that float16
      cannot hold.
  """
  del description, calibration
  check_packages()
  exported = jax_export.export(
    jax.jit(_program(source, options)), platforms=PLATFORMS
  )(_images(source, options))
  return bytes(exported.serialize())


def open_bytes(data: bytes, *, threads: int = 1) -> Session:
  """Opens a file; it is compiled for each shape of images that it gets.

  Args:
    data: its content.
    threads: not used, as XLA has those of the process.

  Raises:
    InputError: without the package flatbuffers, or if it is not such a file.
  """
  del threads
  check_packages()
  try:
    exported = jax_export.deserialize(bytearray(data))
    (images,) = exported.in_avals
    names = exported.out_tree.unflatten(exported.out_avals).keys()
    if names != {*OUTPUTS} or images.ndim != 4:
      raise ValueError(f"a program of {images} that gives {', '.join(names)}")
    tried = [n if isinstance(n, int) else _ANY for n in images.shape]
    program = jax.jit(exported.call)
    program.lower(jax.ShapeDtypeStruct(tried, images.dtype))
  except Exception as error:  # of flatbuffers and of MLIR, of many kinds
    raise InputError(
      "file: got what is no StableHLO of this package "
      f"({in_one_line(error)}); valid: a file of mn-jax export "
      "--to=stablehlo"
    ) from None

  def run(batch: np.ndarray) -> Outputs:
    found = program(batch)
    return Outputs(*(np.asarray(found[name]) for name in OUTPUTS))

  batch = images.shape[0]
  return Session(
    run=run, batch=batch if isinstance(batch, int) else None, metadata=""
  )


def check_packages() -> None:
  """Refuses an environment without what `export` needs.

  Raises:
    InputError: naming the package.
  """
  packages.require("flatbuffers")


def _images(source: Source, options: Options) -> jax.ShapeDtypeStruct:
  """The argument of the program, of sizes that may be open."""
  sizes = options.size or ("height", "width")
  dtype = np.uint8
  if options.input == "normalised":
    sizes, dtype = (source.resolution, source.resolution), np.float32
  dimensions = (options.batch or "batch", *sizes, 3)
  shape = jax_export.symbolic_shape(", ".join(map(str, dimensions)))
  return jax.ShapeDtypeStruct(shape, dtype)


def _program(
  source: Source, options: Options
) -> Callable[[jax.Array], dict[str, jax.Array]]:
  """Returns the function that maps images to the outputs."""
  stored = _stored(source.variables["params"], options.precision)

  def program(images: jax.Array) -> dict[str, jax.Array]:
    # Arrays of JAX, so that what follows is part of the program: of NumPy's the
    # file would have the results.
    params = jax.tree.map(jnp.asarray, stored)
    params = jax.tree.map(_widened, quantize.dequantize(params))
    variables = {**source.variables, "params": params}
    x = fitting.to_network(source, options, images)
    logits, _ = source.module.apply(variables, x, False)
    found = Outputs(source.probabilities(logits), logits)
    return found._asdict()

  return program


def _widened(x: jax.Array) -> jax.Array:
  return x.astype(jnp.float32)


def _stored(params: dict, precision: str) -> dict[str, Any]:
  """Returns parameters as the file has them."""
  if precision == "float32":
    return params
  flat = flax.traverse_util.flatten_dict(params)
  kernels = {path for path in flat if path[-1] == "kernel"}
  if precision == "float16":
    halved = kernels
  elif precision != "int8_weights":
    raise ValueError(f"StableHLO has no precision {precision!r}")
  else:
    # Depthwise kernels are a hundredth of the weights, and most of what is lost
    # in 8 bits.
    halved = {x for x in kernels if flat[x].ndim == 4 and flat[x].shape[2] == 1}
    small = flax.traverse_util.flatten_dict(quantize.quantize(params))
    flat |= {path: small[path] for path in kernels - halved}
  flat |= {path: _half(path, flat[path], precision) for path in halved}
  return flax.traverse_util.unflatten_dict(flat)


def _half(
  path: tuple[str, ...], kernel: np.ndarray, precision: str
) -> np.ndarray:
  """Returns a kernel as float16.

  Raises:
    InputError: if it cannot hold a value.
  """
  with np.errstate(over="ignore"):
    half = kernel.astype(np.float16)
  if np.isinf(half).any() and np.isfinite(kernel).all():
    raise InputError(
      f"precision: got {precision}, in which {'/'.join(path)} overflows "
      f"({np.abs(kernel).max():.3g}, as float16 ends at 65504); valid: float32"
    )
  return half
