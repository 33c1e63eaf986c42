"""MobileNetV2 against ResNet-34 on chest X-rays, fine-tuned and frozen.

  python -m mn_jax.tools.study configs/studies/chest_xray.py --seeds=3

A student report (NTHU 2024) selected by 16 validation images and gives single
runs on the published test of 624. Here validation is split from training by
person. Its settings: a rate of 1e-4, a tenth of it in the pretrained layers,
dropout of 0.3 (V2: Adam; ResNet-34: SGD with momentum 0.9, weight decay 5e-4,
dropout 0.2); fixed features: 1e-3 and dropout of 0.3. It stopped after two
validations without improvement, and then trained the saved state on until there
were four. A run that resumes with more patience continues as if it had had it
from the start, so a patience of 4 is both.

`v2_best_mean` and `v1_v2_best` are means of all runs of V2, and of V1 and V2:
nothing is trained for them, and the row has one run. Images are reduced to 128
pixels. Rows that end in `_apart` leave training images out whose `personN` is
in the test. ImageNet weights of ResNet-34 are not among those that can be
fetched: its rows from them are optional, for a file `resnet34.safetensors` of
torchvision's in the folder of weights.
"""

from mn_jax.studies.study import Claim, Member, Study

_NTHU = {
  "model.resolution": 128,
  "model.dropout": 0.3,
  "optim.schedule": "constant",
  "optim.warmup_epochs": 0.0,
  "optim.weight_decay": 0.0,
  "train.class_weights": "none",
  "train.patience": 4,
  "train.epochs": 30.0,
  "eval.best_metric": "loss",
}
_FINE_TUNE = {
  **_NTHU,
  "model.transfer": "fine_tune",
  "optim.name": "adam",
  "optim.learning_rate": 1e-4,
  "optim.rules": ("backbone/.* lr=0.1", ".*"),
}
_FROZEN = {**_NTHU, "optim.name": "adam", "optim.learning_rate": 1e-3}
_SGD = {"optim.name": "sgd", "optim.nesterov": False}
_RESNET = {
  **_SGD,
  "model.name": "resnet34",
  "model.dropout": 0.2,
  "optim.weight_decay": 5e-4,
}
# From scratch these rates are too small: the project's recipe.
_SCRATCH = {"model.resolution": 128, "train.epochs": 15.0}
_APART = {"data.shared_groups": "drop"}
_V2, _V2_FILE = "chest_xray_v2", "mobilenet_v2_1.0_224"
_V1_FILE, _RESNET_FILE = "mobilenet_v1_1.0_224", "resnet34.safetensors"

_OF_V2 = {
  "test/accuracy": 0.9215,
  "test/precision": 0.9169,
  "test/sensitivity": 0.9615,
  "test/f1": 0.9387,
  "test/specificity": 0.8547,
  "test/loss": 0.4375,
}
_OF_RESNET = {
  "test/accuracy": 0.9135,
  "test/precision": 0.8871,
  "test/sensitivity": 0.9872,
  "test/f1": 0.9345,
  "test/specificity": 0.7906,
  "test/loss": 0.3342,
}
_COUNTS = "specificity from its confusion matrix; chosen by 16 images"

_MEMBERS = (
  Member(
    "v2_fine_tune",
    _V2,
    {**_FINE_TUNE, "model.match_statistics": 2048},
    weights=_V2_FILE,
    published=_OF_V2,
    note=_COUNTS,
  ),
  Member(
    "v2_fine_tune_apart",
    _V2,
    {**_FINE_TUNE, "model.match_statistics": 2048, **_APART},
    weights=_V2_FILE,
  ),
  Member("v2_frozen", f"{_V2}:frozen", _FROZEN, weights=_V2_FILE),
  Member(
    "v2_frozen_sgd", f"{_V2}:frozen", {**_FROZEN, **_SGD}, weights=_V2_FILE
  ),
  Member("v2_scratch", _V2, _SCRATCH),
  Member(
    "resnet34_scratch",
    _V2,
    {**_SCRATCH, **_RESNET, "optim.learning_rate": 0.02},
    published=_OF_RESNET,
    note=f"published from ImageNet weights, here from scratch; {_COUNTS}",
  ),
  Member("v2_best", f"{_V2}:best", weights=_V2_FILE),
  Member("v2_best_apart", f"{_V2}:best", _APART, weights=_V2_FILE),
  Member(
    "v1_best",
    f"{_V2}:best",
    {"model.name": "mobilenet_v1"},
    weights=_V1_FILE,
  ),
  Member("v2_best_mean", f"{_V2}:best", ensemble=("v2_best",)),
  Member("v1_v2_best", f"{_V2}:best", ensemble=("v2_best", "v1_best")),
  Member(
    "resnet34_fine_tune",
    _V2,
    {**_FINE_TUNE, **_RESNET},
    weights=_RESNET_FILE,
    published=_OF_RESNET,
    note=_COUNTS,
    optional=True,
  ),
  Member(
    "resnet34_frozen",
    f"{_V2}:frozen",
    {**_FROZEN, **_RESNET},
    weights=_RESNET_FILE,
    optional=True,
  ),
)
_AT_95 = "at_sensitivity_0.95"
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
    "V2 is more accurate than ResNet-34, both from scratch (.9215, .9135)",
    "v2_scratch",
    "resnet34_scratch",
    "test/accuracy",
  ),
  Claim(
    "ResNet-34 finds more pneumonias than V2, both from scratch (.9872, .9615)",
    "resnet34_scratch",
    "v2_scratch",
    "test/sensitivity",
  ),
  Claim(
    "fine-tuning beats a fixed feature extractor",
    "v2_fine_tune",
    "v2_frozen",
    "test/accuracy",
  ),
  Claim(
    "persons shared with the test inflate balanced accuracy",
    "v2_best",
    "v2_best_apart",
    "test/balanced_accuracy",
  ),
  Claim(
    "an accuracy of .942 is reached",
    "v2_best",
    "",
    "test/accuracy",
    ">",
    0.942,
  ),
  Claim(
    "at validation's threshold for a sensitivity of .95 specificity is .90",
    "v2_best",
    "",
    f"{_AT_95}/specificity",
    ">",
    0.9,
    margin=0.03,
  ),
  Claim(
    "at that threshold the test's sensitivity is .95",
    "v2_best",
    "",
    f"{_AT_95}/sensitivity",
    ">",
    0.95,
    margin=0.03,
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
      "model.resolution": 0,
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
      "loss",
    ),
    pairs=(
      ("v2_fine_tune", "v2_scratch"),
      ("v2_fine_tune", "v2_frozen"),
      ("v2_fine_tune", "v2_fine_tune_apart"),
      ("v2_best", "v2_best_apart"),
      ("v2_best", "v2_fine_tune"),
      ("v2_best", "v1_best"),
      ("v1_v2_best", "v2_best_mean"),
      ("v2_scratch", "resnet34_scratch"),
    ),
    claims=_CLAIMS,
  )
