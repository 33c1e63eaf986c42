"""What a run knows of its own images, to tell how strange a new one is.

At its end a run writes `reference.npz`: features of training images, and how
far validation images are from them. The file carries a digest of its arrays.
"""

import dataclasses
import functools
import hashlib
import io
import pathlib
import zipfile
from typing import Protocol

import numpy as np

from mn_jax.data import atomic
from mn_jax.errors import InputError, in_one_line
from mn_jax.metrics import out_of_distribution, predictions
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.run import records
from mn_jax.run.reopen import SavedRun
from mn_jax.run.split_data import SplitData
from mn_jax.train.state import TrainState

NAME = "reference.npz"
# Images of training, and of validation. Features of so many training images are
# 5 MB for the 1,280 channels of a MobileNetV2.
MAX_IMAGES = 2048


@dataclasses.dataclass(frozen=True)
class Reference:
  """Features of training images, and the scores of validation images.

  Attributes:
    step: of the checkpoint that computed them.
    mean, spread: f32[channels], `out_of_distribution.moments` of the features
      of training images.
    features: f16[m, channels], of training images, without mean and spread.
    names: str[m], their names.
    labels: their labels: i32[m], or u8[m, classes] of several labels.
    distances: f32[v], from validation images to the training images, as
      `out_of_distribution.Neighbours` computes them.
    energies: f32[v], of the validation images.
  """

  step: int
  mean: np.ndarray
  spread: np.ndarray
  features: np.ndarray
  names: np.ndarray
  labels: np.ndarray
  distances: np.ndarray
  energies: np.ndarray

  @property
  def multi_label(self) -> bool:
    """Whether an image can have any number of labels, not exactly one."""
    return self.labels.ndim == 2

  @functools.cached_property
  def _neighbours(self) -> out_of_distribution.Neighbours:
    return out_of_distribution.Neighbours(self.features)

  def percentiles(
    self, features: np.ndarray, logits: np.ndarray
  ) -> tuple[np.ndarray, np.ndarray]:
    """Compares new images with those of validation.

    Args:
      features: f32[n, channels], by the network of this reference.
      logits: f32[n, classes], of the same images.

    Returns:
      Two f64[n], the percentages of validation images that are nearer to the
      training images, and of those with a lower energy.
    """
    distances = self._neighbours.distances((features - self.mean) / self.spread)
    energies = out_of_distribution.energies(
      logits, multi_label=self.multi_label
    )
    return tuple(
      out_of_distribution.percentiles(
        scores.astype(np.float32), np.sort(validation)
      )
      for scores, validation in (
        (distances, self.distances),
        (energies, self.energies),
      )
    )

  def nearest(
    self, features: np.ndarray, count: int
  ) -> tuple[np.ndarray, np.ndarray]:
    """Finds the training images that are nearest to new ones.

    Args:
      features: f32[n, channels], by the network of this reference.
      count: training images for each; at most m are taken.

    Returns:
      i64[n, count], places in `names`, nearest first, and f64[n, count], the
      distances that `percentiles` judges one of.
    """
    return self._neighbours.nearest(
      (features - self.mean) / self.spread, neighbours=count
    )


class Setup(Protocol):
  """The set-up of a run (`run.setup.Setup`), as this module needs it."""

  data: SplitData

  def predict_with_features(
    self, state: TrainState, rows: np.ndarray
  ) -> tuple[Predictions, np.ndarray]:
    """Predictions and features f32[n, channels] for rows i64[n]."""


def compute(setup: Setup, state: TrainState, step: int) -> Reference:
  """Computes a run's reference by its compiled eval step.

  It takes as long as predicting 4,096 images, or all of training and validation
  if these are fewer. All processes of a run must call it.

  Args:
    setup: of the run.
    state: the one whose checkpoint is used from now on.
    step: of that checkpoint.
  """
  data = setup.data
  (training, features), (validation, validation_features) = (
    setup.predict_with_features(state, _spread(data, part))
    for part in ("train", "val")
  )
  mean, spread = out_of_distribution.moments(features)
  largest = np.finfo(np.float16).max
  kept = ((features - mean) / spread).clip(-largest, largest)
  kept = kept.astype(np.float16)
  distances = out_of_distribution.Neighbours(kept).distances(
    (validation_features - mean) / spread
  )
  energies = out_of_distribution.energies(
    validation.logits, multi_label=validation.multi_label
  )
  return Reference(
    step=step,
    mean=mean,
    spread=spread,
    features=kept,
    names=data.cache.names[training.ids],
    labels=training.labels,
    distances=distances.astype(np.float32),
    energies=energies.astype(np.float32),
  )


def _spread(data: SplitData, part: str) -> np.ndarray:
  """Returns i64[m], rows of at most MAX_IMAGES images, spread over a part."""
  count = min(MAX_IMAGES, len(data.part(part)))
  return data.spread(part, batches=1, batch_size=count)[0]


def write(folder: pathlib.Path, reference: Reference) -> None:
  """Writes `reference.npz` into a workdir, complete or not at all.

  The bytes depend on nothing but the reference.
  """
  arrays = {
    field.name: np.asarray(getattr(reference, field.name))
    for field in dataclasses.fields(reference)
  }
  arrays["sha256"] = np.array(_digest(arrays))
  # NumPy's own writer leaves the time of a member to the version of Python.
  with (
    atomic.writing(folder / NAME) as file,
    zipfile.ZipFile(file, "w") as archive,
  ):
    for name, array in arrays.items():
      member = zipfile.ZipInfo(f"{name}.npy")
      member.compress_type = zipfile.ZIP_DEFLATED
      content = io.BytesIO()
      np.lib.format.write_array(content, array, allow_pickle=False)
      archive.writestr(member, content.getvalue())


def read(folder: pathlib.Path) -> Reference:
  """Reads `reference.npz` of a workdir.

  Raises:
    FileNotFoundError: if there is none, as of a run that has not ended or is of
      an earlier version.
    DamagedError: if it is not what the run wrote.
    InputError: if it cannot be read.
  """
  path = folder / NAME
  try:
    content = path.read_bytes()
  except FileNotFoundError:
    raise
  except OSError as error:
    raise records.unreadable(path, error) from None
  try:
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
      arrays = {name: file[name] for name in file.files}
    if str(arrays.pop("sha256")) != _digest(arrays):
      raise ValueError("it is not as it was written")
    return Reference(**{**arrays, "step": int(arrays["step"])})
  except Exception as error:  # zipfile raises whatever a broken file leads to
    raise records.DamagedError(folder, NAME, in_one_line(error)) from None


def of_run(run: SavedRun) -> tuple[Reference | None, str]:
  """Reads a run's reference, if it has one of the opened checkpoint.

  Returns:
    The reference and '', or None and why there is none.

  Raises:
    DamagedError, InputError: as `read`.
  """
  try:
    reference = read(run.path)
  except FileNotFoundError:
    return None, (
      f"{run.path} has no {NAME}; a run writes it when it ends, one of an "
      "earlier version did not"
    )
  if reference.step != run.step:
    return None, (
      f"{NAME} is of step {reference.step}, the checkpoint of step {run.step}"
    )
  return reference, ""


def validation(run: SavedRun) -> NamedPredictions:
  """Reads a run's predictions for its validation part.

  Raises:
    InputError: if there are none of the opened checkpoint, or they cannot be
      read.
  """
  wrong = ""
  if not (run.path / "summary.json").exists():
    wrong = "has not ended"
  elif (step := records.read_summary(run.path)["best_step"]) != run.step:
    wrong = f"predicted the validation images at step {step}, not {run.step}"
  if wrong:
    raise InputError(
      f"--workdir: got {str(run.path)!r}, a run that {wrong}; valid: one that "
      "has ended and whose best checkpoint can be read"
    )
  return predictions.read(run.path / "predictions" / "val.npz")


def _digest(arrays: dict[str, np.ndarray]) -> str:
  """Returns the hex SHA-256 of named arrays: their kinds, shapes and values."""
  sha256 = hashlib.sha256()
  for name, array in sorted(arrays.items()):
    sha256.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
    sha256.update(np.ascontiguousarray(array).tobytes())
  return sha256.hexdigest()
