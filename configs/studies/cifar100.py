"""The four experiments of Ma et al. 2022 on classes 0 to 9 of CIFAR-100.

  python -m mn_jax.tools.study configs/studies/cifar100.py --seeds=5

They compared widths, input sizes, width 0.75 with a shallow network,
and VGG16 and InceptionV3 with frozen backbones. Settings are those of their
code: batches of 16, Adam 1e-3, 40 epochs (50 at width 0.25, 20 for the frozen
backbones), biases before BatchNorm, dropout of 0.1 after the stem, every block
and before the logits, BatchNorm as Keras has it, no augmentation. A tenth of
their 5,000 training images validates here.

They printed accuracies of the 1,000 test images at an epoch that these images
chose. Each run here has three numbers: 'test', of the one checkpoint that
validation chose; 'chosen by test', the best of all epochs; and 'last ten
tests', the mean of the last ten. Beside them are those of the published log.

Images of 32 pixels were enlarged to 224. Here they are enlarged to 64, and the
other sizes by the same ratio (192, 160, 128: 55, 46, 37); `v1_0.25_224` says
what that changes. Rows at the published sizes are optional: they are run where
`--only` names them.
"""

from mn_jax.studies.study import Claim, Member, Study

_PLAIN = {  # no augmentation, no schedule
  "augment.flip": "none",
  "augment.crop_padding": 0,
  "optim.name": "adam",
  "optim.weight_decay": 0.0,
  "optim.schedule": "constant",
  "optim.warmup_epochs": 0.0,
  "train.batch_size": 16,
  "eval.watch_test": True,
}
_MA_2022 = {
  **_PLAIN,
  "model.resolution": 64,
  "model.conv_bias": True,
  "model.block_dropout": 0.1,
  "model.dropout": 0.1,
  "model.norm_momentum": 0.99,
  "model.norm_debias": False,
  "train.epochs": 40.0,
}
_RIVAL = {**_PLAIN, "model.dropout": 0.2, "train.epochs": 20.0}
_VGG16 = {
  **_RIVAL,
  "model.name": "vgg16",
  "model.head": "flatten_4096_1024",
  "model.transfer": "frozen",
}
_INCEPTION = {
  **_RIVAL,
  "model.name": "inception_v3",
  "model.head": "gap_1024",
}
_WATCHED = {"eval.watch_test": True}


def _published(
  table: float, best: float, last_ten: float, train: float, seconds: float
) -> dict[str, float]:
  """Numbers of a row: of Tables 4 to 7, and of the log in the report's code.

  Args:
    table: printed validation accuracy, that is, of the test.
    best: highest test accuracy of all epochs in the log.
    last_ten: mean of the last ten in the log.
    train: printed training accuracy.
    seconds: printed training time, on a rented GPU.
  """
  return {
    "test/accuracy": table,
    "chosen_by_test/accuracy": best,
    "last_ten_tests/accuracy": last_ten,
    "last/train/accuracy": train,
    "wall_seconds": seconds,
  }


def _printed(published: dict[str, float]) -> dict[str, float]:
  """The printed accuracy alone, where there is one."""
  return {k: v for k, v in published.items() if k == "test/accuracy"}


def _v1(
  name: str,
  published: dict[str, float],
  *,
  epochs: float = 40.0,
  optional: bool = False,
  **fields,
) -> Member:
  model = {f"model.{key}": value for key, value in fields.items()}
  return Member(
    name,
    "cifar100_v1",
    {**_MA_2022, "train.epochs": epochs, **model},
    published=_printed(published) if optional else published,
    optional=optional,
  )


_OF_1 = _published(0.740, 0.740, 0.7033, 0.9625, 1455)
_OF_075 = _published(0.741, 0.757, 0.7168, 0.9628, 1124)
_OF_05 = _published(0.737, 0.750, 0.7111, 0.9414, 803)
_OF_025 = _published(0.709, 0.724, 0.6962, 0.8908, 714)
_OF_192 = _published(0.746, 0.738, 0.6842, 0.9513, 1054)
_OF_160 = _published(0.736, 0.746, 0.7118, 0.953, 794)
_OF_128 = _published(0.753, 0.754, 0.7242, 0.950, 714)
_OF_SHALLOW = _published(0.758, 0.778, 0.7269, 0.9732, 1184)
_OF_VGG16 = _published(0.772, 0.786, 0.7510, 0.9685, 612)
_OF_INCEPTION = _published(0.879, 0.888, 0.8724, 0.9921, 304)
_WRONG = "published with pixels in [0, 1], for which its weights are not made"

_MEMBERS = (
  _v1("v1_1.0", _OF_1),
  _v1("v1_0.75", _OF_075, width=0.75),
  _v1("v1_0.5", _OF_05, width=0.5),
  _v1("v1_0.25", _OF_025, epochs=50.0, width=0.25),
  _v1("v1_shallow", _OF_SHALLOW, shallow=True),
  _v1("v1_55", _OF_192, resolution=55),
  _v1("v1_46", _OF_160, resolution=46),
  _v1("v1_37", _OF_128, resolution=37),
  _v1("v1_0.25_224", _OF_025, epochs=50.0, width=0.25, resolution=224),
  _v1("v1_0.5_full_convolutions", {}, width=0.5, separable=False),
  Member(
    "vgg16_128",
    "cifar100_v1",
    {**_VGG16, "model.resolution": 128},
    weights="vgg16",
    published=_OF_VGG16,
    note=f"{_WRONG}; at 224 pixels",
  ),
  Member(
    "inception_v3_scratch",
    "cifar100_v1",
    {**_INCEPTION, "model.resolution": 96},
    seeds=3,
    note="randomly initialised; published with a frozen backbone (.879)",
  ),
  Member("best_scratch", "cifar100_v1:best", _WATCHED, seeds=3),
  Member(
    "v1_fine_tune",
    "cifar100_v1:fine_tune",
    _WATCHED,
    weights="mobilenet_v1_1.0_224",
    seeds=3,
  ),
  Member(
    "v2_fine_tune",
    "cifar100_v1:fine_tune",
    {**_WATCHED, "model.name": "mobilenet_v2"},
    weights="mobilenet_v2_1.0_224",
    seeds=3,
  ),
  # At the published sizes, and what this project has no weights for.
  _v1("v1_1.0_224", _OF_1, optional=True, resolution=224),
  _v1("v1_0.75_224", _OF_075, optional=True, width=0.75, resolution=224),
  _v1("v1_0.5_224", _OF_05, optional=True, width=0.5, resolution=224),
  _v1(
    "v1_shallow_224", _OF_SHALLOW, optional=True, shallow=True, resolution=224
  ),
  _v1("v1_192", _OF_192, optional=True, resolution=192),
  _v1("v1_160", _OF_160, optional=True, resolution=160),
  _v1("v1_128", _OF_128, optional=True, resolution=128),
  _v1("v1_full_convolutions", {}, optional=True, separable=False),
  Member(
    "vgg16",
    "cifar100_v1",
    {**_VGG16, "model.resolution": 224},
    weights="vgg16",
    published=_printed(_OF_VGG16),
    note=_WRONG,
    optional=True,
  ),
  Member(
    "inception_v3",
    "cifar100_v1",
    {**_INCEPTION, "model.resolution": 224, "model.transfer": "frozen"},
    weights="inception_v3",
    published=_OF_INCEPTION,
    note=_WRONG,
    optional=True,
  ),
)


def _claim(text: str, one: str, other: str, relation=">", value=0.0) -> Claim:
  return Claim(text, one, other, "test/accuracy", relation, value)


_CLAIMS = (
  _claim(
    "width 0.75 is as good as 1.0, within two points (.741, .740)",
    "v1_0.75",
    "v1_1.0",
    "=",
    0.02,
  ),
  _claim(
    "width 0.5 is as good as 1.0, within two points (.737, .740)",
    "v1_0.5",
    "v1_1.0",
    "=",
    0.02,
  ),
  _claim("width 0.25 is worse than 1.0 (.709, .740)", "v1_1.0", "v1_0.25"),
  _claim(
    "the smallest input is better than the largest (.753, .740)",
    "v1_37",
    "v1_1.0",
  ),
  _claim("shallow beats 0.75 (.758, .741)", "v1_shallow", "v1_0.75"),
  _claim("VGG16 frozen beats V1 (.772, .740)", "vgg16_128", "v1_1.0"),
  _claim(
    "InceptionV3 frozen beats VGG16 frozen (.879, .772)",
    "inception_v3",
    "vgg16_128",
  ),
  _claim(
    "64 pixels are as good as 224, within two points",
    "v1_0.25",
    "v1_0.25_224",
    "=",
    0.02,
  ),
  _claim(
    "separable convolutions are as good as full ones, within two points",
    "v1_0.5",
    "v1_0.5_full_convolutions",
    "=",
    0.02,
  ),
  Claim(
    "the test that chooses the epoch adds at least a point to V1",
    "v1_1.0",
    "",
    "chosen_by_test/gain",
    ">",
    0.01,
  ),
  _claim("80 % is reached from scratch", "best_scratch", "", ">", 0.8),
  _claim("90 % is reached from ImageNet, V1", "v1_fine_tune", "", ">", 0.9),
  _claim("90 % is reached from ImageNet, V2", "v2_fine_tune", "", ">", 0.9),
)


def get_study() -> Study:
  return Study(
    title="CIFAR-100, classes 0-9: MobileNetV1 and rivals",
    source="Ma et al. 2022, a student report",
    members=_MEMBERS,
    sample={
      "data.name": "cifar100_sample",
      "model.resolution": 0,
      "model.width": 0.25,
      "model.head": "own",
      "model.name": "mobilenet_v1",
      "train.epochs": 1.0,
      "optim.warmup_epochs": 0.0,
    },
    metrics=("accuracy", "macro_f1", "macro_auroc"),
    pairs=(
      ("v1_1.0", "v1_0.75"),
      ("v1_1.0", "v1_0.5"),
      ("v1_1.0", "v1_0.25"),
      ("v1_1.0", "v1_55"),
      ("v1_1.0", "v1_46"),
      ("v1_1.0", "v1_37"),
      ("v1_0.25", "v1_0.25_224"),
      ("v1_shallow", "v1_0.75"),
      ("v1_0.5_full_convolutions", "v1_0.5"),
      ("vgg16_128", "v1_1.0"),
      ("best_scratch", "v1_1.0"),
      ("v1_fine_tune", "best_scratch"),
      ("v2_fine_tune", "v1_fine_tune"),
    ),
    claims=_CLAIMS,
  )
