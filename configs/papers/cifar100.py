"""Ma et al. 2022: a reproduction of MobileNet on ten classes of CIFAR-100.

Y. Ma, Z. Shu, Z. Xiao, report of the course E4040, Columbia University, 2022.

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

_WHERE = f"{PARTIAL_DATA}: 102 images of the ten classes"
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


_ITEMS = (
  PaperItem(
    "Width multipliers",
    "cifar100",
    metrics_of("v1_1.0 v1_0.75 v1_0.5 v1_0.25", "test/accuracy"),
    reason=_WHERE,
  ),
  PaperItem(
    "Resolutions",
    "cifar100",
    metrics_of("v1_192 v1_160 v1_128", "test/accuracy"),
    reason=_WHERE,
  ),
  PaperItem(
    "Width 0.75 against shallow",
    "cifar100",
    metrics_of("v1_0.75 v1_shallow", "test/accuracy"),
    reason=_WHERE,
  ),
  PaperItem(
    "Separable against full convolutions",
    "cifar100",
    metrics_of("v1_full_convolutions", "test/accuracy"),
    reason=_WHERE,
  ),
  PaperItem(
    "VGG16 and InceptionV3, frozen",
    "cifar100",
    metrics_of("vgg16 inception_v3", "test/accuracy"),
    reason=_WHERE,
  ),
  PaperItem(
    "Curves of training and validation",
    "cifar100",
    figures=("v1_1_0_curves",),
    reason=_WHERE,
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
      "224 pixels, Adam 1e-3, dropout of 0.1 after every block. The test set "
      "was the validation set and chose the epoch; over the last ten epochs "
      "the four widths are at 70.3, 71.7, 71.1 and 69.6 % with deviations of "
      "two points and more, so that their order is not shown. Two rows of the "
      "table of resolutions were copied from others; VGG16 and InceptionV3 "
      "were fed with the wrong preprocessing."
    ),
    items=_ITEMS,
    commands=(
      (
        study_command("cifar100"),
        "24 hours on two cores, of which full convolutions take 11; run it on "
        "a GPU",
      ),
    ),
    headline=Headline(
      "cifar100", "width 0.75 is as good as 1.0 within a point (.741, .740)"
    ),
  )
