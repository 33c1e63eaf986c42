"""Simple_CNN, MobileNetV1 and V2 on EuroSAT, random and spatial split.

  python -m mn_jax.tools.study configs/studies/eurosat.py --seeds=3

Dong et al. 2020 name EuroSAT but give no number for it. Their setting is in the
rows that end in `_160`: 160 pixels, frozen V1 and V2 below a head of 128 and
64. `simple_cnn_160` sees as many images as theirs in 50 epochs of the 2,500
colorectal tiles, which are 8 epochs here; `simple_cnn_160_50_epochs` has all
50, with one seed. Rows that end in `_spatial` have TorchGeo's split by
longitude, whose parts differ in their shares of classes: compare them by
balanced accuracy. They train on 16,200 tiles, the others on 17,550.
"""

from mn_jax.studies.study import Claim, Member, Study

_V1 = {"model.name": "mobilenet_v1"}
_V1_075 = {**_V1, "model.width": 0.75}
_CNN = {"model.name": "simple_cnn"}
_V1_075_FILE = "mobilenet_v1_0.75_224"
_V1_FILE, _V2_FILE = "mobilenet_v1_1.0_224", "mobilenet_v2_1.0_224"
_SPATIAL = {"data.split": "fixed"}
_128 = {"model.resolution": 128}
_160 = {"model.resolution": 160}
_PAPER = {**_160, "model.head": "gap_128_64", "train.epochs": 10.0}
# Three times as long as fine-tuning in the other rows, with averaged weights.
_RECIPE = {
  **_128,
  "train.epochs": 15.0,
  "train.ema_decay": 0.999,
  "train.label_smoothing": 0.1,
}


def _from_scratch(suffix: str, fields: dict) -> tuple[Member, ...]:
  return (
    Member(f"v1{suffix}", "eurosat_v2", {**_V1, **fields}),
    Member(f"v2{suffix}", "eurosat_v2", fields),
  )


def _pretrained(how: str, suffix: str, fields: dict) -> tuple[Member, ...]:
  """Returns the rows of V1 and V2 from ImageNet's weights."""
  config = f"eurosat_v2:{how}"
  return (
    Member(f"v1_{how}{suffix}", config, {**_V1, **fields}, weights=_V1_FILE),
    Member(f"v2_{how}{suffix}", config, fields, weights=_V2_FILE),
  )


_MEMBERS = (
  Member("simple_cnn", "eurosat_v2", _CNN),
  *_from_scratch("", {}),
  *_pretrained("fine_tune", "", {}),
  Member(
    "v1_0.75_fine_tune", "eurosat_v2:fine_tune", _V1_075, weights=_V1_075_FILE
  ),
  *_pretrained("frozen", "", {}),
  Member("v1_0.75_frozen", "eurosat_v2:frozen", _V1_075, weights=_V1_075_FILE),
  *_pretrained("fine_tune", "_128", _128),
  *_pretrained("frozen", "_128", _128),
  *_pretrained("fine_tune", "_128_spatial", {**_128, **_SPATIAL}),
  *_pretrained("frozen", "_128_spatial", {**_128, **_SPATIAL}),
  *_pretrained("fine_tune", "_spatial", _SPATIAL),
  *_pretrained("frozen", "_spatial", _SPATIAL),
  *_pretrained("frozen", "_160", _PAPER),
  Member("v2_recipe", "eurosat_v2:fine_tune", _RECIPE, weights=_V2_FILE),
  Member(
    "v2_recipe_spatial",
    "eurosat_v2:fine_tune",
    {**_RECIPE, **_SPATIAL},
    weights=_V2_FILE,
  ),
  Member("simple_cnn_spatial", "eurosat_v2", {**_CNN, **_SPATIAL}),
  *_from_scratch("_spatial", _SPATIAL),
  Member("simple_cnn_160", "eurosat_v2", {**_CNN, **_160, "train.epochs": 8.0}),
  *_from_scratch("_128", _128),
  *_from_scratch("_128_spatial", {**_128, **_SPATIAL}),
  Member(
    "simple_cnn_160_50_epochs",
    "eurosat_v2",
    {**_CNN, **_160, "train.epochs": 50.0},
    seeds=1,
  ),
)

_CLAIMS = (
  Claim(
    "V2 frozen beats V1 frozen, at 160 pixels below the paper's head",
    "v2_frozen_160",
    "v1_frozen_160",
    "test/accuracy",
  ),
  Claim(
    "V2 frozen beats Simple_CNN, at 160 pixels",
    "v2_frozen_160",
    "simple_cnn_160",
    "test/accuracy",
  ),
  Claim(
    "V2 fine-tuned beats V2 from scratch, at 64 pixels",
    "v2_fine_tune",
    "v2",
    "test/accuracy",
  ),
  Claim(
    "tiles of 64 pixels are classified better at 128, by V2 fine-tuned",
    "v2_fine_tune_128",
    "v2_fine_tune",
    "test/accuracy",
    margin=0.005,
  ),
  Claim(
    "V2 fine-tuned at 128 pixels reaches .98 on random tiles",
    "v2_fine_tune_128",
    "",
    "test/accuracy",
    ">",
    0.98,
    margin=0.005,
  ),
  Claim(
    "V2 by the longer recipe reaches the .9857 of its authors' ResNet-50",
    "v2_recipe",
    "",
    "test/accuracy",
    ">",
    0.9857,
    margin=0.005,
  ),
  *(
    Claim(
      f"a random split overestimates {what}",
      row,
      f"{row}_spatial",
      "test/balanced_accuracy",
    )
    for what, row in (
      ("V1 fine-tuned at 128 pixels", "v1_fine_tune_128"),
      ("V2 fine-tuned at 128 pixels", "v2_fine_tune_128"),
      ("V2 frozen at 128 pixels", "v2_frozen_128"),
    )
  ),
)


def get_study() -> Study:
  return Study(
    title="EuroSAT: Simple_CNN, MobileNetV1 and V2",
    source="Dong et al. 2020, which gives no number for EuroSAT",
    resplit=True,
    members=_MEMBERS,
    sample={
      "data.name": "eurosat_sample",
      "data.split": "stratified",
      "data.image_size": 32,
      "model.resolution": 0,
      "model.width": 0.25,
      "train.epochs": 1.0,
      "optim.warmup_epochs": 0.0,
    },
    metrics=("accuracy", "balanced_accuracy", "macro_f1", "macro_auroc"),
    pairs=(
      ("v2", "v1"),
      ("v2_fine_tune", "v1_fine_tune"),
      ("v2_frozen", "v1_frozen"),
      ("v2_fine_tune_128", "v1_fine_tune_128"),
      ("v2_fine_tune_128_spatial", "v1_fine_tune_128_spatial"),
      ("v2_frozen_128", "v1_frozen_128"),
      ("v2_fine_tune_128", "v2_fine_tune"),
      ("v2_fine_tune", "v2_fine_tune_spatial"),
      ("v2_fine_tune_128", "v2_fine_tune_128_spatial"),
      ("v2_recipe", "v2_recipe_spatial"),
      ("v2_recipe", "v2_fine_tune_128"),
      ("v2_fine_tune", "v2"),
    ),
    claims=_CLAIMS,
  )
