"""Simple_CNN, MobileNetV1 and V2 on colorectal tiles, by tile and by slide.

  python -m mn_jax.tools.study configs/studies/colorectal.py --seeds=3

Dong et al. 2020 tested on half of the 5,000 tiles, split at random, so that all
ten slides were on both sides. Rows that end in `_by_slide` leave slide 0 out:
`data.fold=1` and on after the command leave out the others.
"""

from mn_jax.studies.study import Claim, Member, Study

_BY_TILE = {
  "data.split": "stratified",
  "data.test_fraction": 0.5,
  "data.val_fraction": 0.1,
  "model.resolution": 160,
}
_BY_SLIDE = {"model.resolution": 160}
_HEAD = {"model.head": "gap_128_64"}
_V1 = {"model.name": "mobilenet_v1"}
_CNN = {"model.name": "simple_cnn", "train.epochs": 50.0}
_V1_FILE, _V2_FILE = "mobilenet_v1_1.0_160", "mobilenet_v2_1.0_160"


def _frozen(name: str, fields: dict, weights: str, accuracy: float) -> Member:
  return Member(
    name,
    "colorectal_v2:frozen",
    {**fields, **_HEAD, "train.epochs": 10.0},
    weights=weights,
    published={"test/accuracy": accuracy} if accuracy else {},
    note="2,500 test tiles, split at random" if accuracy else "",
  )


def get_study() -> Study:
  return Study(
    title="Colorectal histology: Simple_CNN, MobileNetV1 and V2",
    source="Dong et al. 2020",
    members=(
      Member(
        "simple_cnn",
        "colorectal_v2",
        {**_BY_TILE, **_CNN},
        published={"test/accuracy": 0.8288},
        note="2,500 test tiles, split at random",
      ),
      _frozen("v1_frozen", {**_BY_TILE, **_V1}, _V1_FILE, 0.8860),
      _frozen("v2_frozen", _BY_TILE, _V2_FILE, 0.8900),
      Member("simple_cnn_by_slide", "colorectal_v2", {**_BY_SLIDE, **_CNN}),
      _frozen("v1_frozen_by_slide", {**_BY_SLIDE, **_V1}, _V1_FILE, 0.0),
      _frozen("v2_frozen_by_slide", _BY_SLIDE, _V2_FILE, 0.0),
    ),
    sample={
      "data.name": "colorectal_histology_sample",
      "data.image_size": 32,
      "model.resolution": 0,
      "model.width": 0.25,
      "train.epochs": 1.0,
      "optim.warmup_epochs": 0.0,
    },
    metrics=("accuracy", "macro_f1", "macro_auroc"),
    pairs=(
      ("v2_frozen", "v1_frozen"),
      ("v1_frozen", "v1_frozen_by_slide"),
      ("v2_frozen", "v2_frozen_by_slide"),
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
      Claim(
        "a split by tile overestimates V2",
        "v2_frozen",
        "v2_frozen_by_slide",
        "test/accuracy",
      ),
    ),
  )
