"""Training metrics since the last log, as sums over steps, on the host."""

import math
from collections.abc import Iterator

import jax
import numpy as np

from mn_jax.train import distill
from mn_jax.train.objective import Sums


def by_step(last: int, sums: Sums) -> Iterator[tuple[int, dict[str, float]]]:
  """Yields the number of each step of a dispatch, and its sums.

  Args:
    last: number of the last of its steps.
    sums: from the train step, f32[] of one step or f32[steps] of several.
  """
  values = {
    name: np.ravel(value).tolist()
    for name, value in jax.device_get(sums).items()
  }
  rows = list(zip(*values.values(), strict=True))
  for step, row in enumerate(rows, last + 1 - len(rows)):
    yield step, dict(zip(values, row, strict=True), steps=1.0)


def add(window: dict[str, float], sums: dict[str, float]) -> None:
  """Adds the sums of a step to those since the last log."""
  for name, value in sums.items():
    window[name] = window.get(name, 0.0) + value


def metrics(
  window: dict[str, float], *, multi_label: bool = False
) -> dict[str, float]:
  """Returns the means of a window: 'loss', 'accuracy' and 'grad_norm'.

  Where images have several labels, 'label_accuracy' stands for the accuracy: it
  is the share of all labels of all images that are predicted right.

  With a teacher there are 'teacher_loss', its part of the loss before it is
  weighted, and 'teacher_agreement', the share of images (of several labels, of
  labels) that both predict alike.

  Where updates may be skipped there is their number, 'skipped_updates'. They
  count in no mean; the mean of none is NaN.
  """
  images = window["count"] or math.nan
  updates = (window["steps"] - window.get("skipped", 0.0)) or math.nan
  means = {
    "loss": window["loss"] / images,
    "label_accuracy" if multi_label else "accuracy": (
      window["correct"] / images
    ),
    "grad_norm": window["grad_norm"] / updates,
  }
  for name in distill.SUMS:
    if name in window:
      means[name] = window[name] / images
  if "skipped" in window:
    means["skipped_updates"] = window["skipped"]
  return means
