"""How running statistics decide what MobileNetV2 is worth in evaluation.

  python -m mn_jax.tools.study configs/studies/idc_batchnorm.py --seeds=3

Keras gives V1 a momentum of 0.99 and V2 one of 0.999, both from 0 and 1. Five
epochs in the setting of Yan 2023, with only the averages changed.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study


def _member(momentum: float, debias: bool) -> Member:
  name = f"m{momentum}{'_debiased' if debias else ''}"
  return Member(
    name,
    "idc_v2:source",
    {"model.norm_momentum": momentum, "model.norm_debias": debias},
  )


def get_study() -> Study:
  members = tuple(
    _member(momentum, debias)
    for momentum in (0.9, 0.99, 0.999)
    for debias in (False, True)
  )
  return Study(
    title="IDC: momentum of MobileNetV2's running statistics",
    source="Yan 2023, in which V2 stays at the majority rate for three epochs",
    members=members,
    sample=recipes.IDC_STUDY,
    pairs=tuple((members[1].name, member.name) for member in members[2:]),
    claims=(
      Claim(
        "momentum 0.999 hides what V2 has learnt",
        "m0.9_debiased",
        "m0.999",
        "test/balanced_accuracy",
      ),
      Claim(
        "debiasing alone fixes momentum 0.999",
        "m0.999_debiased",
        "m0.999",
        "test/balanced_accuracy",
      ),
      Claim(
        "with momentum 0.9, debiasing changes less than two points",
        "m0.9_debiased",
        "m0.9",
        "test/balanced_accuracy",
        "=",
        0.02,
      ),
    ),
  )
