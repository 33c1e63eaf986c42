"""What stands beside every result: guesses that need no network."""

import numpy as np

from mn_jax.metrics import baselines, classification
from mn_jax.run.split_data import SplitData

# A linear model of a few numbers learns no more from more images.
_MOST = 20_000

NAMES = ("majority class", "mean colour", "colour histogram")


def on_test(data: SplitData) -> dict[str, dict[str, float]]:
  """The baselines' metrics on the test part, by the names above.

  Args:
    data: packed and split; of a training part of more than 20,000 images so
      many are drawn, the same ones at every call.
  """
  labels, images = data.cache.labels, data.cache.images
  drawn = np.random.default_rng(0).permutation(data.part("train"))[:_MOST]
  common = {
    "train": np.sort(drawn),
    "rows": data.part("test"),
    "classes": len(data.classes),
  }
  found = (
    baselines.majority(labels, **common),
    baselines.mean_colour(images, labels, **common),
    baselines.colour_histogram(images, labels, **common),
  )
  return {
    name: classification.summarize(guess, positive=data.spec.positive)
    for name, guess in zip(NAMES, found, strict=True)
  }
