"""MobileNetV1 on IDC breast-histopathology patches, split by patient.

Source's setting: Adam 1e-4, 5 epochs, batch 32.

  python -m mn_jax.main --config=configs/idc_v1.py --workdir=runs/idc_v1
"""

import ml_collections

from configs import base
from mn_jax import config as config_lib


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  """The experiment, or its variant 'sample' or 'test'."""
  config = base.idc()
  config.experiment = "idc_v1"
  config.model.name = "mobilenet_v1"
  config.optim.name = "adam"
  config.optim.learning_rate = 1e-4
  config.train.batch_size = 32
  config.train.epochs = 5.0
  return config_lib.variant(
    config, arg, {"sample": base.SAMPLE, "test": base.TEST}
  )
