"""Judges exported files: each is run by its own runtime on labelled images.

What it answers is compared with the network's own answers, in float32 with
folded BatchNorm.
"""

import dataclasses
import hashlib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from mn_jax.deploy import folded
from mn_jax.deploy.trained import Trained
from mn_jax.errors import RunError
from mn_jax.export import source as source_lib
from mn_jax.export.files import File
from mn_jax.export.options import Options
from mn_jax.export.session import Outputs, Session
from mn_jax.metrics import bootstrap, classification, comparison
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.predictions import Predictions

# Metrics that are shown, as far as the images have them.
METRICS = (
  *("accuracy", "balanced_accuracy", "auroc", "macro_auroc"),
  *("label_accuracy", "exact_match"),
)
_ROUNDED = 0.02  # of probabilities; 8 bits round them by 0.004 and less
_BATCH = 32  # images at once, where a file takes any number
_RESAMPLES = 1000  # of ten classes; with more of them a resample takes longer
_LEAST_RESAMPLES = 200


@dataclasses.dataclass(frozen=True)
class Part:
  """Labelled images that files are judged on.

  Attributes:
    name: 'val' or 'test' of a run's split, or 'images'.
    pixels: u8[m, r, r, 3], as `Trained.fit_image` makes them.
    rows: i64[n], which of them are used.
    labels: i32[n], or u8[n, classes] where an image may have several.
    groups: str[n], what is resampled; None where each image is by itself.
    positive: index of the positive class, or None.
  """

  name: str
  pixels: np.ndarray
  rows: np.ndarray
  labels: np.ndarray
  groups: np.ndarray | None
  positive: int | None

  def images(self) -> Iterator[np.ndarray]:
    """Yields u8[r, r, 3], image by image."""
    return (self.pixels[row] for row in self.rows.tolist())

  def digest(self) -> str:
    """Returns the SHA-256 of the images and their labels, in order."""
    digest = hashlib.sha256(np.ascontiguousarray(self.labels))
    for image in self.images():
      digest.update(np.ascontiguousarray(image))
    return digest.hexdigest()

  def predictions(self, logits: np.ndarray) -> Predictions:
    """Returns logits f32[n, classes] with the labels."""
    return Predictions(
      ids=self.rows.astype(np.int32),
      labels=self.labels,
      logits=logits,
      losses=predictions_lib.losses(logits, self.labels),
    )


@dataclasses.dataclass(frozen=True)
class Verdict:
  """What a file answers on a part, compared with the network itself.

  Attributes:
    images: their number.
    images_sha256: `Part.digest`.
    before, after: metrics of the network, and of the file.
    differences: metric -> after minus before, with a paired 95 % interval.
    changed: images that get another class, or of which any label changes.
    lost, gained: images that were right and are wrong, and the reverse; of
      several labels per image those of which all labels are right.
    largest_logit_difference, mean_logit_difference: of all classes.
    largest_logit: of the network, by magnitude.
    largest_probability_difference: of the file's own probabilities.
    resampled: whether the images were enlarged for the file, which differs in
      what it sees then.
  """

  images: int
  images_sha256: str
  before: Mapping[str, float]
  after: Mapping[str, float]
  differences: Mapping[str, Interval]
  changed: int
  lost: int
  gained: int
  largest_logit_difference: float
  mean_logit_difference: float
  largest_logit: float
  largest_probability_difference: float
  resampled: bool

  @property
  def deciding(self) -> str:
    """The metric that decides whether a file has lost too much."""
    names = ("balanced_accuracy", "macro_auroc", "accuracy", "label_accuracy")
    return next(x for x in names if np.isfinite(self.before.get(x, np.nan)))

  @property
  def loss(self) -> float:
    """How much of the deciding metric is lost; negative if it is higher."""
    return -self.differences[self.deciding].value

  def numbers(self) -> dict[str, Any]:
    """Returns all of it by name, nested dataclasses as they are."""
    return {**vars(self), "deciding": self.deciding, "loss": self.loss}


class Judge:
  """Runs files on parts, whose answers by the network are computed once."""

  def __init__(self, trained: Trained, parts: Sequence[Part]):
    """Computes nothing of the network yet.

    Args:
      trained: the network.
      parts: labelled images.
    """
    self._source = source_lib.of(trained)
    self._parts = parts
    self._before: dict[str, Predictions] = {}
    self._digests = {part.name: part.digest() for part in parts}
    self._network = folded.Folded(
      trained.network,
      trained.variables,
      resolution=trained.resolution,
      precision="float32",
    )
    self._normalise = jax.jit(self._source.normalise)

  def judge(self, file: File) -> dict[str, Verdict]:
    """Judges a file on every part.

    Raises:
      InputError: if its runtime is not installed.
      RunError: if it fails, gives logits that are not finite, or other
        probabilities than those of its logits.
    """
    running = file.open()
    return {
      part.name: self._compare(part, file, running) for part in self._parts
    }

  def _compare(self, part: Part, file: File, running: Session) -> Verdict:
    if part.name not in self._before:
      logits = self._network.logits(part.images(), batch_size=_BATCH)
      self._before[part.name] = part.predictions(np.stack([*logits]))
    before = self._before[part.name]
    outputs = self._outputs(part, file, running)
    predictions_lib.check_finite(outputs.logits)
    trained = self._source.trained
    after = part.predictions(outputs.logits)
    gap = np.abs(outputs.probabilities - after.probabilities()).max()
    if not gap <= _ROUNDED:
      raise RunError(
        f"its probabilities are not those of its logits, by up to {gap:.2g}"
      )
    return _verdict(
      before,
      after,
      outputs.probabilities,
      part,
      digest=self._digests[part.name],
      resampled=is_resampled(
        file.options, size=trained.image_size, crop=trained.crop
      ),
    )

  def _outputs(self, part: Part, file: File, running: Session) -> Outputs:
    """Runs a file on all images; the last batch is padded to the others."""
    trained, size = self._source.trained, running.batch or _BATCH
    images, batches = part.images(), []
    while batch := list(itertools.islice(images, size)):
      padded = np.stack(batch + batch[:1] * (size - len(batch)))
      fed = as_input(
        padded, file.options, size=trained.image_size, crop=trained.crop
      )
      if file.options.input == "normalised":
        fed = np.asarray(self._normalise(fed))
      found = running.run(fed)
      batches.append(Outputs(*(x[: len(batch)] for x in found)))
    return Outputs(*(np.concatenate(x) for x in zip(*batches, strict=True)))


def is_resampled(options: Options, *, size: int, crop: float | None) -> bool:
  """Whether `as_input` enlarges images, which a file then makes small again."""
  if options.input == "normalised" or options.size is None:
    return False
  side = _before_crop(size, crop)
  return options.size not in ((size, size), (side, side))


def as_input(
  images: np.ndarray, options: Options, *, size: int, crop: float | None
) -> np.ndarray:
  """Returns images from which a file makes the ones that are given.

  What it would crop is put around them.

  Args:
    images: u8[batch, size, size, 3], as `Trained.fit_image` makes them.
    options: of the file; of normalised input the images stay as they are.
    size, crop: `image_size` and `crop` of the network.

  Returns:
    u8[batch, h, w, 3].
  """
  if options.input == "normalised" or options.size == (size, size):
    return images
  side = _before_crop(size, crop)
  images = _centred(images, (side, side))
  if options.size in (None, (side, side)):
    return images
  inner = options.size if crop is None else (min(options.size),) * 2
  enlarged = [
    np.asarray(Image.fromarray(x).resize(inner[::-1], Image.Resampling.BICUBIC))
    for x in images
  ]
  return _centred(np.stack(enlarged), options.size)


def _before_crop(size: int, crop: float | None) -> int:
  """Height and width of an image of which a border is cropped, not resized."""
  return size if crop is None else int(size / crop)


def _centred(images: np.ndarray, size: tuple[int, int]) -> np.ndarray:
  """Puts images in the middle of larger ones, their edges continued."""
  margins = [
    ((outer - inner) // 2, outer - inner - (outer - inner) // 2)
    for outer, inner in zip(size, images.shape[1:3], strict=True)
  ]
  return np.pad(images, ((0, 0), *margins, (0, 0)), mode="edge")


def _verdict(
  before: Predictions,
  after: Predictions,
  probabilities: np.ndarray,
  part: Part,
  *,
  digest: str,
  resampled: bool,
) -> Verdict:
  metrics = [
    {
      name: value
      for name, value in classification.summarize(
        x, positive=part.positive
      ).items()
      if name in METRICS
    }
    for x in (before, after)
  ]
  differences = comparison.on_images(
    after,
    before,
    positive=part.positive,
    groups=part.groups,
    resamples=bootstrap.affordable(before, _resamples(before)),
  )
  was, now = (_right(x) for x in (before, after))
  changed = before.predicted() != after.predicted()
  if before.multi_label:
    changed = changed.any(axis=1)
  gaps = np.abs(after.logits - before.logits)
  return Verdict(
    images=len(part.rows),
    images_sha256=digest,
    before=metrics[0],
    after=metrics[1],
    differences={name: differences[name] for name in metrics[0]},
    changed=int(changed.sum()),
    lost=int((was & ~now).sum()),
    gained=int((now & ~was).sum()),
    largest_logit_difference=float(gaps.max()),
    mean_logit_difference=float(gaps.mean()),
    largest_logit=float(np.abs(before.logits).max()),
    largest_probability_difference=float(
      np.abs(probabilities - before.probabilities()).max()
    ),
    resampled=resampled,
  )


def _resamples(predictions: Predictions) -> int:
  """Each computes the AUROC of every class, of both networks."""
  classes = predictions.logits.shape[1]
  return max(_LEAST_RESAMPLES, min(_RESAMPLES, 10 * _RESAMPLES // classes))


def _right(predictions: Predictions) -> np.ndarray:
  """Returns bool[n], whether an image is right, of several labels in all."""
  right = predictions.predicted() == predictions.labels
  return right.all(axis=1) if predictions.multi_label else right
