"""MobileNetV1 on IDC breast-histopathology patches, split by patient.

  python -m mn_jax.main --config=configs/idc_v1.py --workdir=runs/idc_v1

Arguments (`--config=configs/idc_v1.py:ARG`): `source` trains as the study of
V1 against V2 did (random split, Adam 1e-4, 5 epochs, Keras's BatchNorm);
`best` begins with model.weights=FILE of a MobileNetV1 trained on ImageNet, with
patches at 96 pixels, stain jitter, balanced classes and averaged parameters;
`sample` and `test` run on the embedded sample.

Expected on 11,081 of the 277,524 patches: balanced accuracy 0.84 +- 0.01 and
AUROC 0.91 on test patients, three to four minutes on two CPU cores.
One override: data.split=fixed uses the published 84/29/49 cases.
"""

import ml_collections

from mn_jax.config import recipes, variant


def get_config(arg: str = "") -> ml_collections.ConfigDict:
  config = recipes.idc()
  config.experiment = "idc_v1"
  config.model.name = "mobilenet_v1"
  source = {**recipes.IDC_SOURCE, "model.norm_momentum": 0.99}
  return variant(
    config,
    arg,
    {
      "sample": recipes.IDC_SAMPLE,
      "test": recipes.IDC_TEST,
      "source": source,
      "best": recipes.IDC_BEST,
    },
  )
