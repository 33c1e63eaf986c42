"""Results of rows that nobody trained, with predictions or without."""

import numpy as np

from mn_jax.metrics import classification
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.studies.resampling import Result
from tests.metrics import toy_predictions

IMAGES = {"train": 300, "val": 50, "test": 90}


def named(outputs: Predictions, groups=None) -> NamedPredictions:
  """Predictions as they are kept: images have no names but their rows."""
  return NamedPredictions(
    predictions=outputs,
    names=outputs.ids.astype(str),
    groups=groups,
    classes=("no", "yes"),
    positive=1,
  )


def noisy(seed: int, *, better: float = 0.0, n: int = 90) -> Predictions:
  """Of the same images for every seed: labels are equal, logits are not."""
  base = toy_predictions.random(n, 2)
  rng = np.random.default_rng(seed)
  logits = base.logits + rng.normal(0, 0.4, base.logits.shape)
  logits[np.arange(n), base.labels] += better
  return toy_predictions.of(base.labels, logits, rng.random(n))


def of(
  found: NamedPredictions,
  split: str = "same",
  split_kind: str = "grouped",
  **summary,
) -> Result:
  """A result whose test has these predictions."""
  metrics = classification.summarize(found.predictions, positive=1)
  return Result(
    {
      **{f"test/{k}": v for k, v in metrics.items()},
      "split": split_kind,
      "split_sha256": split,
      "chosen_on": "val",
      **summary,
    },
    IMAGES,
    {"test": found}.get,
  )


def bare(key: str, value: float, split: str = "same", **summary) -> Result:
  """A result of one number, without predictions."""
  fields = {key: value, "split_sha256": split, "chosen_on": "val", **summary}
  return Result(fields, IMAGES, {}.get)
