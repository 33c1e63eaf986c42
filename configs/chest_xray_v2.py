"""MobileNetV2 on chest X-rays of children: normal or pneumonia.

  python -m mn_jax.tools.prepare chest_xray
  python -m mn_jax.main --config=configs/chest_xray_v2.py \
    --workdir=runs/chest_xray_v2

The published test set of 624 (Kermany et al. 2018,
doi:10.1016/j.cell.2018.02.010); validation is drawn from the other 5,232 by
person, because the published validation part has 16 images. Most `personN` of
the test occur in training too, and nobody says whether they are the same
children: data.shared_groups=drop leaves them out of training.

Arguments (`--config=configs/chest_xray_v2.py:ARG`): `fine_tune` (5 epochs),
`frozen` and `best` (160 pixels, images changed more, 8 epochs) start from
model.weights=FILE of a MobileNetV2 trained on ImageNet; `sample` and `test` run
on an embedded sample of textures.
One override: model.resolution=128 takes a third of the time.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.chest_xray()
  config.experiment = "chest_xray_v2"
  config.model.name = "mobilenet_v2"
  return variant(
    config,
    arg,
    {
      "sample": recipes.XRAY_SAMPLE,
      "test": recipes.XRAY_TEST,
      "fine_tune": {**recipes.FINE_TUNE, "train.epochs": 5.0},
      "frozen": recipes.FROZEN,
      "best": recipes.XRAY_BEST,
    },
  )
