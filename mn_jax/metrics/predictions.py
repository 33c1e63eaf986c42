"""A network's predictions for a part of a split, on the host and as a file."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import scipy.special

from mn_jax.data import atomic
from mn_jax.errors import InputError, RunError, in_one_line

_ATTRIBUTE = "attribute:"  # before the names of attributes in a file


def check_finite(logits: np.ndarray) -> np.ndarray:
  """Returns logits of any shape.

  Raises:
    RunError: if one is not finite: then no class and no probability means
      anything.
  """
  if not np.isfinite(logits).all():
    raise RunError(
      "the network's logits are not finite: its weights are not, or a product "
      "overflows; valid: another checkpoint, weights or precision"
    )
  return logits


@dataclasses.dataclass(frozen=True)
class Predictions:
  """A network's outputs for images, with their labels.

  Attributes:
    ids: i32[n], rows of the packed cache.
    labels: i32[n], indices of the classes; multi-label u8[n, classes], 1 for
      every label that an image has.
    logits: f32[n, classes].
    losses: f32[n], in nats: the cross-entropy; multi-label the binary
      cross-entropy, mean over the labels.
  """

  ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  losses: np.ndarray

  @property
  def multi_label(self) -> bool:
    """Whether an image can have any number of labels, not exactly one."""
    return self.labels.ndim == 2

  def take(self, rows: np.ndarray) -> "Predictions":
    """Returns the predictions of some images, i64[m] of the n."""
    return Predictions(**{k: values[rows] for k, values in vars(self).items()})

  def is_of(self, label: int) -> np.ndarray:
    """Returns bool[n], whether images are of a class, or have a label."""
    if self.multi_label:
      return self.labels[:, label] > 0
    return self.labels == label

  def probabilities(self) -> np.ndarray:
    """Returns f64[n, classes]: the softmax, or the sigmoid of every label."""
    return probabilities(self.logits, multi_label=self.multi_label)

  def predicted(self) -> np.ndarray:
    """Returns what is predicted: the likeliest class, or the likely labels.

    Returns:
      i64[n], the classes of the highest logits; multi-label u8[n, classes], 1
      for each label with a probability of at least 0.5.
    """
    if self.multi_label:
      return (self.logits >= 0).astype(np.uint8)
    return self.logits.argmax(axis=1)

  def most_confident_errors(self, count: int) -> np.ndarray:
    """Returns i64[k], k <= count: indices of wrong images, the surest first.

    Multi-label there are none, as an image is right or wrong for each label.
    """
    if self.multi_label:
      return np.array([], np.int64)
    predicted = self.predicted()
    wrong = np.flatnonzero(predicted != self.labels)
    confidence = self.probabilities()[wrong, predicted[wrong]]
    return wrong[np.argsort(-confidence, kind="stable")[:count]]


def probabilities(logits: np.ndarray, *, multi_label: bool) -> np.ndarray:
  """Returns f64[..., classes], the probabilities that logits stand for.

  Args:
    logits: f32[..., classes].
    multi_label: whether they are those of independent labels, each its sigmoid,
      not of classes that exclude each other, together their softmax.
  """
  logits = logits.astype(np.float64)
  if multi_label:
    return scipy.special.expit(logits)
  return scipy.special.softmax(logits, axis=-1)


def losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
  """Returns f32[n], the loss of each image as in `Predictions`, in nats.

  Args:
    logits: f[n, classes].
    labels: i[n]; or u8[n, classes] where an image may have several.
  """
  logits = logits.astype(np.float64)
  if labels.ndim == 2:
    signed = np.where(labels > 0, logits, -logits)
    return -scipy.special.log_expit(signed).mean(axis=1).astype(np.float32)
  log_probabilities = scipy.special.log_softmax(logits, axis=1)
  return -log_probabilities[np.arange(len(labels)), labels].astype(np.float32)


@dataclasses.dataclass(frozen=True)
class NamedPredictions:
  """Predictions with the names that make them readable without the data set.

  Attributes:
    predictions: of a part of a split.
    names: str[n], names of the images.
    groups: str[n], groups of the images; None if the data set has none.
    classes: names of the classes, in the order of the logits.
    positive: index of the positive class, or None.
    attributes: str[n] by name, what else is known of the images.
  """

  predictions: Predictions
  names: np.ndarray
  groups: np.ndarray | None
  classes: tuple[str, ...]
  positive: int | None
  attributes: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)

  @property
  def shown_classes(self) -> list[int]:
    """The positive class; or all classes, each against the rest."""
    if self.positive is not None:
      return [self.positive]
    return list(range(len(self.classes)))

  def take(self, rows: np.ndarray) -> "NamedPredictions":
    """Returns the predictions of some images, i64[m] of the n."""
    return dataclasses.replace(
      self,
      predictions=self.predictions.take(rows),
      names=self.names[rows],
      groups=None if self.groups is None else self.groups[rows],
      attributes={k: values[rows] for k, values in self.attributes.items()},
    )

  def write(self, path: pathlib.Path, *, logits: type | None = None) -> None:
    """Writes an .npz file, which appears complete or not at all.

    Args:
      path: of the file.
      logits: np.float16 or np.float32 for a small file, with logits of this
        type and without names and losses: an image is its row in the packed
        cache then, and its loss that of the logits; None to write everything.
    """
    arrays = {**vars(self.predictions), "names": self.names}
    if logits is not None:
      del arrays["losses"], arrays["names"]
      arrays["logits"] = self.predictions.logits.astype(logits)
    groups = np.array([], "U1") if self.groups is None else self.groups
    # Through an open file: NumPy appends a suffix to a name that lacks it.
    with atomic.writing(path) as file:
      np.savez_compressed(
        file,
        **arrays,
        groups=groups,
        classes=np.array(self.classes),
        positive=-1 if self.positive is None else self.positive,
        **{_ATTRIBUTE + k: values for k, values in self.attributes.items()},
      )


def read(path: pathlib.Path) -> NamedPredictions:
  """Reads a file of predictions.

  In a small file, which has neither names nor losses, the name of an image is
  its row in the packed cache.

  Raises:
    InputError: if there is none, or it is not such a file.
  """
  try:
    # NumPy would leave a file open that it cannot read.
    with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    arrays["logits"] = arrays["logits"].astype(np.float32, copy=False)
    if "losses" not in arrays:
      arrays["losses"] = losses(arrays["logits"], arrays["labels"])
    if "names" not in arrays:
      arrays["names"] = arrays["ids"].astype(np.str_)
    fields = dataclasses.fields(Predictions)
    predictions = Predictions(**{f.name: arrays[f.name] for f in fields})
    attributes = {
      name.removeprefix(_ATTRIBUTE): values
      for name, values in arrays.items()
      if name.startswith(_ATTRIBUTE)
    }
    columns = [arrays["ids"], arrays["losses"], arrays["names"]]
    _check_shapes(
      predictions, [*columns, *attributes.values()], len(arrays["classes"])
    )
    groups, positive = arrays["groups"], int(arrays["positive"])
  except Exception as error:  # zipfile raises whatever a broken file leads to
    raise InputError(
      f"predictions: {path} cannot be read ({in_one_line(error)}); valid: a "
      "file that a run or `mn_jax.tools.evaluate --output` wrote"
    ) from None
  return NamedPredictions(
    predictions=predictions,
    names=arrays["names"],
    groups=groups if len(groups) else None,
    classes=tuple(arrays["classes"].tolist()),
    positive=None if positive < 0 else positive,
    attributes=attributes,
  )


def _check_shapes(
  predictions: Predictions, columns: Sequence[np.ndarray], classes: int
) -> None:
  """Raises a ValueError if arrays of a file do not fit together.

  Args:
    predictions: with labels of either shape.
    columns: all that has one value for each image.
    classes: number of classes.
  """
  labels, logits = predictions.labels, predictions.logits
  count = len(labels)
  shapes = {column.shape for column in columns}
  valid = [(count,), (count, classes)]
  if (
    shapes != {(count,)}
    or logits.shape != (count, classes)
    or labels.shape not in valid
  ):
    shapes |= {labels.shape, logits.shape}
    raise ValueError(f"arrays of {sorted(shapes)}")


def group_codes(
  predictions: Predictions, groups: np.ndarray | None
) -> np.ndarray:
  """Returns i64[n]: the index of each image's group, by the order of names.

  Without groups, each image is one, in the order of ids. So nothing that uses
  the codes depends on the order of the predictions.

  Args:
    predictions: of n images.
    groups: [n] numbers or names of the images' groups, or None.

  Raises:
    InputError: if there are no images, or not a group for each.
  """
  if not len(predictions.ids):
    raise InputError("predictions: got none; valid: at least one image")
  if groups is None:
    groups = predictions.ids
  if len(groups) != len(predictions.ids):
    raise InputError(
      f"groups: got {len(groups)} for {len(predictions.ids)} images; valid: "
      "one for each"
    )
  return np.unique(groups, return_inverse=True)[1]
