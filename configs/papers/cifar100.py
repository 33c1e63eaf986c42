"""Ma et al. 2022: a reproduction of MobileNet on ten classes of CIFAR-100.

Y. Ma, Z. Shu, Z. Xiao, report of the course E4040, Columbia University, 2022.

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

_REPORTED = ("test/accuracy", "chosen_by_test/accuracy")
_REPORTED += ("last_ten_tests/accuracy", "last/train/accuracy", "wall_seconds")
_COST = "a night each on two cores; the rows at 64 pixels stand for them"
_BIASES = {"conv_bias": True}


def _width(share: float, published: int) -> NetworkSize:
  return NetworkSize(
    f"V1 {share:g}, 10 classes, biases",
    published,
    "mobilenet_v1",
    classes=10,
    width=share,
    options=_BIASES,
  )


def _macs(pixels: int, published: int) -> NetworkSize:
  return NetworkSize(
    f"M mult-adds at {pixels}",
    published,
    "mobilenet_v1",
    "macs",
    resolution=pixels,
  )


def _shares(kind: str, macs: float, kernels: float) -> list[NetworkSize]:
  return [
    NetworkSize(
      f"{kind}, % of {what}", published, "mobilenet_v1", of, kind=kind
    )
    for what, of, published in (
      ("mult-adds", "macs_share", macs),
      ("parameters", "kernel_share", kernels),
    )
  ]


def _curves(rows: str) -> tuple[str, ...]:
  return tuple(f"{row.replace('.', '_')}_curves" for row in rows.split())


_WIDTHS = "v1_1.0 v1_0.75 v1_0.5 v1_0.25"
_SIZES = "v1_55 v1_46 v1_37"

_ITEMS = (
  PaperItem(
    "Table 2: shares of the types of layers, from Howard et al. 2017",
    sizes=(
      *_shares("conv 1x1", 94.86, 74.59),
      *_shares("depthwise 3x3", 3.06, 1.06),
      *_shares("conv 3x3", 1.19, 0.02),
      *_shares("dense", 0.18, 24.33),
    ),
  ),
  PaperItem(
    "Table 4: width multipliers",
    "cifar100",
    metrics_of(_WIDTHS, *_REPORTED),
  ),
  PaperItem(
    "Table 5: resolutions, by their ratio to 64 pixels",
    "cifar100",
    metrics_of(_SIZES, *_REPORTED),
  ),
  PaperItem(
    "Table 6: width 0.75 against shallow",
    "cifar100",
    metrics_of("v1_0.75 v1_shallow", *_REPORTED),
  ),
  PaperItem(
    "Table 7: VGG16 with a frozen backbone, at 128 pixels",
    "cifar100",
    metrics_of("vgg16_128", *_REPORTED),
  ),
  PaperItem(
    "Table 7: InceptionV3 with a frozen backbone",
    "cifar100",
    metrics_of("inception_v3", *_REPORTED),
    reason="no ImageNet weights of InceptionV3 were available",
  ),
  PaperItem(
    "In its place: InceptionV3 from scratch, at 96 pixels",
    "cifar100",
    metrics_of("inception_v3_scratch", "test/accuracy"),
  ),
  PaperItem(
    "Tables 4 to 7 at the published sizes",
    "cifar100",
    metrics_of(
      "v1_1.0_224 v1_0.75_224 v1_0.5_224 v1_192 v1_160 v1_128 v1_shallow_224 "
      "vgg16",
      "test/accuracy",
    ),
    reason=_COST,
  ),
  PaperItem(
    "Whether 64 pixels stand for 224: width 0.25 at 224",
    "cifar100",
    metrics_of("v1_0.25_224", *_REPORTED),
  ),
  PaperItem(
    "Curves of training and validation",
    "cifar100",
    figures=_curves(f"{_WIDTHS} {_SIZES} v1_shallow vgg16_128"),
  ),
  PaperItem(
    "Open: separable against full convolutions, width 0.5",
    "cifar100",
    metrics_of("v1_0.5 v1_0.5_full_convolutions", "test/accuracy"),
  ),
  PaperItem(
    "Open: how far V1 and V2 get",
    "cifar100",
    metrics_of("best_scratch v1_fine_tune v2_fine_tune", "test/accuracy"),
  ),
  PaperItem(
    "Parameters and mult-adds",
    sizes=(
      _width(1.0, 3_250_058),
      _width(0.75, 1_848_874),
      _width(0.5, 840_138),
      _width(0.25, 223_850),
      NetworkSize(
        "shallow, 10 classes, biases",
        1_890_698,
        "mobilenet_v1",
        classes=10,
        options={**_BIASES, "shallow": True},
      ),
      NetworkSize(
        "VGG16 and head",
        121_684_810,
        "vgg16",
        classes=10,
        head="flatten_4096_1024",
      ),
      NetworkSize(
        "InceptionV3 and head",
        23_911_210,
        "inception_v3",
        classes=10,
        head="gap_1024",
      ),
      _macs(224, 569),
      _macs(192, 418),
      _macs(160, 291),
      _macs(128, 186),
    ),
  ),
)


def get_paper() -> Paper:
  return Paper(
    title="Ma et al. 2022: MobileNetV1 on ten classes of CIFAR-100",
    text=(
      "A reproduction of MobileNet by students: classes 0 to 9, enlarged to "
      "224 pixels, Adam 1e-3, batches of 16, dropout of 0.1 after every block; "
      "[code and logs](https://github.com/ecbme4040/"
      "e4040-2022fall-project-xswl-ym2926-zs2584-zx2407). The test set was the "
      "validation set and chose the epoch. In the logs the order of its tables "
      "is not there: over the last ten epochs the four widths are at 70.3, "
      "71.7, 71.1 and 69.6 % with deviations of two points and more, and "
      "printed accuracies are of no common epoch (width 0.75: 74.1 %, best "
      "75.7, last 68.9). The rows of 192 and 160 pixels are exchanged or of "
      "other runs (best of the log 73.8 and 74.6, printed 74.6 and 73.6); the "
      "log at 128 pixels has 40 epochs, the text 50. VGG16 and InceptionV3 "
      "got pixels in [0, 1]. Two digits of Table 2 are exchanged, 1.19 for "
      "1.91 %, as the sum of its column shows. Tables 8 to 11 put the same "
      "numbers beside those of Howard et al. 2017 for ImageNet (70.6, 68.4, "
      "63.7, 50.6 % by width; 69.1, 67.2, 64.4 by resolution; shallow 65.3), "
      "other classes: there is "
      "nothing to repeat in them but the numbers of parameters. Here: 64 "
      "pixels, and a tenth of training validates. 'Test' is of the checkpoint "
      "that validation chose; 'chosen by test' and 'last ten tests' are the "
      "best and the mean of the last ten epochs, published and here. Training "
      "times are of other machines."
    ),
    items=_ITEMS,
    commands=(
      (
        study_command("cifar100", seeds=5),
        "20 hours on two cores, of which InceptionV3 and full convolutions "
        "take 6",
      ),
    ),
    headline=Headline(
      "cifar100", "width 0.75 is as good as 1.0, within two points (.741, .740)"
    ),
  )
