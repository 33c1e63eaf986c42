"""MobileNetV2 on your own images, in a folder for each class or in a table.

  python -m mn_jax.main --config=configs/image_folder_v2.py \
    --workdir=runs/mine data.path=PATH

PATH is a folder or an archive of PART/CLASS/FILE with parts called train, val
and test, which are used as they are, or of CLASS/FILE, which is split by image
with each class in proportion. It may be a table too, .csv, .tsv or .parquet,
with a row for each image: its path, its label and, if you name them, its group,
part and attributes (data.group, data.part, data.attributes).

If several images show one object or person, say so, and none of them is split:
by a folder, CLASS/PERSON/FILE, by data.group, or by data.group_pattern, which
finds the person in the image's name. data.positive=CLASS is what sensitivity
and specificity are about. docs/data.md has examples.

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
