"""The four experiments on classes 0 to 9 of CIFAR-100.

  python -m mn_jax.tools.study configs/studies/cifar100.py --seeds=3

Widths, input sizes, 0.75 against shallow, separable against full convolutions,
and VGG16 and InceptionV3 with frozen backbones, in the setting of Ma et al.
2022: enlarged to 224 pixels, Adam 1e-3, biases before BatchNorm, dropout of 0.1
after every block. They selected each epoch by the test; here validation does.
Their number of epochs is not known: 50 here.
"""

from mn_jax.studies.study import Claim, Member, Study

_MA_2022 = {
  "model.resolution": 224,
  "model.conv_bias": True,
  "model.block_dropout": 0.1,
  "augment.flip": "none",
  "augment.crop_padding": 0,
  "optim.name": "adam",
  "optim.weight_decay": 0.0,
  "optim.schedule": "constant",
  "optim.warmup_epochs": 0.0,
  "train.epochs": 50.0,
  "train.batch_size": 32,
}
_RIVAL = {
  **_MA_2022,
  "model.conv_bias": False,
  "model.block_dropout": 0.0,
  "model.transfer": "frozen",
}


def _v1(name: str, accuracy: float | None, note: str = "", **fields) -> Member:
  return Member(
    name,
    "cifar100_v1",
    {**_MA_2022, **{f"model.{key}": value for key, value in fields.items()}},
    published={} if accuracy is None else {"test/accuracy": accuracy},
    note=note,
  )


_MEMBERS = (
  _v1("v1_1.0", 0.740),
  _v1("v1_0.75", 0.741, width=0.75),
  _v1("v1_0.5", 0.737, width=0.5),
  _v1("v1_0.25", 0.709, width=0.25),
  _v1("v1_192", 0.746, resolution=192),
  _v1("v1_160", 0.736, resolution=160),
  _v1("v1_128", 0.753, resolution=128),
  _v1("v1_shallow", 0.758, shallow=True),
  _v1("v1_full_convolutions", None, separable=False),
  Member(
    "vgg16",
    "cifar100_v1",
    {
      **_RIVAL,
      "model.name": "vgg16",
      "model.head": "flatten_4096_1024",
    },
    weights="vgg16",
    published={"test/accuracy": 0.772},
    note="published with the wrong normalisation of its input",
  ),
  Member(
    "inception_v3",
    "cifar100_v1",
    {**_RIVAL, "model.name": "inception_v3", "model.head": "gap_1024"},
    weights="inception_v3",
    published={"test/accuracy": 0.879},
    note="published with the wrong normalisation of its input",
  ),
)
_CLAIMS = (
  Claim(
    "width 0.75 is as good as 1.0 within a point (.741, .740)",
    "v1_0.75",
    "v1_1.0",
    "test/accuracy",
    "=",
    0.01,
  ),
  Claim(
    "width 0.25 is worse than 1.0 (.709, .740)",
    "v1_1.0",
    "v1_0.25",
    "test/accuracy",
  ),
  Claim(
    "128 pixels are no worse than 224 (.753, .740)",
    "v1_128",
    "v1_1.0",
    "test/accuracy",
  ),
  Claim(
    "shallow beats 0.75 (.758, .741)",
    "v1_shallow",
    "v1_0.75",
    "test/accuracy",
  ),
  Claim(
    "VGG16 frozen beats V1 (.772, .740)",
    "vgg16",
    "v1_1.0",
    "test/accuracy",
  ),
  Claim(
    "InceptionV3 frozen beats VGG16 frozen (.879, .772)",
    "inception_v3",
    "vgg16",
    "test/accuracy",
  ),
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
    },
    metrics=("accuracy", "macro_f1", "macro_auroc"),
    pairs=(
      ("v1_1.0", "v1_0.75"),
      ("v1_0.75", "v1_shallow"),
      ("v1_full_convolutions", "v1_1.0"),
      ("v1_1.0", "v1_128"),
      ("vgg16", "v1_1.0"),
      ("inception_v3", "v1_1.0"),
    ),
    claims=_CLAIMS,
  )
