"""MobileNetV2 on your own images, in a folder for each class.

  python -m mn_jax.main --config=configs/image_folder_v2.py \
    --workdir=runs/mine data.path=FOLDER

FOLDER or an archive holds PART/CLASS/FILE with parts called train, val and
test, which are used as they are, or CLASS/FILE, which is split by image with
each class in proportion. If several images show one object or person, put them
in a folder, CLASS/PERSON/FILE: no folder is split.

Arguments (`--config=configs/image_folder_v2.py:ARG`): `fine_tune` (5 epochs)
and `frozen` begin with model.weights=FILE of a MobileNetV2 trained on
ImageNet; `sample` and `test` run on embedded textures.
One override: data.other_sizes=resize squeezes instead of cropping.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.photographs()
  config.experiment = "image_folder_v2"
  config.model.name = "mobilenet_v2"
  config.data.name = "image_folder"
  config.data.split = "auto"
  config.train.batch_size = 32
  return variant(
    config,
    arg,
    {
      "sample": recipes.FOLDER_SAMPLE,
      "test": recipes.FOLDER_TEST,
      "fine_tune": {**recipes.FINE_TUNE, "train.epochs": 5.0},
      "frozen": recipes.FROZEN,
    },
  )
