"""MobileNetV2 against larger networks on IDC: V3-Large, ResNets, Xception.

  python -m mn_jax.tools.study configs/studies/idc_rivals.py --seeds=5

All are trained from scratch in the same way, five epochs at 96 pixels, since
Xception and Inception-ResNetV2 do not take 50. No weights of the larger ones
were at hand, so this does not say which is best to fine-tune.

Cost on two quiet CPU cores, for each seed: 5 minutes for V2, 4 for V3-Large,
an hour for ResNet-50, 70 minutes for Xception, 2 hours for Inception-ResNetV2
and 3 for ResNet-152. The last four run only where `--only` names them.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_LARGE = ("resnet50", "xception", "inception_resnet_v2", "resnet152")
_BALANCED = "test/balanced_accuracy"


def _member(name: str) -> Member:
  fields = {
    "model.name": name,
    "model.resolution": 96,
    "train.epochs": 5.0,
  }
  return Member(name, "idc_v2", fields, optional=name in _LARGE)


def get_study() -> Study:
  first, *others = ("mobilenet_v2", "mobilenet_v3_large", *_LARGE)
  return Study(
    title="IDC: MobileNetV2 against larger networks, from scratch",
    source="Yan 2023, which compares MobileNets alone",
    members=tuple(map(_member, (first, *others))),
    resplit=True,
    sample={**recipes.IDC_STUDY, "model.resolution": 80},
    pairs=tuple((other, first) for other in others),
    claims=(
      Claim(
        "V3-Large is within two points of V2",
        "mobilenet_v3_large",
        first,
        _BALANCED,
        "=",
        0.02,
      ),
      *(
        Claim(
          f"{name} is ahead of V2 on unseen patients", name, first, _BALANCED
        )
        for name in _LARGE
      ),
    ),
  )
