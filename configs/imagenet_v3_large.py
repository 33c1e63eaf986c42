"""MobileNetV3-Large on ImageNet, by two published recipes.

  python -m mn_jax.tools.prepare imagenet2012 --source=tfds --short-side=256
  python -m mn_jax.main --config=configs/imagenet_v3_large.py \
    --workdir=runs/imagenet_v3

Published, not measured here: 76.3 % top-1 at 224 pixels, 77.2 % at 256 (timm,
mobilenetv3_large_100.ra4_e3600_r224_in1k), of which configs/imagenet_v1.py says
what is known. Never run where this was written. By compiled bytes
(docs/benchmarks/scaling.md) its steps take at least 35 hours of an H200,
without RandAugment.

Arguments (`--config=configs/imagenet_v3_large.py:ARG`): `ra` is the recipe of
timm's mobilenetv3_large_100.ra_in1k, 600 epochs of RMSprop for 75.8 %, at least
5.9 hours; `sample` and `test` run on embedded textures.
One override: data.image_size=256 data.crop_share=0.95
model.train_resolution=224 evaluates at 256 pixels.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.imagenet()
  config.experiment = "imagenet_v3_large"
  config.model.name = "mobilenet_v3_large"
  if arg != "ra":
    config.update_from_flattened_dict(recipes.MOBILENET_V4_SMALL)
    config.train.epochs = 3600.0
  return variant(
    config,
    arg,
    {
      "ra": recipes.TIMM_RA,
      "sample": recipes.IMAGENET_SAMPLE,
      "test": recipes.IMAGENET_TEST,
    },
  )
