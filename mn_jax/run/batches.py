"""The training batches of a run, as its config says."""

import jax
import numpy as np

from mn_jax.config import Config
from mn_jax.config.experiment import train_resolution
from mn_jax.data import loader
from mn_jax.data.whole import RandomCrops
from mn_jax.run.split_data import SplitData


def train_batches(
  config: Config,
  data: SplitData,
  images: np.ndarray | None,
  num_batches: int,
) -> loader.TrainBatches:
  """Returns the training batches of this process.

  Args:
    config: of the run.
    data: what it trains on.
    images: u8[n, h, w, 3] of the whole data set; None for rows alone. Whole
      images are cropped at random instead.
    num_batches: training steps.
  """
  crops = None
  if data.cache.whole is not None:
    crops = RandomCrops(
      data.cache.whole, train_resolution(config), config.augment.crop_scale
    )
  return loader.TrainBatches(
    images,
    data.cache.labels,
    data.part("train"),
    batch_size=config.train.batch_size,
    num_batches=num_batches,
    seed=config.seed,
    balanced=config.data.sampling == "balanced",
    crops=crops,
    repeats=config.augment.repeats,
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
