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
_WHERE = f"{PARTIAL_DATA}: 117 tiles"
_ITEMS = (
  PaperItem(
    "Accuracies on colorectal tiles",
    "colorectal",
    metrics_of(_MEMBERS, "last/test/accuracy"),
    reason=_WHERE,
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
    reason=_WHERE,
  ),
  PaperItem(
    "t-SNE of the features of colorectal tiles",
    "colorectal",
    figures=("v1_frozen_embedding", "v2_frozen_embedding"),
  ),
  PaperItem(
    "Saliency maps of colorectal tiles",
    "colorectal",
    figures=("v1_frozen_saliency", "v2_frozen_saliency"),
  ),
  PaperItem(
    "EuroSAT, the same networks at 160 pixels (no number given)",
    "eurosat",
    metrics_of("simple_cnn_160 v1_frozen_160 v2_frozen_160", "test/accuracy"),
  ),
  PaperItem(
    "Open: EuroSAT by other means, at 64 pixels",
    "eurosat",
    metrics_of(
      "simple_cnn v1 v2 v1_frozen v2_frozen v1_fine_tune v2_fine_tune",
      "test/accuracy",
    ),
  ),
  PaperItem(
    "Open: EuroSAT from ImageNet at 128 pixels, and for longer",
    "eurosat",
    metrics_of(
      "v1_frozen_128 v2_frozen_128 v1_fine_tune_128 v2_fine_tune_128 v2_recipe",
      "test/accuracy",
      "test/balanced_accuracy",
    ),
  ),
  PaperItem(
    "Open: regions that the network has not seen",
    "eurosat",
    metrics_of(
      "v1_frozen_128_spatial v2_frozen_128_spatial v1_fine_tune_128_spatial "
      "v2_fine_tune_128_spatial v2_recipe_spatial",
      "test/accuracy",
      "test/balanced_accuracy",
    ),
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
      "of classes. EuroSAT is named, but no number is given. Here: 117 of the "
      "colorectal tiles, which decide nothing between networks, and all of "
      "EuroSAT's, with five epochs where the backbone is trained from "
      "ImageNet's weights, ten or fifteen where it is frozen, and Simple_CNN "
      "at 160 pixels with as many images as their 50 epochs of 2,500."
    ),
    items=_ITEMS,
    commands=(
      (
        study_command("colorectal"),
        "3 hours on all 5,000 tiles, mostly Simple_CNN; minutes on 117",
      ),
      (study_command("eurosat"), "a day, mostly from scratch"),
      (study_command("eurosat_batch"), "over an hour on 6,000 tiles, 5 on all"),
    ),
    headline=Headline(
      "eurosat",
      "V2 frozen beats V1 frozen, at 160 pixels below the paper's head",
    ),
  )
