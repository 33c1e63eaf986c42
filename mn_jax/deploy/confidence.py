"""How far predictions of a run can be trusted, by its validation images.

Prediction sets, a temperature for the probabilities, and how strange an image
is. All of it is from files in the workdir; the data set is not needed.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np

from mn_jax.deploy import folded
from mn_jax.errors import InputError
from mn_jax.metrics import calibration, conformal
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.run import reference as reference_lib
from mn_jax.run.reopen import SavedRun


@dataclasses.dataclass(frozen=True)
class Judged:
  """A prediction for an image, and how far it can be trusted.

  Attributes:
    probabilities: f64[classes], at the temperature.
    classes: indices of the classes in the prediction set; None without sets.
    distance, energy: percentages of validation images that are nearer to the
      training images, and of those with a lower energy: near 100 for a strange
      image; None without a reference.
  """

  probabilities: np.ndarray
  classes: tuple[int, ...] | None
  distance: float | None
  energy: float | None


@dataclasses.dataclass(frozen=True)
class Confidence:
  """What validation images say about predictions.

  Attributes:
    multi_label: whether an image can have any number of labels.
    temperature: that logits are divided by for the probabilities.
    thresholds: of the prediction sets; None without sets.
    reference: of the run; None for no percentiles.
    notes: what a user should know of it, a line each.
  """

  multi_label: bool
  temperature: float = 1.0
  thresholds: conformal.Thresholds | None = None
  reference: reference_lib.Reference | None = None
  notes: tuple[str, ...] = ()

  def with_note(self, note: str) -> "Confidence":
    """The same with one note more."""
    return dataclasses.replace(self, notes=(*self.notes, note))

  def judge(self, outputs: Sequence[folded.Outputs]) -> Iterator[Judged]:
    """Judges the predictions of some images.

    Sets and energies are those of the logits as they are, at no temperature, as
    they were for the validation images.

    Args:
      outputs: of the network, for one image or more.
    """
    logits = np.stack([x.logits for x in outputs])

    def probabilities(logits: np.ndarray) -> np.ndarray:
      return predictions_lib.probabilities(logits, multi_label=self.multi_label)

    shown = probabilities(logits.astype(np.float64) / self.temperature)
    chosen = None
    if self.thresholds is not None:
      chosen = self.thresholds.sets(probabilities(logits))
    percentages = None
    if self.reference is not None:
      features = np.stack([x.features for x in outputs])
      percentages = np.stack(self.reference.percentiles(features, logits), 1)
    for i, row in enumerate(shown):
      distance, energy = (
        (None, None) if percentages is None else percentages[i].tolist()
      )
      classes = None
      if chosen is not None:
        classes = tuple(np.flatnonzero(chosen[i]).tolist())
      yield Judged(row, classes, distance, energy)


def of_run(
  run: SavedRun,
  *,
  alpha: float | None = None,
  marginal: bool = False,
  calibrated: bool = False,
) -> Confidence:
  """Reads what a run's validation images say.

  Args:
    run: opened at its best checkpoint.
    alpha: the share of prediction sets that may miss the class; None for no
      sets.
    marginal: whether that share is one of all classes together, not of each.
    calibrated: whether probabilities get the temperature that fits the
      validation part.

  Raises:
    InputError: for sets or a temperature if the run has no predictions for its
      validation part, or they do not allow them; DamagedError if its reference
      is damaged.
  """
  reference, missing = reference_lib.of_run(run)
  notes = [f"no out-of-distribution score: {missing}"] if missing else []
  thresholds, temperature = None, 1.0
  if alpha is not None or calibrated:
    validation = reference_lib.validation(run)
    if alpha is not None:
      thresholds = conformal.calibrate(
        validation, alpha=alpha, class_conditional=not marginal
      )
    if calibrated:
      temperature = calibration.fit_temperature(validation.predictions)
      if math.isnan(temperature):
        raise InputError(
          "--temperature-from-val: got logits that are not finite; valid: a "
          "checkpoint that has not diverged"
        )
      notes.append(f"temperature {temperature:.4g}, fitted to validation")
  fake_quant = run.config.model.fake_quant
  if fake_quant != "none" and (reference or thresholds or calibrated):
    notes.append(
      "validation was predicted with the rounding of "
      f"model.fake_quant={fake_quant}, new images are without: what it says of "
      "them is approximate"
    )
  return Confidence(
    multi_label=run.multi_label,
    temperature=temperature,
    thresholds=thresholds,
    reference=reference,
    notes=tuple(notes),
  )
