"""What the configs of one data set share."""

import ml_collections

from mn_jax import config as config_lib


def idc() -> ml_collections.ConfigDict:
  """IDC patches at 50x50, split by patient."""
  config = config_lib.default()
  config.data.name = "idc"
  config.data.split = "grouped"
  config.data.image_size = 50
  return config


# `:sample` runs the whole job on the embedded sample in about a minute on two
# CPU cores; `:test` runs it in seconds, with several checkpoints.
SAMPLE = {
  "data.name": "idc_sample",
  "observe.log_every_steps": 10,
}
TEST = {
  **SAMPLE,
  "model.width": 0.25,
  "train.batch_size": 32,
  "train.epochs": 6.0,
  "optim.learning_rate": 1e-3,
}
