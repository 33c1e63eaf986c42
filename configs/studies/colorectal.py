"""Simple_CNN, MobileNetV1 and V2 on colorectal tiles, half of them the test.

  python -m mn_jax.tools.study configs/studies/colorectal.py --seeds=3

Dong et al. 2020 tested on half of the 5,000 tiles, split at random, so that all
ten slides were on both sides. What that promises too much is another question,
which ten tests answer, of a slide each:

  python -m mn_jax.tools.crossval --config=colorectal_v2:frozen --folds=0 \
    --weights=FILE model.resolution=160 model.head=gap_128_64 train.epochs=10

or, by the features of a frozen network and by published ones of texture,
`mn_jax.tools.probe`. Where only a part of the tiles is at hand, training may
lack a class that is on few slides: data.allow_missing="('empty',)".
"""

from mn_jax.studies.study import Claim, Member, Study

_PAPER = {
  "data.split": "stratified",
  "data.test_fraction": 0.5,
  "data.val_fraction": 0.1,
  "model.resolution": 160,
}
_HEAD = {"model.head": "gap_128_64", "train.epochs": 10.0}
_V1 = {"model.name": "mobilenet_v1"}
_CNN = {"model.name": "simple_cnn", "train.epochs": 50.0}
_V1_FILE, _V2_FILE = "mobilenet_v1_1.0_224", "mobilenet_v2_1.0_224"
_NOTE = "2,500 test tiles, split at random"


def get_study() -> Study:
  return Study(
    title="Colorectal histology: Simple_CNN, MobileNetV1 and V2",
    source="Dong et al. 2020",
    resplit=True,
    members=(
      Member(
        "simple_cnn",
        "colorectal_v2",
        {**_PAPER, **_CNN},
        published={"last/test/accuracy": 0.8288},
        note=_NOTE,
      ),
      Member(
        "v1_frozen",
        "colorectal_v2:frozen",
        {**_PAPER, **_V1, **_HEAD},
        weights=_V1_FILE,
        published={"last/test/accuracy": 0.8860},
        note=_NOTE,
      ),
      Member(
        "v2_frozen",
        "colorectal_v2:frozen",
        {**_PAPER, **_HEAD},
        weights=_V2_FILE,
        published={"last/test/accuracy": 0.8900},
        note=_NOTE,
      ),
    ),
    sample={
      "data.name": "colorectal_histology_sample",
      "data.image_size": 32,
      "model.resolution": 0,
      "model.width": 0.25,
      "train.epochs": 1.0,
      "optim.warmup_epochs": 0.0,
    },
    metrics=("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"),
    pairs=(
      ("v2_frozen", "v1_frozen"),
      ("v1_frozen", "simple_cnn"),
      ("v2_frozen", "simple_cnn"),
    ),
    claims=(
      Claim(
        "V1 frozen beats Simple_CNN (.8860, .8288)",
        "v1_frozen",
        "simple_cnn",
        "test/accuracy",
      ),
      Claim(
        "V2 frozen beats Simple_CNN (.8900, .8288)",
        "v2_frozen",
        "simple_cnn",
        "test/accuracy",
      ),
      Claim(
        "V2 frozen beats V1 frozen (.8900, .8860)",
        "v2_frozen",
        "v1_frozen",
        "test/accuracy",
      ),
    ),
  )
