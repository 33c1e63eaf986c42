"""What the study of MobileNetV1 against V2 on breast-cancer patches prints.

Times are estimates: two quiet cores train about 25 G of mult-adds per second.
"""

from mn_jax.report.reproduction import Count, Item, Source, command, rows


def get_source() -> Source:
  both = "v1_source v2_source"
  return Source(
    title="MobileNetV1 against V2 on breast-cancer patches (IDC)",
    text=(
      "Adam 1e-4, five epochs, a random split of all 277,524 patches, one run "
      "each, accuracies of training and validation. Patches of a patient are "
      "on both sides, the commonest class is right 71.6 % of the time, and "
      "V2's running statistics lag (momentum 0.999). It says that V2 has more "
      "parameters. Here: 11,081 patches of 239 patients; rows without "
      "`_source` are five epochs of this project's recipe."
    ),
    items=(
      Item(
        "Accuracies of V1 and V2 after five epochs",
        "idc",
        rows(both, "train/accuracy", "val/accuracy"),
      ),
      Item(
        "Curves of training and validation, V1 and V2",
        "idc",
        figures=("v1_source_curves", "v2_source_curves"),
      ),
      Item(
        "Numbers of parameters of V1 and V2, without top",
        counts=(
          Count("V1", 3_228_864, "mobilenet_v1", "backbone"),
          Count("V2", 2_257_984, "mobilenet_v2", "backbone"),
        ),
      ),
      Item(
        "Open: the same with running statistics that keep up",
        "idc",
        rows(
          "v1_source_mended v2_source_mended",
          "test/balanced_accuracy",
        ),
      ),
      Item(
        "Open: which momentum, debiased or not",
        "idc_batchnorm",
        rows(
          "m0.9 m0.9_debiased m0.99 m0.99_debiased m0.999 m0.999_debiased",
          "test/balanced_accuracy",
        ),
      ),
      Item(
        "Open: patients that the network has not seen",
        "idc",
        rows("v1 v2 v3_small", "test/balanced_accuracy", "test/auroc"),
      ),
      Item(
        "Open: what a split by image hides",
        "idc",
        rows(
          "v1_by_image v2_by_image v3_small_by_image", "test/balanced_accuracy"
        ),
      ),
      Item(
        "Open: a ResNet",
        "idc",
        rows("resnet18", "test/balanced_accuracy"),
        reason="time; the command below has it",
      ),
      Item(
        "Open: data scale",
        "idc_scale",
        rows("v1_0.1 v2_0.1 v1_1.0 v2_1.0", "test/balanced_accuracy"),
        reason="time; the command below has it",
      ),
      Item(
        "Open: augmentation, dropout, weight decay",
        "idc_regularisation",
        rows(
          "recipe no_augmentation dropout no_weight_decay",
          "test/balanced_accuracy",
        ),
        reason="time; the command below has it",
      ),
      Item(
        "Open: cross-validation by patient",
        reason="time; the command below has it",
      ),
    ),
    commands=(
      (command("idc"), "2 hours on this part, 40 on all patches"),
      (command("idc_batchnorm"), "half an hour; 12 hours on all patches"),
      (command("idc_scale"), "3 hours; 60 on all patches"),
      (command("idc_regularisation"), "4 hours; 90 on all patches"),
      (
        "`python -m mn_jax.tools.crossval --config=configs/idc_v2.py`",
        "20 minutes; 8 hours on all patches",
      ),
    ),
  )
