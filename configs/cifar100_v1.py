"""MobileNetV1 on classes 0 to 9 of CIFAR-100, enlarged to 64x64.

  python -m mn_jax.tools.prepare cifar100
  python -m mn_jax.main --config=configs/cifar100_v1.py --workdir=runs/cifar100

The published test part (Krizhevsky 2009); validation is a tenth of the training
part, so that the test chooses nothing.

Arguments (`--config=configs/cifar100_v1.py:ARG`): `best` mixes images and
trains for 150 epochs; `fine_tune` starts from model.weights=FILE of a network
trained on ImageNet, at 128 pixels for 12 epochs; `sample` and `test` run on an
embedded sample of textures.
One override: data.classes=0 takes all hundred classes.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.cifar100()
  config.experiment = "cifar100_v1"
  config.model.name = "mobilenet_v1"
  return variant(
    config,
    arg,
    {
      "sample": recipes.CIFAR_SAMPLE,
      "test": recipes.CIFAR_TEST,
      "best": recipes.CIFAR_BEST,
      "fine_tune": recipes.CIFAR_FINE_TUNE,
    },
  )
