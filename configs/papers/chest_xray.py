"""NTHU 2024: MobileNetV2 against ResNet-34 on chest X-rays.

A student report of the course DLBOI, National Tsing Hua University, 2024.

Times are estimates: two quiet cores train about 25 G of mult-adds per second.
"""

from mn_jax.report.reproduction import (
  Headline,
  Paper,
  PaperItem,
  metrics_of,
  study_command,
)

_REPORTED = tuple(
  f"test/{key}"
  for key in (
    "accuracy",
    "precision",
    "sensitivity",
    "f1",
    "specificity",
    "loss",
  )
)


def get_paper() -> Paper:
  return Paper(
    title="NTHU 2024: MobileNetV2 against ResNet-34 on chest X-rays",
    text=(
      "A student report: fine-tuned from ImageNet in two stages (patience 2, "
      "then 4 from the saved state), rates of 1e-4 and in pretrained layers "
      "1e-5, and as fixed feature extractors; the published test of 624 "
      "images, single runs, chosen by 16 validation images. 170 of 202 "
      "`personN` of the test occur in training too. Here: all 5,856 images, "
      "stored at 224 pixels, reduced to 128, in rows named `best` to 160; "
      "validation is split from training "
      "by person. Normal images of the test differ from those of training in "
      "sharpness and borders, which tell most normal images from pneumonia "
      "([data.md](data.md#chest_xray)): validation promises a specificity that "
      "the test does not keep."
    ),
    items=(
      PaperItem(
        "Metrics on the test, V2 fine-tuned",
        "chest_xray",
        metrics_of("v2_fine_tune", *_REPORTED),
      ),
      PaperItem(
        "Metrics on the test, ResNet-34 fine-tuned",
        "chest_xray",
        metrics_of("resnet34_fine_tune", *_REPORTED),
        reason="no ImageNet weights of ResNet-34 were available",
      ),
      PaperItem(
        "In its place: ResNet-34 and V2 from scratch",
        "chest_xray",
        metrics_of("resnet34_scratch v2_scratch", *_REPORTED),
      ),
      PaperItem(
        "Confusion matrices",
        "chest_xray",
        figures=("v2_fine_tune_confusion", "resnet34_scratch_confusion"),
      ),
      PaperItem(
        "Metrics on the test, fixed feature extractor (Adam, SGD)",
        "chest_xray",
        metrics_of("v2_frozen v2_frozen_sgd", *_REPORTED),
      ),
      PaperItem(
        "ResNet-34 as fixed feature extractor",
        "chest_xray",
        metrics_of("resnet34_frozen", *_REPORTED),
        reason="no ImageNet weights of ResNet-34 were available",
      ),
      PaperItem(
        "Curves of training and validation",
        "chest_xray",
        figures=("v2_fine_tune_curves", "v2_frozen_curves"),
      ),
      PaperItem(
        "Open: persons that training has not seen",
        "chest_xray",
        metrics_of(
          "v2_fine_tune v2_fine_tune_apart v2_best v2_best_apart",
          "test/balanced_accuracy",
        ),
      ),
      PaperItem(
        "Open: how far V1 and V2 get",
        "chest_xray",
        metrics_of(
          "v2_best v1_best v2_best_mean v1_v2_best", *_REPORTED, "test/auroc"
        ),
      ),
    ),
    commands=(
      (study_command("chest_xray"), "7 hours at 128 pixels on two cores"),
    ),
    headline=Headline("chest_xray", "an accuracy of .942 is reached"),
  )
