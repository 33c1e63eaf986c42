"""MobileNetV2 on EuroSAT RGB: land use and land cover in Sentinel-2 tiles.

  python -m mn_jax.tools.prepare eurosat --source=EuroSAT.zip
  python -m mn_jax.main --config=configs/eurosat_v2.py --workdir=runs/eurosat_v2

From scratch, ten classes, split by image with each class in proportion, as its
authors did (Helber et al. 2019, doi:10.1109/JSTARS.2019.2918242): neighbouring
tiles are on both sides of the split.

Arguments (`--config=configs/eurosat_v2.py:ARG`): `fine_tune` (5 epochs) and
`frozen` begin with model.weights=FILE of a MobileNetV2 trained on
ImageNet; `sample` and `test` run on an embedded sample of textures.
One override: data.split=fixed is TorchGeo's split by longitude, which tests on
regions that were not seen.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.eurosat()
  config.experiment = "eurosat_v2"
  config.model.name = "mobilenet_v2"
  return variant(
    config,
    arg,
    {
      "sample": recipes.EUROSAT_SAMPLE,
      "test": recipes.EUROSAT_TEST,
      "fine_tune": {**recipes.FINE_TUNE, "train.epochs": 5.0},
      "frozen": recipes.FROZEN,
    },
  )
