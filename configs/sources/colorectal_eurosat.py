"""What the study of V2 against V1 and a simple CNN prints.

Times are estimates: two quiet cores train about 25 G of mult-adds per second.
"""

from mn_jax.report.reproduction import PART, Count, Item, Source, command, rows


def get_source() -> Source:
  members = "simple_cnn v1_frozen v2_frozen"
  return Source(
    title="MobileNetV2 against V1 and a simple CNN: colorectal tiles, EuroSAT",
    text=(
      "Frozen backbones at 160 pixels under a head of 128 and 64, ten epochs; "
      "a CNN of four convolutions, fifty. Half of the 5,000 tiles are the "
      "test, drawn at random, so that all ten slides are on both sides; with "
      "2,500 tiles .8860 and .8900 cannot be told apart. The table of "
      "parameters mixes the two data sets' numbers of classes. EuroSAT is "
      "named, but no number is given. Here: 6,000 of EuroSAT's 27,000 tiles "
      "at 64 pixels, V1 at width 0.75, five epochs of training where the "
      "backbone is trained, fifteen where it is frozen."
    ),
    items=(
      Item(
        "Accuracies on colorectal tiles",
        "colorectal",
        rows(members, "test/accuracy"),
        reason=f"{PART}: 24 tiles",
      ),
      Item(
        "Numbers of parameters",
        counts=(
          Count(
            "Simple_CNN, 160 pixels, 8 classes",
            670_056,
            "simple_cnn",
            classes=8,
            resolution=160,
          ),
          Count(
            "V1 and head, 10 classes",
            3_369_738,
            "mobilenet_v1",
            classes=10,
            head="gap_128_64",
          ),
          Count(
            "V1, of these trained",
            140_490,
            "mobilenet_v1",
            "head",
            classes=10,
            head="gap_128_64",
          ),
          Count(
            "V2 and head, 8 classes",
            2_431_496,
            "mobilenet_v2",
            classes=8,
            head="gap_128_64",
          ),
          Count(
            "V2, of these trained",
            173_128,
            "mobilenet_v2",
            "head",
            classes=8,
            head="gap_128_64",
          ),
        ),
      ),
      Item(
        "Curves of training and validation on colorectal tiles",
        "colorectal",
        figures=("v1_frozen_curves", "v2_frozen_curves", "simple_cnn_curves"),
        reason=f"{PART}: 24 tiles",
      ),
      Item(
        "EuroSAT, the same networks (no number given)",
        "eurosat",
        rows(
          "simple_cnn v1 v2 v1_0.75_frozen v2_frozen v1_0.75_fine_tune "
          "v2_fine_tune",
          "test/accuracy",
        ),
      ),
      Item(
        "t-SNE of the features",
        "eurosat",
        figures=("v2_frozen_embedding", "v2_fine_tune_embedding"),
      ),
      Item(
        "Saliency maps",
        "eurosat",
        figures=("v2_frozen_saliency", "v2_fine_tune_saliency"),
      ),
      Item(
        "Open: slides that the network has not seen",
        "colorectal",
        rows(
          "simple_cnn_by_slide v1_frozen_by_slide v2_frozen_by_slide",
          "test/accuracy",
        ),
        reason=f"{PART}: 24 tiles",
      ),
      Item(
        "Open: batch size",
        "eurosat_batch",
        rows(
          "sgd_linear_64 sgd_linear_256 sgd_linear_1024 lars_linear_1024 "
          "lars_sqrt_1024 lamb_sqrt_1024 adamw_sqrt_64 adamw_sqrt_1024",
          "test/accuracy",
        ),
      ),
    ),
    commands=(
      (command("colorectal"), "3 hours on all 5,000 tiles, mostly Simple_CNN"),
      (command("eurosat"), "2 hours on 6,000 tiles, 8 on all"),
      (command("eurosat_batch"), "over an hour on 6,000 tiles, 5 on all"),
    ),
  )
