"""What the configs of one data set share, and what all of them do."""

import ml_collections

from mn_jax import config as config_lib


def _recipe() -> ml_collections.ConfigDict:
  """From scratch on small images without an upside; for minutes on a CPU."""
  config = config_lib.default()
  # A run has about a hundred steps per epoch: averages over the last ten
  # follow the weights, Keras's over the last hundred or thousand do not.
  config.model.norm_momentum = 0.9
  config.augment.flip = True
  config.augment.quarter_turns = True
  config.optim.name = "adamw"
  config.optim.learning_rate = 1e-3
  config.optim.weight_decay = 0.01
  config.optim.schedule = "cosine"
  config.optim.warmup_epochs = 1.0
  config.train.batch_size = 64
  config.train.epochs = 15.0
  return config


def idc() -> ml_collections.ConfigDict:
  """IDC patches at 50x50, split by patient."""
  config = _recipe()
  config.data.name = "idc"
  config.data.split = "grouped"
  config.data.image_size = 50
  return config


def eurosat() -> ml_collections.ConfigDict:
  """EuroSAT RGB tiles at 64x64, split by image, every class in proportion."""
  config = _recipe()
  config.data.name = "eurosat"
  config.data.split = "stratified"
  config.data.image_size = 64
  return config


# The whole job on an embedded sample, in about a minute on two CPU cores.
_SAMPLE = {"optim.learning_rate": 3e-3, "observe.log_every_steps": 10}

# The same in seconds, with several checkpoints.
_TEST = {
  **_SAMPLE,
  "model.width": 0.25,
  "train.batch_size": 32,
  "train.epochs": 6.0,
  "optim.learning_rate": 1e-3,
  "optim.warmup_epochs": 0.0,
}

IDC_SAMPLE = {"data.name": "idc_sample", **_SAMPLE}
IDC_TEST = {"data.name": "idc_sample", **_TEST}

EUROSAT_SAMPLE = {"data.name": "eurosat_sample", **_SAMPLE}
EUROSAT_TEST = {"data.name": "eurosat_sample", **_TEST}

# From pretrained weights, --config.model.weights=FILE: all of it trained, with
# running statistics of the new images from the start; or a head on fixed
# features, which are computed once and therefore without augmentation.
FINE_TUNE = {"model.transfer": "fine_tune", "model.match_statistics": 2048}
FROZEN = {
  "model.transfer": "frozen",
  "augment.flip": False,
  "augment.quarter_turns": False,
}

# How the study of MobileNetV1 against V2 trained: patients on both sides of
# the split, plain Adam, no augmentation, and running statistics that start at
# 0 and 1.
IDC_SOURCE = {
  "data.split": "random",
  "model.norm_debias": False,
  "augment.flip": False,
  "augment.quarter_turns": False,
  "optim.name": "adam",
  "optim.learning_rate": 1e-4,
  "optim.weight_decay": 0.0,
  "optim.schedule": "constant",
  "optim.warmup_epochs": 0.0,
  "train.batch_size": 32,
  "train.epochs": 5.0,
}
