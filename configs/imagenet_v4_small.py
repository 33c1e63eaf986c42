"""MobileNetV4-Conv-Small on ImageNet, by its authors' recipe.

  python -m mn_jax.tools.prepare imagenet2012 --source=tfds --short-side=256
  python -m mn_jax.main --config=configs/imagenet_v4_small.py \
    --workdir=runs/imagenet_v4_small

Published, not measured here: 73.8 % top-1 after 9,623 epochs (TensorFlow's
Model Garden, imagenet_mobilenetv4_conv_small_tpu); 73.8 % at 224 pixels after
2,400 and 74.6 % at 256 (timm, mobilenetv4_conv_small.e2400_r224_in1k). What its
recipe has and this one lacks is in `recipes.MOBILENET_V4_SMALL`. Never run
where this was written; its step, compiled for eight H200, takes at least 73
hours of one by its bytes (`python -m mn_jax.tools.scaling plan
--config=imagenet_v4_small --chips=H200 --counts=8`).

Arguments (`--config=configs/imagenet_v4_small.py:ARG`): `sample` and `test` run
on embedded textures.
One override: train.epochs=2400 is timm's length.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.imagenet()
  config.experiment = "imagenet_v4_small"
  config.model.name = "mobilenet_v4_conv_small"
  config.update_from_flattened_dict(recipes.MOBILENET_V4_SMALL)
  config.train.epochs = 9623.0
  return variant(
    config,
    arg,
    {"sample": recipes.IMAGENET_SAMPLE, "test": recipes.IMAGENET_TEST},
  )
