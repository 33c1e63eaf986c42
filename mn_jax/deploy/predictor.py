"""Classifies images with a trained network, its BatchNorm folded.

The network is that of a run, or one with published weights. Its weights may be
stored and computed with in another precision than it was trained in.
"""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from mn_jax.deploy import folded
from mn_jax.deploy import trained as trained_lib
from mn_jax.metrics import predictions
from mn_jax.metrics.predictions import Predictions
from mn_jax.run import reopen, split_data

# Maps any number of images u8[r, r, 3] to the outputs of each, in order.
Forward = Callable[[Iterable[np.ndarray]], Iterator[folded.Outputs]]


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained network and the way its images are read.

  Attributes:
    classes: names of the classes, in the order of the logits.
    read_image: decodes an image file into u8[r, r, 3]; raises a DecodeError.
    outputs: maps any number of such images to the outputs of each, in order.
    multi_label: whether an image may have several labels, so that each class
      has a probability of its own.
    note: what its user should know of it, or ''.
  """

  classes: tuple[str, ...]
  read_image: Callable[[bytes], np.ndarray]
  outputs: Forward
  multi_label: bool = False
  note: str = ""

  def logits(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields f32[classes] for each of any number of images u8[r, r, 3]."""
    return (output.logits for output in self.outputs(images))

  def probabilities(self, images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yields f64[classes] for each of any number of images u8[r, r, 3]."""
    return map(self.probabilities_of, self.logits(images))

  def probabilities_of(self, logits: np.ndarray) -> np.ndarray:
    """Returns f64[..., classes] of logits f32[..., classes]."""
    return predictions.probabilities(logits, multi_label=self.multi_label)

  def features(self, images: Iterable[np.ndarray]) -> np.ndarray:
    """Returns f32[n, channels], the features of n >= 1 images u8[r, r, 3]."""
    return np.stack([output.features for output in self.outputs(images)])


def from_workdir(
  path: pathlib.Path, *, precision: str | None = None, batch_size: int = 32
) -> Predictor:
  """Loads the best checkpoint of a run, or the newest if none was validated.

  Args:
    path: the run's workdir.
    precision: a name in `folded.PRECISIONS`; None for the run's compute type.
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
    precision: a name in `folded.PRECISIONS`; None for the run's compute type.
    batch_size: largest number of images in a batch.
  """
  return fold(
    trained_lib.from_run(run), precision=precision, batch_size=batch_size
  )


def from_trained(
  trained: trained_lib.Trained, network: folded.Folded, *, batch_size: int
) -> Predictor:
  """Makes a predictor of a network that is folded already.

  Args:
    trained: the network with its weights.
    network: the same, folded.
    batch_size: largest number of images in a batch.
  """
  return Predictor(
    classes=trained.classes,
    read_image=trained.read_image,
    outputs=functools.partial(network.outputs, batch_size=batch_size),
    multi_label=trained.multi_label,
    note=trained.note,
  )


def fold(
  trained: trained_lib.Trained,
  *,
  precision: str | None = None,
  batch_size: int = 32,
) -> Predictor:
  """Makes a predictor of a network, whose BatchNorm it folds.

  Args:
    trained: the network with its weights.
    precision: a name in `folded.PRECISIONS`; None for that of its training.
    batch_size: largest number of images in a batch.
  """
  network = folded.Folded(
    trained.network,
    trained.variables,
    resolution=trained.resolution,
    precision=precision or trained.dtype,
  )
  return from_trained(trained, network, batch_size=batch_size)


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
    precision: a name in `folded.PRECISIONS`.
  """
  predictor = from_run(
    run, precision=precision, batch_size=run.config.eval.batch_size
  )
  images = (data.cache.images[row] for row in rows)
  logits = np.stack([*predictor.logits(images)])
  labels = data.cache.labels[rows]
  return Predictions(
    ids=rows.astype(np.int32),
    labels=labels,
    logits=logits,
    losses=predictions.losses(logits, labels),
  )
