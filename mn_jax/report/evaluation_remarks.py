"""What a reader must know of an evaluation of new images, in sentences."""

import numpy as np

from mn_jax.evaluation.evaluation import Evaluation
from mn_jax.metrics import out_of_distribution
from mn_jax.observe.formatting import interval, number


def warnings(found: Evaluation) -> list[str]:
  """Returns what makes the metrics too good, or may; a line each."""
  texts, count = [], int(found.known().sum())
  if count:
    texts.append(
      f"{count:,} of {len(found.images.names):,} images are known to "
      f"{_runs(found)} from training or the selection of its checkpoint, which "
      "makes metrics too good; those without these images are beside"
    )
    if count == len(found.images.names):
      texts[-1] = (
        f"all {count:,} images are known to {_runs(found)} from training or "
        "the selection of its checkpoint: the metrics are not of new images"
      )
  for why in dict.fromkeys(x.problem for x in found.overlaps if x.problem):
    texts.append(
      "pixels could not be compared with those of training, only names and "
      f"groups ({why})"
    )
  return texts + _strange(found)


def verdict(found: Evaluation) -> str:
  """Returns what validation says of test-time augmentation, or ''."""
  if not found.views:
    return ""
  if "loss" not in found.gain:
    return "Validation cannot judge the views: its images are gone."
  loss = found.gain["loss"]
  if np.isnan([loss.low, loss.high]).any():
    judged = "has no interval, so nothing is decided"
  elif loss.high < 0:
    judged = "is lower with the views"
  elif loss.low > 0:
    judged = "is higher with the views, which are better left out"
  else:
    judged = "is not clearly changed by the views"
  return (
    f"The loss on validation {judged}: {number(loss.value, signed=True)} "
    f"({interval(loss.low, loss.high, signed=True)})."
  )


def _strange(found: Evaluation) -> list[str]:
  """Returns a warning for each run that finds many new images strange."""
  texts = []
  for run, scores in zip(found.runs, found.strangeness, strict=True):
    if scores.problem:
      continue
    beyond, percentile = out_of_distribution.many_beyond(
      scores.distances, scores.validation
    )
    if beyond:
      texts.append(
        f"{beyond:,} of {len(scores.distances):,} images are farther from "
        f"those of training than {percentile:.3g} % of validation's, by the "
        f"features of {run.path}: more than chance, so do not expect the "
        "metrics of validation and test"
      )
  return texts


def _runs(found: Evaluation) -> str:
  return "the run" if len(found.runs) == 1 else "some run"
