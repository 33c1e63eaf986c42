"""Exports a network as LiteRT, formerly TensorFlow Lite: a file for phones.

The file has one signature, 'serving_default': 'images' in, 'probabilities' and
'logits' out. `convert` makes it from what JAX traces, `quantize` gives it other
precisions, `flatbuffer` reads and changes it. TensorFlow is not needed
anywhere.
"""

import functools

import jax
import numpy as np
from PIL import Image

from mn_jax.errors import InputError, RunError, in_one_line
from mn_jax.export import packages
from mn_jax.export import session as session_lib
from mn_jax.export.litert import convert, flatbuffer, quantize, quiet, resize
from mn_jax.export.options import OUTPUTS, Options
from mn_jax.export.source import Source

_PACKAGES = ("ai_edge_litert", "ai_edge_quantizer", "litert_converter")


def export(
  source: Source,
  options: Options,
  *,
  description: str,
  calibration: np.ndarray | None = None,
) -> bytes:
  """Makes a LiteRT file of a network.

  Args:
    source: the network.
    options: what the file is; it has a size.
    description: JSON, which becomes metadata of the file.
    calibration: u8[n, image_size, image_size, 3], images of training as
      `Trained.fit_image` makes them, for 'int8_full'.

  Returns:
    The content of the file.

  Raises:
    InputError: without the extra 'export', for an option that LiteRT does not
      have, or weights that the precision cannot hold.
  """
  check_packages()
  if options.size is None:
    raise InputError(
      "size: got none; valid: height and width, which are fixed in a LiteRT "
      "file"
    )
  # A batch of 1 is an axis that the converter may drop.
  images = jax.ShapeDtypeStruct(
    (options.batch or 2, *options.size, 3),
    np.uint8 if options.input == "pixels" else np.float32,
  )
  content = convert.convert(
    functools.partial(_program, source, options), images, OUTPUTS
  )
  if options.precision == "int8_full":
    content = quantize.quantize(
      content, _batches(source, options, images, calibration)
    )
  elif options.precision != "float32":
    content = quantize.store_kernels(content, options.precision)
  any_batch = options.batch is None
  content = flatbuffer.finish(content, description, any_batch=any_batch)
  if any_batch:
    _check_batches(open_bytes(content), images)
  return content


def open_bytes(data: bytes, *, threads: int = 1) -> session_lib.Session:
  """Opens a LiteRT file that `export` made.

  Args:
    data: content of the file.
    threads: that a call uses.

  Raises:
    InputError: without the extra 'export', or for a file that is damaged or
      not from here.
  """
  check_packages()
  metadata = flatbuffer.description(data)
  from ai_edge_litert import interpreter as runtime

  try:
    # Verifies the flatbuffer before anything of it is used.
    with quiet.quiet():
      interpreter = runtime.Interpreter(model_content=data, num_threads=threads)
      interpreter.allocate_tensors()
    runner = interpreter.get_signature_runner(convert.SIGNATURE)
    inputs, outputs = runner.get_input_details(), runner.get_output_details()
  except (ValueError, RuntimeError) as error:
    raise InputError(
      f"LiteRT file: got one that its runtime refuses ({in_one_line(error)}); "
      "valid: a file that mn-jax export wrote"
    ) from None
  found = (tuple(inputs), set(outputs))
  if found != ((convert.INPUT,), set(OUTPUTS)):
    raise InputError(
      f"LiteRT file: got {', '.join(inputs)} -> {', '.join(outputs)}; valid: "
      f"{convert.INPUT} -> {', '.join(OUTPUTS)}"
    )
  shape = tuple(int(n) for n in inputs[convert.INPUT]["shape_signature"])
  dtype = inputs[convert.INPUT]["dtype"]

  def run(images: np.ndarray) -> session_lib.Outputs:
    _check_images(images, shape, dtype)
    try:
      outputs = runner(**{convert.INPUT: images})
    except (ValueError, RuntimeError) as error:
      raise RunError(f"LiteRT failed: {in_one_line(error)}") from None
    return session_lib.Outputs(*(outputs[name] for name in OUTPUTS))

  batch = None if shape[0] < 0 else shape[0]
  return session_lib.Session(run, batch, metadata)


def _program(
  source: Source, options: Options, images: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Computes probabilities and logits of images, to be traced by JAX."""
  if options.input == "pixels":
    # Rounded to 8 bits while it is resized, an image would lose too much.
    with jax.named_scope(quantize.FLOAT_SCOPE):
      images = resize.to_resolution(source, options, images)
    images = source.normalise(images)
  logits = source.logits(images)
  return source.probabilities(logits), logits


def _batches(
  source: Source,
  options: Options,
  taken: jax.ShapeDtypeStruct,
  calibration: np.ndarray | None,
) -> list[np.ndarray]:
  """Returns images of training as the file takes them."""
  if calibration is None or not len(calibration):
    raise InputError(
      "calibration: got no images for int8_full; valid: some of training"
    )
  images = calibration
  if options.input == "normalised":
    images = np.asarray(source.normalise(images))
  elif images.shape[1:3] != taken.shape[1:3]:
    images = np.stack([_placed(source, x, taken.shape[1:3]) for x in images])
  count = taken.shape[0]
  starts = range(0, len(images), count)
  # The last batch is filled up with the first images.
  return [
    images.take(range(start, start + count), axis=0, mode="wrap")
    for start in starts
  ]


def _placed(
  source: Source, image: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
  """Returns u8[*size, 3] of which the file sees about this image."""
  if source.trained.crop is None:  # all of it is seen
    return np.asarray(Image.fromarray(image).resize(size[::-1]))
  side = source.trained.image_size
  seen = round(min(size) * side / int(side / source.trained.crop))
  image = np.asarray(Image.fromarray(image).resize((seen, seen)))
  edges = [((n - seen) // 2, n - seen - (n - seen) // 2) for n in size]
  return np.pad(image, (*edges, (0, 0)), mode="edge")


def _check_batches(
  session: session_lib.Session, images: jax.ShapeDtypeStruct
) -> None:
  """Refuses a file that computes something else of several images at once."""
  random = np.random.default_rng(0)
  batch = random.integers(0, 256, (3, *images.shape[1:])).astype(images.dtype)
  try:
    together = session.run(batch).logits
    alone = [session.run(batch[i : i + 1]).logits for i in range(len(batch))]
    # A network that diverged is the same, too.
    is_same = np.allclose(
      together, np.concatenate(alone), rtol=1e-3, atol=1e-3, equal_nan=True
    )
  except (RunError, ValueError):
    is_same = False
  if not is_same:
    raise InputError(
      "batch: got any number of images, which this network's LiteRT file "
      "cannot take; valid: a number of images"
    )


def check_packages() -> None:
  """Refuses an environment without what `export` needs.

  Raises:
    InputError: naming the package.
  """
  packages.require(*_PACKAGES)


def _check_images(
  images: np.ndarray, shape: tuple[int, ...], dtype: type
) -> None:
  """Refuses images that are not as the file's input; the runtime resizes it."""
  expected = images.shape[:1] if shape[0] < 0 else shape[:1]
  expected = (*expected, *shape[1:])
  if images.shape != expected or images.dtype != dtype or not len(images):
    of_batch = "batch" if shape[0] < 0 else shape[0]
    size = ", ".join(map(str, (of_batch, *shape[1:])))
    raise InputError(
      f"images: got {images.dtype}{list(images.shape)}; valid: "
      f"{np.dtype(dtype)}[{size}]"
    )
