"""Classifies images with a trained network, its BatchNorm folded.

The network is that of a run, or one with published weights. Its weights may be
stored and computed with in another precision than it was trained in.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence

import jax
import numpy as np
import scipy.special

from mn_jax.augment import inputs
from mn_jax.data import decode
from mn_jax.errors import InputError
from mn_jax.metrics import predictions
from mn_jax.metrics.predictions import Predictions
from mn_jax.models import folding, quantize, registry, variables
from mn_jax.parallel import batching
from mn_jax.run import reopen, split_data
from mn_jax.weights import imagenet
from mn_jax.weights import pretrained as pretrained_lib

# Maps any number of images u8[r, r, 3] to the logits f32[classes] of each.
Logits = Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]


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


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained network and the way its images are read.

  Attributes:
    classes: names of the classes, in the order of the logits.
    read_image: decodes an image file into u8[r, r, 3]; raises a DecodeError.
    logits: maps any number of such images to their logits f32[classes], in
      order.
    note: what its user should know of it, or ''.
  """

  classes: tuple[str, ...]
  read_image: Callable[[bytes], np.ndarray]
  logits: Logits
  note: str = ""

  def probabilities(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields f32[classes] for each of any number of images u8[r, r, 3]."""
    return map(scipy.special.softmax, self.logits(images))


def from_weights(
  path: str,
  network: registry.Network,
  *,
  classes: Sequence[str] = (),
  precision: str = "float32",
  batch_size: int = 32,
) -> Predictor:
  """Loads a network with published weights, which sees the centre of images.

  A classifier of one logit gets two classes: the sigmoid of the logit is the
  probability of the second.

  Args:
    path: file of the weights, as `weights.pretrained.load` reads them.
    network: the network that they are of; the number of classes is taken from
      the file.
    classes: their names, in the order of the logits; () for those of ImageNet
      or numbers.
    precision: a name in PRECISIONS.
    batch_size: largest number of images in a batch.

  Raises:
    InputError: if the file does not fit, has no classifier or one that is not
      the network's own, or if it has another number of classes than names.
  """
  loaded = pretrained_lib.load(path, network)
  origin, count = loaded.origin, loaded.origin.num_classes
  if origin.head_problem:
    raise InputError(
      f"model.weights: got {path!r}, whose head is not that of {network.name} "
      f"({origin.head_problem}); valid: a file with the network's own head, or "
      "training, which replaces the head (model.transfer)"
    )
  if not count:
    raise InputError(
      f"model.weights: got {path!r}, which has no classifier; valid: a file "
      "with the top layers"
    )
  names = tuple(classes) or _class_names(count)
  if len(names) != count:
    raise InputError(
      f"--classes: got {len(names)} names; valid: {count}, as {path!r} has "
      "classes"
    )
  network = dataclasses.replace(loaded.network, num_classes=count, head="own")
  conventions = network.conventions
  values = variables.initial_values(
    registry.build(network), conventions.resolution, seed=0
  )
  values = pretrained_lib.insert(
    dataclasses.replace(loaded, network=network), values
  )

  def read_image(data: bytes) -> np.ndarray:
    return decode.resize_and_crop(
      decode.decode(data),
      conventions.resolution,
      share=conventions.crop,
      interpolation=conventions.interpolation,
    )

  return Predictor(
    classes=names,
    read_image=read_image,
    logits=compile_logits(
      network, values, resolution=0, precision=precision, batch_size=batch_size
    ),
    note=(
      f"{origin.file} has one logit; its sigmoid is the probability of "
      f"{names[1]!r}"
      if origin.one_logit
      else ""
    ),
  )


def _class_names(count: int) -> tuple[str, ...]:
  names = tuple(imagenet.names())
  if count == len(names):
    return names
  return tuple(f"class {i}" for i in range(count))


def from_workdir(
  path: pathlib.Path, *, precision: str | None = None, batch_size: int = 32
) -> Predictor:
  """Loads the best checkpoint of a run, or the newest if none was validated.

  Args:
    path: the run's workdir.
    precision: a name in PRECISIONS; None for the run's compute type.
    batch_size: largest number of images in a batch.

  Raises:
    InputError: if the folder is not that of a run, or has no checkpoint.
  """
  return from_run(
    reopen.open_run(path), precision=precision, batch_size=batch_size
  )


def from_run(
  run: reopen.SavedRun, *, precision: str | None = None, batch_size: int = 32
) -> Predictor:
  """Makes a predictor of an opened run, which sees images as in training.

  Images of sizes that training dropped are resized, without regard to their
  aspect ratio.

  Args:
    run: the run, opened at the checkpoint to be used.
    precision: a name in PRECISIONS; None for the run's compute type.
    batch_size: largest number of images in a batch.
  """
  return Predictor(
    classes=run.classes,
    read_image=run.read_image,
    logits=compile_logits(
      run.network,
      run.variables,
      resolution=run.config.model.resolution,
      precision=precision or run.config.model.dtype,
      batch_size=batch_size,
    ),
  )


def predict_rows(
  run: reopen.SavedRun,
  data: split_data.SplitData,
  rows: np.ndarray,
  *,
  precision: str,
) -> Predictions:
  """Predicts images of a run's data set with its folded network.

  `SavedRun.predict` does so with the evaluation step of training.

  Args:
    run: the run, opened at the checkpoint to be used.
    data: the run's data set.
    rows: i64[n], rows of the packed images.
    precision: a name in PRECISIONS.
  """
  predictor = from_run(
    run, precision=precision, batch_size=run.config.eval.batch_size
  )
  images = (data.cache.images[row] for row in rows)
  logits = np.stack([*predictor.logits(images)])
  labels = data.cache.labels[rows]
  log_probabilities = scipy.special.log_softmax(logits, axis=1)
  return Predictions(
    ids=rows.astype(np.int32),
    labels=labels,
    logits=logits,
    losses=-log_probabilities[np.arange(len(rows)), labels],
  )


def compile_logits(
  network: registry.Network,
  values: dict,
  *,
  resolution: int,
  precision: str,
  batch_size: int,
) -> Logits:
  """Folds a network's BatchNorm; it is compiled when it is first applied.

  Args:
    network: definition of the network.
    values: its variables, not folded yet.
    resolution: input size in pixels; 0: that of the images.
    precision: a name in PRECISIONS.
    batch_size: largest number of images in a batch.

  Returns:
    A function that raises a RunError for logits that are not finite.
  """
  chosen, conventions = PRECISIONS[precision], network.conventions
  module = registry.build(network, dtype=chosen.dtype, folded=True)
  folded = folding.fold(values, epsilon=conventions.epsilon)
  params = folded["params"]
  if chosen.int8:
    params = quantize.quantize(params)
  else:
    backbone = jax.tree.map(
      lambda x: x.astype(chosen.dtype), params["backbone"]
    )
    params = {**params, "backbone": backbone}
  stored = jax.device_put({**folded, "params": params})

  @jax.jit
  def apply(stored: dict, images: jax.Array) -> jax.Array:
    x = inputs.to_input(
      images, resolution=resolution, mean=conventions.mean, std=conventions.std
    )
    params = quantize.dequantize(stored["params"])
    return module.apply({**stored, "params": params}, x, False)[0]

  def logits(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    return map(
      predictions.check_finite,
      batching.apply_in_batches(
        functools.partial(apply, stored), images, batch_size=batch_size
      ),
    )

  return logits
