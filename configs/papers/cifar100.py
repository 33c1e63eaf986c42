"""Ma et al. 2022: a reproduction of MobileNet on ten classes of CIFAR-100.

Y. Ma, Z. Shu, Z. Xiao, report of the course E4040, Columbia University, 2022.

Times are estimates: two quiet cores train about 25 G of mult-adds per second.
"""

from mn_jax.report.reproduction import (
  PARTIAL_DATA,
  NetworkSize,
  Paper,
  PaperItem,
  metrics_of,
  study_command,
)


def get_paper() -> Paper:
  where = f"{PARTIAL_DATA}: 102 images of the ten classes"
  biases = {"conv_bias": True}

  def width(share: float, published: int) -> NetworkSize:
    return NetworkSize(
      f"V1 {share:g}, 10 classes, biases",
      published,
      "mobilenet_v1",
      classes=10,
      width=share,
      options=biases,
    )

  def macs(pixels: int, published: int) -> NetworkSize:
    return NetworkSize(
      f"M mult-adds at {pixels}",
      published,
      "mobilenet_v1",
      "macs",
      resolution=pixels,
    )

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
    items=(
      PaperItem(
        "Width multipliers",
        "cifar100",
        metrics_of("v1_1.0 v1_0.75 v1_0.5 v1_0.25", "test/accuracy"),
        reason=where,
      ),
      PaperItem(
        "Resolutions",
        "cifar100",
        metrics_of("v1_192 v1_160 v1_128", "test/accuracy"),
        reason=where,
      ),
      PaperItem(
        "Width 0.75 against shallow",
        "cifar100",
        metrics_of("v1_0.75 v1_shallow", "test/accuracy"),
        reason=where,
      ),
      PaperItem(
        "Separable against full convolutions",
        "cifar100",
        metrics_of("v1_full_convolutions", "test/accuracy"),
        reason=where,
      ),
      PaperItem(
        "VGG16 and InceptionV3, frozen",
        "cifar100",
        metrics_of("vgg16 inception_v3", "test/accuracy"),
        reason=where,
      ),
      PaperItem(
        "Curves of training and validation",
        "cifar100",
        figures=("v1_1_0_curves",),
        reason=where,
      ),
      PaperItem(
        "Parameters and mult-adds",
        sizes=(
          width(1.0, 3_250_058),
          width(0.75, 1_848_874),
          width(0.5, 840_138),
          width(0.25, 223_850),
          NetworkSize(
            "shallow, 10 classes, biases",
            1_890_698,
            "mobilenet_v1",
            classes=10,
            options={**biases, "shallow": True},
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
          macs(224, 569),
          macs(192, 418),
          macs(160, 291),
          macs(128, 186),
        ),
      ),
    ),
    commands=(
      (
        study_command("cifar100"),
        "24 hours on two cores, of which full convolutions take 11; run it on "
        "a GPU",
      ),
    ),
  )
