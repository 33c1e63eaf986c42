"""Augmentation, dropout and weight decay for MobileNetV2 on IDC.

  python -m mn_jax.tools.study configs/studies/idc_regularisation.py --seeds=3

One change at a time from the recipe, split by patient.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_PLAIN = {"augment.flip": "none", "augment.quarter_turns": False}


def get_study() -> Study:
  members = (
    Member("recipe", "idc_v2"),
    Member("no_augmentation", "idc_v2", _PLAIN),
    Member("stain", "idc_v2", {"augment.stain": 0.05}),
    Member("crop", "idc_v2", {"augment.crop_padding": 4}),
    Member("erasing", "idc_v2", {"augment.erasing": 0.25}),
    Member("mixup", "idc_v2", {"augment.mixup": 0.2}),
    Member("randaugment", "idc_v2", {"augment.randaugment": 2}),
    Member("dropout", "idc_v2", {"model.dropout": 0.3}),
    Member("no_weight_decay", "idc_v2", {"optim.weight_decay": 0.0}),
    Member("weight_decay_0.1", "idc_v2", {"optim.weight_decay": 0.1}),
    Member("label_smoothing", "idc_v2", {"train.label_smoothing": 0.1}),
    Member("ema", "idc_v2", {"train.ema_decay": 0.99}),
    Member("class_weights", "idc_v2", {"train.class_weights": "balanced"}),
    Member("balanced_sampling", "idc_v2", {"data.sampling": "balanced"}),
    Member("logit_adjustment", "idc_v2", {"train.logit_adjustment": 1.0}),
    Member("focal_loss", "idc_v2", {"train.focal_gamma": 2.0}),
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
