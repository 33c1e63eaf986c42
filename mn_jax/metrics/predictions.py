"""A network's answers for a split, on the host, and their file."""

import dataclasses
import pathlib
import zipfile

import numpy as np

from mn_jax.data import atomic
from mn_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Predictions:
  """The network's answers for a split.

  Attributes:
    ids: i32[n], rows of the packed cache.
    labels: i32[n].
    logits: f32[n, classes].
    losses: f32[n], cross-entropy in nats.
  """

  ids: np.ndarray
  labels: np.ndarray
  logits: np.ndarray
  losses: np.ndarray

  def probabilities(self) -> np.ndarray:
    """f64[n, classes], the softmax of the logits."""
    shifted = self.logits.astype(np.float64)
    shifted -= shifted.max(axis=1, keepdims=True)
    exp = np.exp(shifted)
    return exp / exp.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class Answers:
  """Predictions with all that is needed to judge them without the data set.

  Attributes:
    predictions: of a whole part.
    names: str[n], of the images.
    groups: str[n], of the images; None where the data set knows none.
    classes: in the order of the logits.
    positive: the class that is looked for, or None.
  """

  predictions: Predictions
  names: np.ndarray
  groups: np.ndarray | None
  classes: tuple[str, ...]
  positive: int | None

  def write(self, path: pathlib.Path) -> None:
    """Writes an .npz file, at once or not at all."""
    groups = np.array([], "U1") if self.groups is None else self.groups
    # Through an open file: by a name, NumPy adds a suffix that it lacks.
    with atomic.writing(path) as file:
      np.savez_compressed(
        file,
        **vars(self.predictions),
        names=self.names,
        groups=groups,
        classes=np.array(self.classes),
        positive=-1 if self.positive is None else self.positive,
      )


def read(path: pathlib.Path) -> Answers:
  """The answers of a file that `Answers.write` wrote.

  Raises:
    InputError: if there is none, or it is something else.
  """
  try:
    with np.load(path, allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    fields = dataclasses.fields(Predictions)
    predictions = Predictions(**{f.name: arrays[f.name] for f in fields})
    count = len(predictions.labels)
    shapes = {array.shape for array in vars(predictions).values()}
    logits = (count, len(arrays["classes"]))
    if shapes != {(count,), logits} or len(arrays["names"]) != count:
      raise ValueError(f"arrays of {sorted(shapes)}")
    groups, positive = arrays["groups"], int(arrays["positive"])
  except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as why:
    raise InputError(
      f"predictions: {path} cannot be read ({why}); valid: a file that a run "
      "or `mn_jax.tools.evaluate --output` wrote"
    ) from None
  return Answers(
    predictions=predictions,
    names=arrays["names"],
    groups=groups if len(groups) else None,
    classes=tuple(arrays["classes"].tolist()),
    positive=None if positive < 0 else positive,
  )
