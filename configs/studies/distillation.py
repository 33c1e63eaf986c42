"""Whether small networks learn more from a fine-tuned MobileNetV2 as teacher.

  python -m mn_jax.tools.study configs/studies/distillation.py --replicas

MobileNetV3-Small from ImageNet weights and MobileNetV1 of width 0.25 from
scratch, on EuroSAT and on IDC split by patient, alone and with a teacher on the
same split: MobileNetV2 from ImageNet weights. Nothing else differs. All seeds
have one split and one teacher: intervals are of what else is random.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_STUDENTS = {
  "v3_small": (
    ":fine_tune",
    {"model.name": "mobilenet_v3_small"},
    "mobilenet_v3_small_1.0",
  ),
  "v1_0.25": ("", {"model.name": "mobilenet_v1", "model.width": 0.25}, ""),
}
_EPOCHS = {"eurosat": 5.0, "idc": 3.0}
_METRICS = ("balanced_accuracy", "loss", "ece")


def _members(data: str) -> list[Member]:
  """A teacher, and each student without and with it."""
  teacher = Member(
    f"{data}_v2",
    f"{data}_v2:fine_tune",
    weights="mobilenet_v2_1.0_224",
    seeds=1,
  )
  members = [teacher]
  for name, (variant, fields, weights) in _STUDENTS.items():
    fields = {**fields, "train.epochs": _EPOCHS[data]}
    alone = Member(
      f"{data}_{name}", f"{data}_v2{variant}", fields, weights=weights
    )
    taught = Member(
      f"{alone.name}_taught",
      alone.config,
      fields,
      weights=weights,
      teacher=teacher.name,
    )
    members += [alone, taught]
  return members


def get_study() -> Study:
  pairs = tuple(
    (f"{data}_{name}_taught", f"{data}_{name}")
    for data in _EPOCHS
    for name in _STUDENTS
  )
  return Study(
    title="Knowledge distillation from MobileNetV2 on EuroSAT and IDC",
    source="the loss of Hinton et al. 2015, arXiv:1503.02531",
    members=(*_members("eurosat"), *_members("idc")),
    sample=recipes.IDC_STUDY,
    metrics=_METRICS,
    pairs=pairs,
    claims=tuple(
      Claim(
        f"a teacher makes {one.removesuffix('_taught')} better",
        one,
        other,
        "test/balanced_accuracy",
        spread=0.03,
      )
      for one, other in pairs
    ),
  )
