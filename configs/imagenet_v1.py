"""MobileNetV1 on ImageNet, by the recipe of MobileNetV4-Small for 3600 epochs.

  python -m mn_jax.tools.prepare imagenet2012 --source=tfds --short-side=256
  python -m mn_jax.main --config=configs/imagenet_v1.py --workdir=runs/v1

Published, not measured here: 75.4 % top-1 at 224 pixels, 76.1 % at 256 (timm,
mobilenetv1_100.ra4_e3600_r224_in1k). By timm's account its hyper-parameters are
those of MobileNetV4-Small with some changes; only the former could be looked
up, and they are what is here. Never run where this was written. By compiled
bytes (docs/benchmarks/scaling.md) its steps take at least 28 hours of an H200,
without RandAugment.

Arguments (`--config=configs/imagenet_v1.py:ARG`): `sample` and `test` run on
embedded textures.
One override: data.image_size=256 data.crop_share=0.95
model.train_resolution=224 evaluates at 256 pixels.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.imagenet()
  config.experiment = "imagenet_v1"
  config.model.name = "mobilenet_v1"
  config.update_from_flattened_dict(recipes.MOBILENET_V4_SMALL)
  config.train.epochs = 3600.0
  return variant(
    config,
    arg,
    {"sample": recipes.IMAGENET_SAMPLE, "test": recipes.IMAGENET_TEST},
  )
