"""The tables and figures of the studies that this project repeats.

  python -m mn_jax.tools.report --reproduction=docs/reproduction.md

writes them beside what `docs/results/` has. Times are estimates from
multiply-adds: two quiet cores train about 25 G of them per second.
"""

from mn_jax.report.reproduction import Count, Item, Source

_PART = "only a part of the data set was at hand"


def _command(study: str) -> str:
  return f"`python -m mn_jax.tools.study configs/studies/{study}.py --seeds=3`"


def _rows(names: str, *keys: str) -> tuple[tuple[str, str], ...]:
  return tuple((name, key) for name in names.split() for key in keys)


def get_sources() -> tuple[Source, ...]:
  return (_idc(), _colorectal(), _cifar(), _xrays())


def _idc() -> Source:
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
        _rows(both, "train/accuracy", "val/accuracy"),
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
        _rows(
          "v1_source_mended v2_source_mended",
          "test/balanced_accuracy",
        ),
      ),
      Item(
        "Open: which momentum, debiased or not",
        "idc_batchnorm",
        _rows(
          "m0.9 m0.9_debiased m0.99 m0.99_debiased m0.999 m0.999_debiased",
          "test/balanced_accuracy",
        ),
      ),
      Item(
        "Open: patients that the network has not seen",
        "idc",
        _rows("v1 v2 v3_small", "test/balanced_accuracy", "test/auroc"),
      ),
      Item(
        "Open: what a split by image hides",
        "idc",
        _rows(
          "v1_by_image v2_by_image v3_small_by_image", "test/balanced_accuracy"
        ),
      ),
      Item(
        "Open: a ResNet",
        "idc",
        _rows("resnet18", "test/balanced_accuracy"),
        reason="time; the command below has it",
      ),
      Item(
        "Open: data scale",
        "idc_scale",
        _rows("v1_0.1 v2_0.1 v1_1.0 v2_1.0", "test/balanced_accuracy"),
        reason="time; the command below has it",
      ),
      Item(
        "Open: augmentation, dropout, weight decay",
        "idc_regularisation",
        _rows(
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
      (_command("idc"), "2 hours on this part, 40 on all patches"),
      (_command("idc_batchnorm"), "half an hour; 12 hours on all patches"),
      (_command("idc_scale"), "3 hours; 60 on all patches"),
      (_command("idc_regularisation"), "4 hours; 90 on all patches"),
      (
        "`python -m mn_jax.tools.crossval --config=configs/idc_v2.py`",
        "20 minutes; 8 hours on all patches",
      ),
    ),
  )


def _colorectal() -> Source:
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
        _rows(members, "test/accuracy"),
        reason=f"{_PART}: 24 tiles",
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
        reason=f"{_PART}: 24 tiles",
      ),
      Item(
        "EuroSAT, the same networks (no number given)",
        "eurosat",
        _rows(
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
        _rows(
          "simple_cnn_by_slide v1_frozen_by_slide v2_frozen_by_slide",
          "test/accuracy",
        ),
        reason=f"{_PART}: 24 tiles",
      ),
    ),
    commands=(
      (_command("colorectal"), "3 hours on all 5,000 tiles, mostly Simple_CNN"),
      (_command("eurosat"), "2 hours on 6,000 tiles, 8 on all"),
    ),
  )


def _cifar() -> Source:
  where = f"{_PART}: 102 images of the ten classes"
  biases = {"conv_bias": True}

  def width(share: float, published: int) -> Count:
    return Count(
      f"V1 {share:g}, 10 classes, biases",
      published,
      "mobilenet_v1",
      classes=10,
      width=share,
      options=biases,
    )

  def macs(pixels: int, published: int) -> Count:
    return Count(
      f"M mult-adds at {pixels}",
      published,
      "mobilenet_v1",
      "macs",
      resolution=pixels,
    )

  return Source(
    title="A reproduction of MobileNet on ten classes of CIFAR-100",
    text=(
      "Classes 0 to 9, enlarged to 224 pixels, Adam 1e-3, dropout of 0.1 after "
      "every block. The test set was the validation set and chose the epoch; "
      "over the last ten epochs the four widths are at 70.3, 71.7, 71.1 and "
      "69.6 % with deviations of two points and more, so that their order is "
      "not shown. Two rows of the table of resolutions were copied from "
      "others; VGG16 and InceptionV3 were fed with the wrong preprocessing."
    ),
    items=(
      Item(
        "Width multipliers",
        "cifar100",
        _rows("v1_1.0 v1_0.75 v1_0.5 v1_0.25", "test/accuracy"),
        reason=where,
      ),
      Item(
        "Resolutions",
        "cifar100",
        _rows("v1_192 v1_160 v1_128", "test/accuracy"),
        reason=where,
      ),
      Item(
        "Width 0.75 against shallow",
        "cifar100",
        _rows("v1_0.75 v1_shallow", "test/accuracy"),
        reason=where,
      ),
      Item(
        "Separable against full convolutions",
        "cifar100",
        _rows("v1_full_convolutions", "test/accuracy"),
        reason=where,
      ),
      Item(
        "VGG16 and InceptionV3, frozen",
        "cifar100",
        _rows("vgg16 inception_v3", "test/accuracy"),
        reason=where,
      ),
      Item(
        "Curves of training and validation",
        "cifar100",
        figures=("v1_1_0_curves",),
        reason=where,
      ),
      Item(
        "Parameters and mult-adds",
        counts=(
          width(1.0, 3_250_058),
          width(0.75, 1_848_874),
          width(0.5, 840_138),
          width(0.25, 223_850),
          Count(
            "shallow, 10 classes, biases",
            1_890_698,
            "mobilenet_v1",
            classes=10,
            options={**biases, "shallow": True},
          ),
          Count(
            "VGG16 and head",
            121_684_810,
            "vgg16",
            classes=10,
            head="flatten_4096_1024",
          ),
          Count(
            "InceptionV3 and head",
            23_911_210,
            "inception_v3",
            classes=10,
            head="gap_1024",
          ),
          macs(224, 569),
          macs(192, 418),
          macs(160, 291),
          macs(128, 186),
        ),
      ),
    ),
    commands=(
      (
        _command("cifar100"),
        "24 hours on two cores, of which full convolutions take 11; run it on "
        "a GPU",
      ),
    ),
  )


def _xrays() -> Source:
  keys = ("accuracy", "precision", "sensitivity", "f1")
  frozen = tuple(f"test/{key}" for key in keys)
  return Source(
    title="MobileNetV2 against ResNet-34 on chest X-rays",
    text=(
      "Fine-tuned from ImageNet in two stages, and as fixed feature "
      "extractors; the published test of 624 images, single runs, chosen by 16 "
      "validation images. 170 of 202 `personN` of the test occur in training "
      "too. Here: all 5,856 images, stored at 224 pixels; validation is drawn "
      "from training by person; the fine-tuned rows are three epochs at 128 "
      "pixels."
    ),
    items=(
      Item(
        "Metrics on the test, fine-tuned",
        "chest_xray",
        _rows("v2_fine_tune", *frozen, "test/loss"),
      ),
      Item(
        "Metrics on the test, ResNet-34",
        "chest_xray",
        _rows("resnet34_drawn", *frozen, "test/loss"),
        reason="time; ResNet-34's ImageNet weights were not at hand either",
      ),
      Item(
        "Confusion matrices",
        "chest_xray",
        figures=("v2_fine_tune_confusion", "v2_frozen_confusion"),
      ),
      Item(
        "Metrics on the test, fixed feature extractor",
        "chest_xray",
        _rows("v2_frozen", *frozen),
      ),
      Item(
        "Curves of training and validation",
        "chest_xray",
        figures=("v2_fine_tune_curves", "v2_frozen_curves"),
      ),
      Item(
        "Open: persons that training has not seen",
        "chest_xray",
        _rows("v2_fine_tune_apart", "test/balanced_accuracy"),
        reason="time; the command below has it",
      ),
    ),
    commands=((_command("chest_xray"), "20 hours at 224 pixels on two cores"),),
  )
