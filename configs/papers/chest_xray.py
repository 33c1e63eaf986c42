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


def get_paper() -> Paper:
  keys = ("accuracy", "precision", "sensitivity", "f1")
  frozen = tuple(f"test/{key}" for key in keys)
  return Paper(
    title="NTHU 2024: MobileNetV2 against ResNet-34 on chest X-rays",
    text=(
      "A student report: fine-tuned from ImageNet in two stages, and as fixed "
      "feature extractors; the published test of 624 images, single runs, "
      "chosen by 16 validation images. 170 of 202 `personN` of the test occur "
      "in training too. Here: all 5,856 images, stored at 224 pixels; "
      "validation is split from training by person; the fine-tuned rows are "
      "three epochs at 128 pixels."
    ),
    items=(
      PaperItem(
        "Metrics on the test, fine-tuned",
        "chest_xray",
        metrics_of("v2_fine_tune", *frozen, "test/loss"),
      ),
      PaperItem(
        "Metrics on the test, ResNet-34",
        "chest_xray",
        metrics_of("resnet34_drawn", *frozen, "test/loss"),
        reason="time; ResNet-34's ImageNet weights were not available either",
      ),
      PaperItem(
        "Confusion matrices",
        "chest_xray",
        figures=("v2_fine_tune_confusion", "v2_frozen_confusion"),
      ),
      PaperItem(
        "Metrics on the test, fixed feature extractor",
        "chest_xray",
        metrics_of("v2_frozen", *frozen),
      ),
      PaperItem(
        "Curves of training and validation",
        "chest_xray",
        figures=("v2_fine_tune_curves", "v2_frozen_curves"),
      ),
      PaperItem(
        "Open: persons that training has not seen",
        "chest_xray",
        metrics_of("v2_fine_tune_apart", "test/balanced_accuracy"),
        reason="time; the command below has it",
      ),
    ),
    commands=(
      (study_command("chest_xray"), "20 hours at 224 pixels on two cores"),
    ),
    headline=Headline(
      "chest_xray", "V2 fine-tuned reaches the published accuracy of .9215"
    ),
  )
