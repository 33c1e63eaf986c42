"""MobileNetV2 on tissue types in colorectal histology, one slide left out.

  python -m mn_jax.tools.prepare colorectal_histology
  python -m mn_jax.main --config=configs/colorectal_v2.py \
    --workdir=runs/colorectal_v2_fold0 data.fold=0

Eight classes of tiles from ten slides (Kather et al. 2016,
doi:10.1038/srep27988). Tiles of one slide share stain and scanner, so a random
split tells how well slides are recognised: here fold N is the test on slide N,
and ten runs, data.fold=0 to 9, are the experiment.

Arguments (`--config=configs/colorectal_v2.py:ARG`): `fine_tune` (5 epochs) and
`frozen` begin with model.weights=FILE of a MobileNetV2 trained on
ImageNet; `sample` and `test` run on an embedded sample of textures.
One override: data.split=stratified splits by tile, as others did.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.colorectal()
  config.experiment = "colorectal_v2"
  config.model.name = "mobilenet_v2"
  return variant(
    config,
    arg,
    {
      "sample": recipes.COLORECTAL_SAMPLE,
      "test": recipes.COLORECTAL_TEST,
      "fine_tune": {**recipes.FINE_TUNE, "train.epochs": 5.0},
      "frozen": recipes.FROZEN,
    },
  )
