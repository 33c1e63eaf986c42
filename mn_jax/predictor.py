"""A trained network for images that come one by one, BatchNorm folded."""

import dataclasses
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from mn_jax import checkpoint, workdir
from mn_jax.augment import inputs
from mn_jax.data import decode
from mn_jax.errors import InputError
from mn_jax.models import folding, registry, variables
from mn_jax.models.classifier import Classifier
from mn_jax.weights import imagenet
from mn_jax.weights import pretrained as pretrained_lib


@dataclasses.dataclass(frozen=True)
class Predictor:
  """What classifies images.

  Attributes:
    classes: their names, in the order of the logits.
    prepare: u8[h, w, 3] of any size -> u8[r, r, 3], the same size for all.
    probabilities: u8[batch, r, r, 3] -> f32[batch, classes].
  """

  classes: tuple[str, ...]
  prepare: Callable[[np.ndarray], np.ndarray]
  probabilities: Callable[[np.ndarray], np.ndarray]


def from_weights(path: str, network: registry.Network) -> Predictor:
  """A network with published weights, which sees the middle of the image.

  Args:
    path: see `weights.pretrained.load`.
    network: which; its number of classes is taken from the file.

  Raises:
    InputError: if the file does not fit, or has no classifier.
  """
  loaded = pretrained_lib.load(path, network)
  count = loaded.origin.num_classes
  if not count:
    raise InputError(
      f"model.weights: got {path!r}, which has no classifier; valid: a file "
      "with the top layers"
    )
  network = dataclasses.replace(loaded.network, num_classes=count, head="own")
  conventions = network.conventions
  values = variables.initial_values(
    registry.build(network), conventions.resolution, seed=0
  )
  values = pretrained_lib.insert(
    dataclasses.replace(loaded, network=network), values
  )
  names = imagenet.names()
  if count != len(names):
    names = [f"class {i}" for i in range(count)]

  def prepare(image: np.ndarray) -> np.ndarray:
    return decode.resize_and_crop(
      image,
      conventions.resolution,
      share=conventions.crop,
      interpolation=conventions.interpolation,
    )

  return Predictor(
    classes=tuple(names),
    prepare=prepare,
    probabilities=_compile(
      registry.build(network, folded=True), conventions, values, resolution=0
    ),
  )


def from_workdir(path: pathlib.Path) -> Predictor:
  """The best checkpoint of a run, which sees images as in training.

  Where other sizes were dropped in training, they are squeezed here.

  Raises:
    InputError: if the folder is not that of a run, or has no checkpoint.
  """
  described = workdir.read_object(path / "network.json")
  finished = (path / "summary.json").exists()
  summary = {"best_step": None}
  if finished:
    summary = workdir.read_object(path / "summary.json")
  try:
    network = registry.from_dict(described["network"])
    module = registry.build(network, dtype=described["dtype"], folded=True)
    size, resolution = described["image_size"], described["resolution"]
    fit = decode.FITS[described["other_sizes"]]
    classes, step = tuple(described["classes"]), summary["best_step"]
    if len(classes) != network.num_classes:
      raise ValueError(f"{len(classes)} classes, {network.num_classes} logits")
  except (KeyError, TypeError, ValueError) as error:
    raise InputError(
      f"--workdir: got {str(path)!r}, whose network.json or summary.json "
      f"cannot be understood ({error}); valid: the folder of a run of this "
      "version"
    ) from None
  return Predictor(
    classes=classes,
    prepare=lambda image: fit(image, size),
    probabilities=_compile(
      module,
      network.conventions,
      checkpoint.read_variables(path, step),
      resolution=resolution,
    ),
  )


def _compile(
  module: Classifier,
  conventions: registry.Conventions,
  values: dict,
  *,
  resolution: int,
) -> Callable[[np.ndarray], np.ndarray]:
  """`Predictor.probabilities` of a network for folded BatchNorm.

  Args:
    module: the network.
    conventions: its input's.
    values: its variables, not folded yet.
    resolution: of its input in pixels; 0: as the images are.
  """
  folded = jax.device_put(folding.fold(values, epsilon=conventions.epsilon))

  @jax.jit
  def apply(values: dict, images: jax.Array) -> jax.Array:
    x = inputs.to_input(
      images,
      resolution=resolution,
      mean=conventions.mean,
      std=conventions.std,
    )
    return jax.nn.softmax(module.apply(values, x, False)[0])

  return lambda images: np.asarray(apply(folded, images))
