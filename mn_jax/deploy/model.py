"""The model object of Python's users: predict, features, explain, export."""

import functools
import os
import pathlib
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import numpy.typing as npt

from mn_jax.config import paths
from mn_jax.deploy import folded, image_input, predictor
from mn_jax.deploy.image_input import Images
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError
from mn_jax.explain import saliency
from mn_jax.export import description, files
from mn_jax.export.options import Options
from mn_jax.metrics import predictions
from mn_jax.models import counting, registry
from mn_jax.models.classifier import Classifier
from mn_jax.run import reopen

_EXPLAINED = 8  # images at once; their gradients take memory
_NAMED = 4  # classes that `repr` names


class Model:
  """An image classifier with its weights.

  Made by `mn_jax.load`, `mn_jax.create_model` and `mn_jax.fit`. Wherever a
  method takes images, these are one or several of: the path of an image (`str`
  or `Path`), a `uint8` array in [0, 255] of shape [h, w, 3] or [n, h, w, 3]
  (also grey, [h, w] or 1 channel, and RGBA, whose transparency is ignored), or
  a `PIL.Image`. Sizes may differ; each image is turned upright, resized and
  cropped as the network was trained. Rows of results are in the order of the
  images.

  Example:
    >>> model = mn_jax.load("runs/pets")
    >>> probabilities = model.predict(["photos/1.jpg", "photos/2.jpg"])
    >>> [model.classes[i] for i in probabilities.argmax(axis=1)]
    ['cat', 'dog']
  """

  def __init__(
    self,
    trained: Trained,
    *,
    precision: str | None = None,
    run: reopen.SavedRun | None = None,
    summary: Mapping[str, Any] | None = None,
  ):
    """Use `mn_jax.load` or `mn_jax.create_model` instead.

    Args:
      trained: the network with its weights.
      precision: a name in `folded.PRECISIONS`; None for that of its training.
      run: that it is of; None without one.
      summary: results of that run.

    Raises:
      InputError: for an unknown precision.
    """
    precision = precision or trained.dtype
    if precision not in folded.PRECISIONS:
      raise InputError(
        f"precision: got {precision!r}; valid: {', '.join(folded.PRECISIONS)}"
      )
    self._trained, self._precision = trained, precision
    self._run, self._summary = run, summary
    self._warned = False

  @property
  def name(self) -> str:
    """Name of the network, such as 'mobilenet_v2'."""
    return self._trained.network.name

  @property
  def classes(self) -> tuple[str, ...]:
    """Names of the classes, in the order of the columns of `predict`."""
    return self._trained.classes

  @property
  def resolution(self) -> int:
    """Height and width of the network's input, in pixels."""
    return self._trained.resolution or self._trained.image_size

  @property
  def num_params(self) -> int:
    """Number of trainable parameters."""
    return counting.count_params(self._trained.variables)[0]

  @property
  def summary(self) -> Mapping[str, Any] | None:
    """Results of its run, the content of `summary.json`; None without.

    Metrics are called 'val/NAME' and 'test/NAME'.
    """
    return self._summary

  @property
  def workdir(self) -> pathlib.Path | None:
    """Folder of its run; None for a model of other origin."""
    return None if self._run is None else self._run.path

  @property
  def multi_label(self) -> bool:
    """Whether an image may have several labels: `predict` then gives each."""
    return self._trained.multi_label

  @property
  def module(self) -> Classifier:
    """The network as a Flax Linen module, for code of your own.

    `model.module.apply(model.variables, x, False)` maps normalised images
    f32[n, h, w, 3] to logits f32[n, classes] and feature maps by name.
    """
    return registry.build(self._trained.network, dtype=self._trained.dtype)

  @property
  def variables(self) -> dict[str, Any]:
    """Its 'params' and 'batch_stats', trees of f32 NumPy arrays."""
    return self._trained.variables

  def saved_run(self) -> reopen.SavedRun:
    """The run that it is of, as `mn_jax.evaluate` needs it.

    Raises:
      InputError: if it is of none, or predicts in another precision.
    """
    if self._run is None:
      raise InputError(
        f"model: got {self!r}, which is of no run; valid: a model of "
        "mn_jax.fit, or mn_jax.load(WORKDIR)"
      )
    if self._precision != self._trained.dtype:
      raise InputError(
        f"model: got one that predicts in {self._precision}; valid: one that "
        f"is loaded without precision, in {self._trained.dtype}"
      )
    return self._run

  def __repr__(self) -> str:
    names = ", ".join(map(repr, self.classes[:_NAMED]))
    if len(self.classes) > _NAMED:
      names += ", ..."
    facts = [
      f"{len(self.classes)} classes ({names})",
      f"input {self.resolution}x{self.resolution}",
      f"{self.num_params:,} parameters",
    ]
    if self._precision != "float32":
      facts.append(self._precision)
    if self._run is not None:
      facts.append(f"step {self._run.step} of {str(self._run.path)!r}")
    if self._trained.random:
      facts.append(f"{self._trained.random} randomly initialised")
    if self._trained.note:
      facts.append(self._trained.note)
    return f"<mn_jax.Model {self.name}: {', '.join(facts)}>"

  def predict(
    self, images: Images, *, batch_size: int = 32
  ) -> npt.NDArray[np.float32]:
    """Computes the probabilities of the classes.

    The same files in the same order give, bit for bit, what `mn-jax predict`
    prints. In batches of other sizes the last bits may differ.

    Args:
      images: one or several, see the class.
      batch_size: images at once. However many images there are, programs are
        compiled for few sizes of batches.

    Returns:
      f32[n, classes] in [0, 1]; one image has a row as well. Rows sum to 1, or,
      where an image may have several labels, each number is by itself the
      probability of a label.

    Raises:
      InputError: for images that cannot be read, naming them.
      RunError: if the network's outputs are not finite.

    Example:
      >>> model.predict("photo.jpg").argmax()
      1
      >>> model.predict(np.zeros((5, 64, 64, 3), np.uint8)).shape
      (5, 3)
    """
    self._warn("head", "network")
    chosen = predictor.from_trained(
      self._trained, self._folded, batch_size=_checked(batch_size)
    )
    rows = list(chosen.probabilities(image_input.read(images, self._trained)))
    return np.array(rows, np.float32).reshape(-1, len(self.classes))

  def features(
    self, images: Images, *, batch_size: int = 32
  ) -> npt.NDArray[np.float32]:
    """Computes features, the mean of the backbone's last feature map.

    Args:
      images: one or several, see the class.
      batch_size: images at once.

    Returns:
      f32[n, d]; d depends on the network, 1280 for mobilenet_v2.

    Raises:
      InputError: for images that cannot be read, naming them.
      RunError: if the network's outputs are not finite.

    Example:
      >>> features = model.features(paths)
      >>> sklearn.neighbors.NearestNeighbors().fit(features)
    """
    self._warn("network")
    pixels = image_input.read(images, self._trained)
    size = _checked(batch_size)
    rows = list(self._folded.features(pixels, batch_size=size))
    return np.stack(rows) if rows else np.zeros((0, self.num_features), "f")

  def prepare(self, images: Images) -> npt.NDArray[np.uint8]:
    """Returns images as the network sees them, before normalisation.

    Args:
      images: one or several, see the class.

    Returns:
      u8[n, r, r, 3], upright, resized and cropped.

    Raises:
      InputError: for images that cannot be read, naming them.

    Example:
      >>> plt.imshow(model.prepare("photo.jpg")[0])
    """
    size = self._trained.image_size
    rows = list(image_input.read(images, self._trained))
    return np.stack(rows) if rows else np.zeros((0, size, size, 3), np.uint8)

  def explain(
    self,
    images: Images,
    classes: str | int | Sequence[str | int] | None = None,
    *,
    method: str = "grad_cam",
  ) -> npt.NDArray[np.float32]:
    """Computes saliency maps: which pixels raise the logit of a class.

    No such map proves what a network has learned.

    Args:
      images: one or several, see the class.
      classes: the class to explain, by name or index: one for all images, or
        one for each; None for the most probable of each.
      method: 'grad_cam', 'gradient', 'smooth_grad' or 'integrated_gradients'.

    Returns:
      f32[n, resolution, resolution], of any scale. Not negative, except that
      integrated gradients are so where a pixel lowers the logit.

    Raises:
      InputError: for images that cannot be read, naming them, and for an
        unknown class or method.
      RunError: if the network's outputs are not finite.

    Example:
      >>> heat = model.explain("photo.jpg")[0]
      >>> plt.imshow(heat)
    """
    if method not in saliency.METHODS:
      raise InputError(
        f"method: got {method!r}; valid: {', '.join(saliency.METHODS)}"
      )
    pixels = self.prepare(images)
    chosen = self._trained.class_indices(classes, len(pixels))
    self._warn("head", "network")
    maps = [np.zeros((0, self.resolution, self.resolution), np.float32)]
    size = min(_EXPLAINED, 1 << max(0, len(pixels) - 1).bit_length())
    for start in range(0, len(pixels), size):
      # The last batch is padded to the shape of the others.
      rows = np.arange(start, start + size).clip(max=len(pixels) - 1)
      logits = predictions.check_finite(
        self._explainer.logits(self.variables, pixels[rows])
      )
      explained = logits.argmax(axis=1) if chosen is None else chosen[rows]
      found = self._explainer.explain(
        method, self.variables, pixels[rows], explained
      )
      maps.append(found[: len(pixels) - start])
    return np.concatenate(maps)

  def export(
    self,
    path: str | os.PathLike[str],
    *,
    format: str | None = None,
    precision: str = "float32",
    batch: int | None = None,
    input: str = "pixels",
    size: tuple[int, int] | None = None,
    calibration: Images | None = None,
  ) -> pathlib.Path:
    """Writes it as a file for another runtime: LiteRT, ONNX or StableHLO.

    The file maps decoded images u8[n, h, w, 3], RGB, to 'probabilities' and
    'logits', f32[n, classes] each. Resizing may round otherwise than `predict`.
    `PATH.json` beside it describes them. `mn-jax export` measures what is lost.

    Args:
      path: of the file, such as 'model.onnx'.
      format: 'litert', 'onnx' or 'stablehlo'; None for that of the suffix:
        .tflite, .onnx or .stablehlo.
      precision: 'float32', 'float16' or 'int8_weights', in which kernels are
        stored, or 'int8_full', in which it also computes.
      batch: number of images of a call; None for any.
      input: 'pixels', or 'normalised' for images f32[n, r, r, 3] as the network
        itself takes them.
      size: height and width of the images; None for any, of LiteRT for those of
        `prepare`.
      calibration: training images for 'int8_full', some hundreds.

    Returns:
      The path.

    Raises:
      InputError: without a package of the extra 'export', for an
        option that the format does not have, or a file that cannot be written.

    Example:
      >>> path = model.export("pets.stablehlo")
      >>> exported = jax.export.deserialize(bytearray(path.read_bytes()))
      >>> images = np.zeros((2, 300, 400, 3), np.uint8)
      >>> jax.jit(exported.call)(images)["probabilities"].shape
      (2, 3)
    """
    self._warn("head", "network")
    place = paths.local(os.fsdecode(path), "path")
    images = None
    if calibration is not None:
      images = files.Calibration(self.prepare(calibration), "given")
    made = files.make(
      self._trained,
      files.form_of(place) if format is None else format,
      Options(precision=precision, batch=batch, input=input, size=size),
      origin=description.origin_of(self._run),
      calibration=images,
    )
    return files.write(made, place)

  @functools.cached_property
  def num_features(self) -> int:
    """Number of features of an image, the channels of the last feature map."""
    pixels = jax.ShapeDtypeStruct(
      (1, self._trained.image_size, self._trained.image_size, 3), np.uint8
    )
    shapes = jax.eval_shape(self._folded.apply, self._folded.stored, pixels)
    return shapes[1].shape[1]

  @functools.cached_property
  def _folded(self) -> folded.Folded:
    return folded.Folded(
      self._trained.network,
      self._trained.variables,
      resolution=self._trained.resolution,
      precision=self._precision,
    )

  @functools.cached_property
  def _explainer(self) -> saliency.Explainer:
    return saliency.Explainer(
      self.module,
      self._trained.network.conventions,
      resolution=self._trained.resolution,
    )

  def _warn(self, *parts: str) -> None:
    """Warns once of results that mean nothing, as one of the parts is random.

    To be called right by what the user has called.
    """
    if self._trained.random in parts and not self._warned:
      self._warned = True
      warnings.warn(
        f"the {self._trained.random} of this {self.name} is randomly "
        "initialised: these results mean nothing yet",
        stacklevel=3,
      )


def _checked(batch_size: int) -> int:
  is_number = isinstance(batch_size, int | np.integer)
  if not is_number or isinstance(batch_size, bool) or batch_size < 1:
    raise InputError(f"batch_size: got {batch_size!r}; valid: 1 or more")
  return int(batch_size)
