"""Dong et al. 2020: MobileNetV2 against V1 and a simple CNN.

K. Dong, C. Zhou, Y. Ruan, Y. Li, "MobileNetV2 Model for Image Classification",
2020, on colorectal tiles and EuroSAT.

Times are estimates: two quiet cores train about 25 G of mult-adds per second.
"""

from mn_jax.report.reproduction import (
  PARTIAL_DATA,
  Headline,
  NetworkSize,
  Paper,
  PaperItem,
  metrics_of,
  study_command,
)

_MEMBERS = "simple_cnn v1_frozen v2_frozen"
_ITEMS = (
  PaperItem(
    "Accuracies on colorectal tiles",
    "colorectal",
    metrics_of(_MEMBERS, "test/accuracy"),
    reason=f"{PARTIAL_DATA}: 24 tiles",
  ),
  PaperItem(
    "Numbers of parameters",
    sizes=(
      NetworkSize(
        "Simple_CNN, 160 pixels, 8 classes",
        670_056,
        "simple_cnn",
        classes=8,
        resolution=160,
      ),
      NetworkSize(
        "V1 and head, 10 classes",
        3_369_738,
        "mobilenet_v1",
        classes=10,
        head="gap_128_64",
      ),
      NetworkSize(
        "V1, of these trained",
        140_490,
        "mobilenet_v1",
        "head",
        classes=10,
        head="gap_128_64",
      ),
      NetworkSize(
        "V2 and head, 8 classes",
        2_431_496,
        "mobilenet_v2",
        classes=8,
        head="gap_128_64",
      ),
      NetworkSize(
        "V2, of these trained",
        173_128,
        "mobilenet_v2",
        "head",
        classes=8,
        head="gap_128_64",
      ),
    ),
  ),
  PaperItem(
    "Curves of training and validation on colorectal tiles",
    "colorectal",
    figures=("v1_frozen_curves", "v2_frozen_curves", "simple_cnn_curves"),
    reason=f"{PARTIAL_DATA}: 24 tiles",
  ),
  PaperItem(
    "EuroSAT, the same networks (no number given)",
    "eurosat",
    metrics_of(
      "simple_cnn v1 v2 v1_0.75_frozen v2_frozen v1_0.75_fine_tune "
      "v2_fine_tune",
      "test/accuracy",
    ),
  ),
  PaperItem(
    "t-SNE of the features",
    "eurosat",
    figures=("v2_frozen_embedding", "v2_fine_tune_embedding"),
  ),
  PaperItem(
    "Saliency maps",
    "eurosat",
    figures=("v2_frozen_saliency", "v2_fine_tune_saliency"),
  ),
  PaperItem(
    "Open: slides that the network has not seen",
    "colorectal",
    metrics_of(
      "simple_cnn_by_slide v1_frozen_by_slide v2_frozen_by_slide",
      "test/accuracy",
    ),
    reason=f"{PARTIAL_DATA}: 24 tiles",
  ),
  PaperItem(
    "Open: batch size",
    "eurosat_batch",
    metrics_of(
      "sgd_linear_64 sgd_linear_256 sgd_linear_1024 lars_linear_1024 "
      "lars_sqrt_1024 lamb_sqrt_1024 adamw_sqrt_64 adamw_sqrt_1024",
      "test/accuracy",
    ),
  ),
)


def get_paper() -> Paper:
  return Paper(
    title="Dong et al. 2020: MobileNetV2 on colorectal tiles and EuroSAT",
    text=(
      "MobileNetV2, V1 and a simple CNN: frozen backbones at 160 pixels under "
      "a head of 128 and 64, ten epochs; a CNN of four convolutions, fifty. "
      "Half of the 5,000 tiles are the test, split at random, so that all ten "
      "slides are on both sides; with 2,500 tiles .8860 and .8900 cannot be "
      "told apart. The table of parameters mixes the two data sets' numbers "
      "of classes. EuroSAT is named, but no number is given. Here: 6,000 of "
      "EuroSAT's 27,000 tiles at 64 pixels, V1 at width 0.75, five epochs of "
      "training where the backbone is trained, fifteen where it is frozen."
    ),
    items=_ITEMS,
    commands=(
      (
        study_command("colorectal"),
        "3 hours on all 5,000 tiles, mostly Simple_CNN",
      ),
      (study_command("eurosat"), "2 hours on 6,000 tiles, 8 on all"),
      (study_command("eurosat_batch"), "over an hour on 6,000 tiles, 5 on all"),
    ),
    headline=Headline(
      "eurosat",
      "V2 frozen beats V1 frozen, at 160 pixels below the paper's head",
    ),
  )
