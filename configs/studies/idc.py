"""MobileNetV1 against V2 on IDC patches, as published and as it should be done.

  python -m mn_jax.tools.study configs/studies/idc.py --seeds=5

Yan 2023 (arXiv:2308.03076) trained both with Adam 1e-4 for five epochs on a
random split of all 277,524 patches, and compared validation accuracies of
single runs. The members are that protocol, the same with fixed running
statistics of BatchNorm, this project's recipe split by patient and by image
(the difference is the leak), and V3-Small, ResNet-18 and ResNet-34.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_FIXED_STATISTICS = {"model.norm_momentum": 0.9, "model.norm_debias": True}
_RANDOM_SPLIT = {"data.split": "random"}
_V3_SMALL = {"model.name": "mobilenet_v3_small"}

_MEMBERS = (
  Member(
    "v1_source",
    "idc_v1:source",
    published={"last/train/accuracy": 0.849, "last/val/accuracy": 0.857},
    note="validation accuracy of one run on all patches, split at random",
  ),
  Member(
    "v2_source",
    "idc_v2:source",
    published={"last/train/accuracy": 0.819, "last/val/accuracy": 0.743},
    note="validation accuracy of one run on all patches, split at random",
  ),
  Member("v1_source_mended", "idc_v1:source", _FIXED_STATISTICS),
  Member("v2_source_mended", "idc_v2:source", _FIXED_STATISTICS),
  Member("v1_by_image", "idc_v1", _RANDOM_SPLIT),
  Member("v2_by_image", "idc_v2", _RANDOM_SPLIT),
  Member("v3_small_by_image", "idc_v2", {**_V3_SMALL, **_RANDOM_SPLIT}),
  Member("v1", "idc_v1"),
  Member("v2", "idc_v2"),
  Member("v3_small", "idc_v2", _V3_SMALL),
  Member("resnet18", "idc_v1", {"model.name": "resnet18"}),
  Member("resnet34", "idc_v1", {"model.name": "resnet34"}),
)
_CLAIMS = (
  Claim(
    "V1 validates better than V2 in Yan 2023's setting (.857, .743)",
    "v1_source",
    "v2_source",
    "last/val/accuracy",
  ),
  Claim(
    "V1 reaches the published validation accuracy of .857",
    "v1_source",
    "",
    "last/val/accuracy",
    ">",
    0.857,
  ),
  Claim(
    "V2 in that setting predicts one class in evaluation",
    "v2_source",
    "",
    "last/test/balanced_accuracy",
    "<",
    0.55,
  ),
  Claim(
    "V1 still beats V2 with fixed running statistics",
    "v1_source_mended",
    "v2_source_mended",
    "last/val/accuracy",
  ),
  Claim(
    "V2 beats V1 on unseen patients by this project's recipe",
    "v2",
    "v1",
    "test/balanced_accuracy",
  ),
  Claim(
    "V3-Small is within two points of V2 on unseen patients",
    "v3_small",
    "v2",
    "test/balanced_accuracy",
    "=",
    0.02,
  ),
  Claim(
    "a random split overestimates V1",
    "v1_by_image",
    "v1",
    "test/balanced_accuracy",
  ),
  Claim(
    "a random split overestimates V2",
    "v2_by_image",
    "v2",
    "test/balanced_accuracy",
  ),
  Claim(
    "a random split overestimates V3-Small",
    "v3_small_by_image",
    "v3_small",
    "test/balanced_accuracy",
  ),
)


def get_study() -> Study:
  return Study(
    title="IDC: MobileNetV1 against V2",
    source="Yan 2023, arXiv:2308.03076",
    members=_MEMBERS,
    resplit=True,
    sample=recipes.IDC_STUDY,
    pairs=(
      ("v2", "v1"),
      ("v2_source", "v1_source"),
      ("v2_source_mended", "v1_source_mended"),
      ("v1_by_image", "v1"),
      ("v2_by_image", "v2"),
      ("v3_small_by_image", "v3_small"),
      ("v3_small", "v2"),
    ),
    claims=_CLAIMS,
  )
