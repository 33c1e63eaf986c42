"""Yan 2023: MobileNetV1 against V2 on breast-cancer patches.

J. Yan, "Study for Performance of MobileNetV1 and MobileNetV2 Based on Breast
Cancer", arXiv:2308.03076.

Times are estimates: two quiet cores train about 25 G of mult-adds per second.
"""

from mn_jax.report.reproduction import (
  Headline,
  NetworkSize,
  Paper,
  PaperItem,
  metrics_of,
  study_command,
)

_BOTH = "v1_source v2_source"
_ITEMS = (
  PaperItem(
    "Accuracies of V1 and V2 after five epochs",
    "idc",
    metrics_of(_BOTH, "last/train/accuracy", "last/val/accuracy"),
  ),
  PaperItem(
    "Curves of training and validation, V1 and V2",
    "idc",
    figures=("v1_source_curves", "v2_source_curves"),
  ),
  PaperItem(
    "Numbers of parameters of V1 and V2, without top",
    sizes=(
      NetworkSize("V1", 3_228_864, "mobilenet_v1", "backbone"),
      NetworkSize("V2", 2_257_984, "mobilenet_v2", "backbone"),
    ),
  ),
  PaperItem(
    "Open: the same with fixed running statistics",
    "idc",
    metrics_of(
      "v1_source_mended v2_source_mended",
      "test/balanced_accuracy",
    ),
  ),
  PaperItem(
    "Open: which momentum, debiased or not",
    "idc_batchnorm",
    metrics_of(
      "m0.9 m0.9_debiased m0.99 m0.99_debiased m0.999 m0.999_debiased",
      "test/balanced_accuracy",
    ),
  ),
  PaperItem(
    "Open: when evaluation escapes, predicted from the initial weights",
    "idc_lag",
    metrics_of(
      "m0.99_b32_before m0.99_b32_before_control m0.99_b32_after "
      "m0.99_b32_after_control m0.99_b8_before m0.99_b8_after "
      "m0.999_b8_before m0.999_b8_after",
      "test/balanced_accuracy",
    ),
    reason="time; the command below has it",
  ),
  PaperItem(
    "Open: patients that the network has not seen",
    "idc",
    metrics_of("v1 v2 v3_small", "test/balanced_accuracy", "test/auroc"),
  ),
  PaperItem(
    "Open: what a random split hides",
    "idc",
    metrics_of(
      "v1_by_image v2_by_image v3_small_by_image", "test/balanced_accuracy"
    ),
  ),
  PaperItem(
    "Open: ResNets",
    "idc",
    metrics_of("resnet18 resnet34", "test/balanced_accuracy"),
    reason="time; the command below has it",
  ),
  PaperItem(
    "Open: larger networks",
    "idc_rivals",
    metrics_of(
      "mobilenet_v2 mobilenet_v3_large resnet50 xception inception_resnet_v2 "
      "resnet152",
      "test/balanced_accuracy",
    ),
    reason="time: up to 3 hours a run; the command below has it",
  ),
  PaperItem(
    "Open: data scale",
    "idc_scale",
    metrics_of(
      "v1_0.05 v2_0.05 v1_0.1 v2_0.1 v1_1.0 v2_1.0", "test/balanced_accuracy"
    ),
    reason="time; the command below has it",
  ),
  PaperItem(
    "Open: augmentation, dropout, weight decay",
    "idc_regularisation",
    metrics_of(
      "recipe no_augmentation dropout no_weight_decay",
      "test/balanced_accuracy",
    ),
    reason="time; the command below has it",
  ),
  PaperItem(
    "Open: cross-validation by patient, from ImageNet weights",
    "idc_recipe",
    metrics_of(
      "recipe v1 v2 recipe_views v1_v3 v1_v2_v3 four_networks",
      "test/balanced_accuracy",
      "test/auroc",
    ),
    reason="time; the command below has it",
  ),
  PaperItem(
    "Open: what each ingredient brings",
    "idc_recipe",
    metrics_of(
      "no_stain_jitter no_balance no_averages no_flips_and_turns no_cosine "
      "no_resize no_weights with_128_pixels with_10_epochs with_crops "
      "with_stronger_jitter with_mixup stains_and_jitter stains_alone",
      "test/balanced_accuracy",
    ),
    reason="time; the command below has it",
  ),
  PaperItem(
    "The published cases (Cruz-Roa 2014, Janowczyk 2016, Romero 2019)",
    "idc_published",
    metrics_of(
      "v1_scratch v2_scratch v3_small v1 v2 v3_small_views all_views",
      "test/balanced_accuracy",
      "test/f1",
    ),
    reason="time; the command below has it",
  ),
)


def get_paper() -> Paper:
  return Paper(
    title="Yan 2023: MobileNetV1 against V2 on breast-cancer patches (IDC)",
    text=(
      "[arXiv:2308.03076](https://arxiv.org/abs/2308.03076): Adam 1e-4, five "
      "epochs, a random split of all 277,524 patches, one run each, "
      "accuracies of training and validation. Patches of a patient are on "
      "both sides, the majority class has 71.6 % of the patches, and V2's "
      "running statistics lag (momentum 0.999). It says that V2 has more "
      "parameters. Here: 11,081 patches of 239 patients; rows with `_source` "
      "have its settings, `_mended` the same with other running statistics, "
      "and the others fifteen epochs of this project's recipe."
    ),
    items=_ITEMS,
    commands=(
      (
        study_command("idc", seeds=5),
        "3 hours on this part, 40 on all patches",
      ),
      (study_command("idc_batchnorm"), "half an hour; 12 hours on all patches"),
      (study_command("idc_lag", seeds=5), "2 hours, on any part of the data"),
      (
        study_command("idc_rivals", seeds=5),
        "45 minutes; of the four largest networks, with --only, 36 hours",
      ),
      (study_command("idc_scale", seeds=5), "2 hours; 45 on all patches"),
      (
        study_command("idc_regularisation", seeds=5),
        "2.5 hours; 60 on all patches",
      ),
      (study_command("idc_recipe", seeds=5), "2.5 hours; 60 on all patches"),
      (study_command("idc_published", seeds=5), "1 hour; 25 on all patches"),
    ),
    headline=Headline(
      "idc", "V1 validates better than V2 in Yan 2023's setting (.857, .743)"
    ),
  )
