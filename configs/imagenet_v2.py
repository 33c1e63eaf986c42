"""MobileNetV2 on ImageNet, prepared with TensorFlow Datasets.

  python -m mn_jax.tools.prepare imagenet2012 --source=tfds
  python -m mn_jax.main --config=configs/imagenet_v2.py --workdir=runs/imagenet

Its validation part of 50,000 is the test, as everywhere; validation is drawn
from the training part. A recipe for accelerators, never run where this was
written: 71.8 % top-1 is what its authors report (Sandler et al. 2018).

Arguments (`--config=configs/imagenet_v2.py:ARG`): `ra` crops from whole
photographs (prepare with --short-side=256) and trains 600 epochs of RMSprop by
timm's `ra` template, whose mobilenetv2_100.ra_in1k has 72.9 % (published, not
measured here), at least 7 hours of an H200 by compiled bytes
(docs/benchmarks/scaling.md); `sample` and `test` run on embedded textures.
One override: model.name=mobilenet_v3_large trains another network.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.imagenet() if arg == "ra" else recipes.photographs()
  config.experiment = "imagenet_v2"
  config.model.name = "mobilenet_v2"
  config.data.name = "imagenet2012"
  config.data.split = "fixed"
  config.data.val_fraction = 0.01
  config.model.norm_momentum = 0.99
  config.model.dtype = "bfloat16"
  config.optim.learning_rate = 4e-3
  config.optim.weight_decay = 0.05
  config.optim.warmup_epochs = 5.0
  config.train.batch_size = 1024
  config.train.epochs = 150.0
  config.train.ema_decay = 0.9999
  small = {
    "data.val_fraction": 0.15,
    "model.dtype": "float32",
    "optim.warmup_epochs": 1.0,
    "train.batch_size": 64,
    "train.ema_decay": 0.0,
  }
  return variant(
    config,
    arg,
    {
      "ra": recipes.TIMM_RA,
      "sample": {**recipes.FOLDER_SAMPLE, **small},
      "test": {**small, **recipes.FOLDER_TEST},
    },
  )
