"""Members of an ensemble: what saved runs say of new images and of validation.

A single run is an ensemble of one. Thresholds, temperatures and everything else
that is chosen is chosen on validation, never on the new images. Members that
share a split are averaged on their validation part, as on the new images. Folds
and other splits share no images that all of them have not seen; then every
member predicts its own validation part alone, and these predictions are put
together.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from mn_jax.augment import views
from mn_jax.errors import InputError
from mn_jax.metrics import (
  bootstrap,
  calibration,
  comparison,
  ensemble,
)
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.run import reference
from mn_jax.run.reopen import SavedRun
from mn_jax.run.split_data import SplitData


@dataclasses.dataclass(frozen=True)
class Strangeness:
  """How far new images are from those of training, by the scores of a run.

  Attributes:
    distances, energies: f64[n] in [0, 100], the percentage of validation images
      that are nearer to training, or of a lower energy; empty if unknown.
    validation: number of validation images.
    problem: why the run has no such scores, or ''.
  """

  distances: np.ndarray
  energies: np.ndarray
  validation: int
  problem: str

  def beyond(self, percentage: float) -> dict[str, float]:
    """Returns for each score the share of new images beyond validation's.

    Of images that are as those of training it is 5 % beyond 95 %.

    Args:
      percentage: of validation images, which lie on this side.
    """
    return {
      name: float((scores > percentage).mean()) if len(scores) else np.nan
      for name, scores in (
        ("distance", self.distances),
        ("energy", self.energies),
      )
    }

  def numbers(self) -> dict[str, Any]:
    """Returns the shares beyond 95 % and 99 %, as JSON can hold them."""
    return {
      "validation_images": self.validation,
      "beyond_95": self.beyond(95),
      "beyond_99": self.beyond(99),
      "problem": self.problem,
    }


@dataclasses.dataclass(frozen=True)
class Member:
  """A run's predictions.

  Attributes:
    run: the run, opened at a checkpoint.
    new: of the new images, by each view.
    validation: of its validation part, by each view; empty if the images are
      gone and the run wrote no such predictions.
    val: names and groups of the validation part; None if that is empty.
    strangeness: of the new images, as they are.
  """

  run: SavedRun
  new: tuple[Predictions, ...]
  validation: tuple[Predictions, ...]
  val: NamedPredictions | None
  strangeness: Strangeness

  def predict(self, *, views: int, calibrated: bool) -> Predictions:
    """Returns the predictions of the new images.

    Args:
      views: number of views that are averaged, the first ones.
      calibrated: whether logits are divided by the member's temperature.
    """
    return self._mean(self.new, views, calibrated)

  def validate(self, *, views: int, calibrated: bool) -> Predictions:
    """Returns the predictions of the validation part, like `predict`."""
    return self._mean(self.validation, views, calibrated)

  def temperature(self, views: int) -> float:
    """Returns the temperature that fits the validation part.

    Raises:
      InputError: for logits that no temperature can be fitted to, or without a
        validation part.
    """
    if not self.validation:
      raise InputError(
        f"--workdir: got {str(self.run.path)!r}, whose validation part is "
        "gone, for a temperature; valid: with its images (data.path) or its "
        "predictions/val.npz"
      )
    fitted = calibration.fit_temperature(ensemble.mean(self.validation[:views]))
    if np.isnan(fitted):
      raise InputError(
        f"--workdir: got {str(self.run.path)!r}, whose logits on validation "
        "are not finite; valid: a checkpoint that has not diverged"
      )
    return fitted

  def _mean(
    self, outputs: Sequence[Predictions], views: int, calibrated: bool
  ) -> Predictions:
    found = ensemble.mean(outputs[:views])
    if not calibrated:
      return found
    return calibration.scale(found, self.temperature(views))


def predict(
  run: SavedRun,
  new: SplitData,
  own: SplitData | None,
  symmetries: Sequence[views.View],
) -> Member:
  """Predicts new images and the validation part of a run.

  The validation part is read from the file that the run wrote where that is of
  the same checkpoint and nothing but plain images is asked for.

  Args:
    run: the run.
    new: the new images, read by its rules.
    own: its data set; None if that is gone.
    symmetries: views of every image, the plain one first.
  """
  rows = new.part("new")
  plain, strangeness = _compare(run, new, rows)
  others = symmetries[1:]
  seen = (plain, *(run.predict(new, rows, view) for view in others))
  val = _read_validation(run)
  if val is not None and not others:
    return Member(run, seen, (val.predictions,), val, strangeness)
  if own is None:
    return Member(run, seen, (), None, strangeness)
  validation = tuple(
    run.predict(own, own.part("val"), view) for view in symmetries
  )
  named = own.named_predictions(validation[0])
  return Member(run, seen, validation, named, strangeness)


def _compare(
  run: SavedRun, new: SplitData, rows: np.ndarray
) -> tuple[Predictions, Strangeness]:
  """Predicts new images, and compares them with those of training."""
  try:
    found, problem = reference.of_run(run)
  except InputError as error:
    found, problem = None, str(error)
  if found is None:
    nothing = np.empty(0)
    return run.predict(new, rows), Strangeness(nothing, nothing, 0, problem)
  outputs, features = run.predict_with_features(new, rows)
  distances, energies = found.percentiles(features, outputs.logits)
  count = len(found.distances)
  return outputs, Strangeness(distances, energies, count, "")


def _read_validation(run: SavedRun) -> NamedPredictions | None:
  """Returns what a run wrote of its validation part, if it still holds."""
  try:
    return reference.validation(run)
  except InputError:
    return None


def new_images(
  members: Sequence[Member], *, views: int, calibrated: bool
) -> Predictions:
  """Returns the mean prediction of the new images."""
  return ensemble.mean(
    [x.predict(views=views, calibrated=calibrated) for x in members]
  )


def share_split(members: Sequence[Member]) -> bool:
  """Returns whether all members have the same validation part.

  They may see its images in other sizes, and so have other pixels.
  """
  digests = [x.run.digests for x in members]
  return len({(x["split"], x.get("labels")) for x in digests}) == 1


def validation(
  members: Sequence[Member], *, views: int, calibrated: bool
) -> NamedPredictions | None:
  """Returns the predictions that choices are made on, see the module.

  Args:
    members: of the ensemble.
    views: number of views that are averaged, the first ones.
    calibrated: whether each member's logits are divided by its temperature.

  Returns:
    None if the validation part of a member is not there.
  """
  if any(member.val is None for member in members):
    return None
  outputs = [x.validate(views=views, calibrated=calibrated) for x in members]
  first = members[0].val
  if share_split(members):
    return dataclasses.replace(first, predictions=ensemble.mean(outputs))
  known = all(x.val.groups is not None for x in members)
  return dataclasses.replace(
    first,
    predictions=Predictions(
      **{
        name: np.concatenate([getattr(x, name) for x in outputs])
        for name in vars(outputs[0])
      }
    ),
    names=np.concatenate([x.val.names for x in members]),
    groups=np.concatenate([x.val.groups for x in members]) if known else None,
    attributes={},
  )


def check(runs: Sequence[SavedRun]) -> None:
  """Refuses runs that are no ensemble.

  Raises:
    InputError: if their classes differ, or one is there twice.
  """
  first, *others = runs
  for run in others:
    if run.classes != first.classes:
      raise InputError(
        f"--workdir: got {str(first.path)!r} of the classes "
        f"{', '.join(first.classes)} and {str(run.path)!r} of "
        f"{', '.join(run.classes)}; valid: runs of the same classes in the "
        "same order"
      )
  places = [(run.path.resolve(), run.step) for run in runs]
  for i, place in enumerate(places):
    if place in places[:i]:
      raise InputError(
        f"--workdir: got {str(runs[i].path)!r} twice; valid: each run once"
      )


def kind_of_views(runs: Sequence[SavedRun], asked: str) -> str:
  """Returns the kind of views that 'auto' stands for, or what was asked for.

  Args:
    runs: of the ensemble.
    asked: a name in `augment.views.KINDS`, 'auto' for the symmetries that
      training showed to all runs, or ''.

  Raises:
    InputError: for another name, or if training showed none.
  """
  if asked not in ("", "auto", *views.KINDS):
    raise InputError(
      f"--tta: got {asked!r}; valid: auto, {', '.join(views.KINDS)}"
    )
  if asked != "auto":
    return asked
  kinds = {
    views.trained(run.config.augment.flip, run.config.augment.quarter_turns)
    for run in runs
  }
  if len(kinds) > 1 or not (kind := kinds.pop()):
    raise InputError(
      "--tta: got auto for a run that was trained on images of one orientation "
      "(augment.flip=none, augment.quarter_turns=False) or runs that differ in "
      f"that; valid: {', '.join(views.KINDS)}, if these views make sense"
    )
  return kind


def gain(
  members: Sequence[Member],
  averaged: NamedPredictions | None,
  *,
  positive: int | None,
  calibrated: bool,
  seed: int,
  resamples: int,
) -> dict[str, bootstrap.Interval]:
  """Returns what averaging views changes on validation.

  Args:
    members: of the ensemble, each with the same views.
    averaged: their `validation`, of all views.
    positive: index of the positive class, or None.
    calibrated: whether each member's logits are divided by its temperature.
    seed, resamples: of the bootstrap, paired and by group.

  Returns:
    Metric -> mean of all views minus the plain one, with its interval; empty
    for one view, or without the images of validation.
  """
  if averaged is None or len(members[0].new) == 1:
    return {}
  plain = validation(members, views=1, calibrated=calibrated)
  groups = averaged.names if averaged.groups is None else averaged.groups
  return comparison.on_images(
    averaged.predictions,
    plain.predictions,
    positive=positive,
    groups=groups,
    seed=seed,
    resamples=resamples,
  )
