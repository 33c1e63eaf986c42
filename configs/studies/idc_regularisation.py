"""Augmentation, dropout and weight decay for MobileNetV2 on IDC.

  python -m mn_jax.tools.study configs/studies/idc_regularisation.py --seeds=5

One change at a time from the recipe, split by patient, five epochs as in the
paper: a change that needs a longer training to pay shows less than it could.

Cost on two quiet CPU cores: 30 minutes for each seed.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_PLAIN = {"augment.flip": "none", "augment.quarter_turns": False}


def get_study() -> Study:
  changes = {
    "recipe": {},
    "no_augmentation": _PLAIN,
    "stain": {"augment.stain": 0.05},
    "crop": {"augment.crop_padding": 4},
    "erasing": {"augment.erasing": 0.25},
    "mixup": {"augment.mixup": 0.2},
    "randaugment": {"augment.randaugment": 2},
    "dropout": {"model.dropout": 0.3},
    "no_weight_decay": {"optim.weight_decay": 0.0},
    "weight_decay_0.1": {"optim.weight_decay": 0.1},
    "label_smoothing": {"train.label_smoothing": 0.1},
    "ema": {"train.ema_decay": 0.99},
    "class_weights": {"train.class_weights": "balanced"},
    "balanced_sampling": {"data.sampling": "balanced"},
    "logit_adjustment": {"train.logit_adjustment": 1.0},
    "focal_loss": {"train.focal_gamma": 2.0},
  }
  members = tuple(
    Member(name, "idc_v2", {**fields, "train.epochs": 5.0})
    for name, fields in changes.items()
  )
  return Study(
    title="IDC: one change to MobileNetV2's recipe",
    source="Yan 2023, which leaves regularisation open",
    members=members,
    sample=recipes.IDC_STUDY,
    pairs=tuple((member.name, "recipe") for member in members[1:]),
    claims=(
      Claim(
        "flips and turns help",
        "recipe",
        "no_augmentation",
        "test/balanced_accuracy",
      ),
      Claim(
        "dropout helps",
        "dropout",
        "recipe",
        "test/balanced_accuracy",
      ),
      Claim(
        "weight decay helps",
        "recipe",
        "no_weight_decay",
        "test/balanced_accuracy",
      ),
      Claim(
        "class weights help",
        "class_weights",
        "recipe",
        "test/balanced_accuracy",
      ),
    ),
  )
