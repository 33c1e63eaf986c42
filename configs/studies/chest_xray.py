"""MobileNetV2 against ResNet-34 on chest X-rays, fine-tuned and frozen.

  python -m mn_jax.tools.study configs/studies/chest_xray.py --seeds=3

A student report (NTHU 2024) selected by 16 validation images and gives single
runs on the published test of 624. Here validation is split from training by
person; rows that end in `_apart` leave training images out whose `personN` is
in the test. No file of ResNet-34 is fetched: it is trained from scratch.
"""

from mn_jax.studies.study import Claim, Member, Study

_RESNET = {
  "model.name": "resnet34",
  "optim.name": "sgd",
  "optim.momentum": 0.9,
  "optim.weight_decay": 5e-4,
}
_APART = {"data.shared_groups": "drop"}
_V2, _V2_FILE = "chest_xray_v2", "mobilenet_v2_1.0_224"

_MEMBERS = (
  Member(
    "v2_fine_tune",
    f"{_V2}:fine_tune",
    weights=_V2_FILE,
    published={
      "test/accuracy": 0.9215,
      "test/precision": 0.9169,
      "test/sensitivity": 0.9615,
      "test/f1": 0.9387,
      "test/loss": 0.4375,
    },
    note="specificity .855, from its counts",
  ),
  Member("v2_fine_tune_apart", f"{_V2}:fine_tune", _APART, weights=_V2_FILE),
  Member("v2_frozen", f"{_V2}:frozen", weights=_V2_FILE),
  Member("v2_drawn", _V2),
  Member(
    "resnet34_drawn",
    _V2,
    _RESNET,
    published={
      "test/accuracy": 0.9135,
      "test/precision": 0.8871,
      "test/sensitivity": 0.9872,
      "test/f1": 0.9345,
      "test/loss": 0.3342,
    },
    note="published from ImageNet weights, here from scratch",
  ),
)
_CLAIMS = (
  Claim(
    "V2 fine-tuned reaches the published accuracy of .9215",
    "v2_fine_tune",
    "",
    "test/accuracy",
    ">",
    0.9215,
  ),
  Claim(
    "V2 fine-tuned reaches a specificity of .855",
    "v2_fine_tune",
    "",
    "test/specificity",
    ">",
    0.855,
  ),
  Claim(
    "V2 is more accurate than ResNet-34 (.9215, .9135)",
    "v2_drawn",
    "resnet34_drawn",
    "test/accuracy",
  ),
  Claim(
    "ResNet-34 finds more pneumonias than V2 (.9872, .9615)",
    "resnet34_drawn",
    "v2_drawn",
    "test/sensitivity",
  ),
  Claim(
    "fine-tuning beats a fixed feature extractor",
    "v2_fine_tune",
    "v2_frozen",
    "test/accuracy",
  ),
  Claim(
    "persons shared with the test inflate accuracy",
    "v2_fine_tune",
    "v2_fine_tune_apart",
    "test/balanced_accuracy",
  ),
)


def get_study() -> Study:
  return Study(
    title="Chest X-rays: MobileNetV2 against ResNet-34",
    source="a student report, NTHU 2024",
    members=_MEMBERS,
    sample={
      "data.name": "chest_xray_sample",
      "data.image_size": 32,
      "model.width": 0.25,
      "train.epochs": 1.0,
      "optim.warmup_epochs": 0.0,
    },
    metrics=(
      "balanced_accuracy",
      "accuracy",
      "precision",
      "sensitivity",
      "specificity",
      "f1",
      "auroc",
    ),
    pairs=(
      ("v2_fine_tune", "v2_drawn"),
      ("v2_fine_tune", "v2_frozen"),
      ("v2_fine_tune", "v2_fine_tune_apart"),
      ("v2_drawn", "resnet34_drawn"),
    ),
    claims=_CLAIMS,
  )
