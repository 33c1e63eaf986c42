"""What the recipe from ImageNet weights is made of, on IDC in five folds.

  python -m mn_jax.tools.study configs/studies/idc_recipe.py --seeds=5

Seed k tests fold k, so every patient is tested once by every row. The recipe is
`idc_v2:best` with MobileNetV3-Small; rows named `no_` leave one ingredient out.
`with_` add one. `stains_` have the stains of each patient normalised by
Macenko's method, with stain jitter and without. `_views` are the same networks
by the eight symmetries of the square; `v1_v3`, `v1_v2_v3`, `four_networks`, the
last with V3-Small at 128 pixels too, and `three_at_128` are means of such
networks: for these nothing is trained.

Weights are two files of Keras and mobilenet_v2_1.0_torch_no_top.safetensors, a
torchvision MobileNetV2 as safetensors, in the folder of `--weights`.

Cost on two CPU cores: 6 minutes for a row of V3-Small (10 with 128 pixels or
10 epochs), 16 for V1 and 19 for V2; two and a half hours in all, and another
for V1 and V2 at 128 pixels.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_BEST = "idc_v2:best"
_V3_SMALL = {"model.name": "mobilenet_v3_small"}
_V3_FILE = "mobilenet_v3_small_1.0"
_V2_FILE = "mobilenet_v2_1.0_torch_no_top.safetensors"
_BALANCED = "test/balanced_accuracy"


def _without(name: str, fields: dict, weights: str = _V3_FILE) -> Member:
  return Member(f"no_{name}", _BEST, {**_V3_SMALL, **fields}, weights=weights)


_LEFT_OUT = (
  _without("stain_jitter", {"augment.stain": 0.0}),
  _without("balance", {"train.class_weights": "none"}),
  _without("averages", {"train.ema_decay": 0.0}),
  _without(
    "flips_and_turns",
    {"augment.flip": "none", "augment.quarter_turns": False},
  ),
  _without("cosine", {"optim.schedule": "constant"}),
  _without("resize", {"model.resolution": 0}),
  # Three times the epochs, as nothing is learnt before.
  _without(
    "weights",
    {
      "model.transfer": "scratch",
      "model.match_statistics": 0,
      "optim.learning_rate": 1e-3,
      "train.epochs": 15.0,
    },
    weights="",
  ),
)
_LARGER = {"model.resolution": 128}
_ADDED = tuple(
  Member(f"with_{name}", _BEST, {**_V3_SMALL, **fields}, weights=_V3_FILE)
  for name, fields in (
    ("128_pixels", _LARGER),
    ("10_epochs", {"train.epochs": 10.0}),
    ("crops", {"augment.crop_scale": 0.6}),
    ("stronger_jitter", {"augment.stain": 0.2}),
    ("mixup", {"augment.mixup": 0.2}),
  )
)
_NORMALISED = {**_V3_SMALL, "data.stain_normalisation": "macenko"}
_STAINS = (
  Member("stains_and_jitter", _BEST, _NORMALISED, weights=_V3_FILE),
  Member(
    "stains_alone",
    _BEST,
    {**_NORMALISED, "augment.stain": 0.0},
    weights=_V3_FILE,
  ),
)
_AT_128 = ("with_128_pixels", "v1_128_pixels", "v2_128_pixels")
_VIEWS = tuple(
  Member(f"{name}_views", _BEST, ensemble=(name,), views="dihedral")
  for name in ("recipe", "v1", "v2", *_AT_128)
)
_MEMBERS = (
  Member("recipe", _BEST, _V3_SMALL, weights=_V3_FILE),
  Member("v1", "idc_v1:best", weights="mobilenet_v1_1.0_224"),
  Member("v2", _BEST, weights=_V2_FILE),
  *_LEFT_OUT,
  *_ADDED,
  *_STAINS,
  Member(
    "v1_128_pixels", "idc_v1:best", _LARGER, weights="mobilenet_v1_1.0_224"
  ),
  Member("v2_128_pixels", _BEST, _LARGER, weights=_V2_FILE),
  *_VIEWS,
  Member("v1_v3", _BEST, ensemble=("recipe_views", "v1_views")),
  Member("v1_v2_v3", _BEST, ensemble=("recipe_views", "v1_views", "v2_views")),
  Member(
    "four_networks",
    _BEST,
    ensemble=("recipe_views", "v1_views", "v2_views", "with_128_pixels_views"),
  ),
  Member(
    "three_at_128",
    _BEST,
    ensemble=tuple(f"{name}_views" for name in _AT_128),
  ),
)
_NAMES = {
  "stain_jitter": "stain jitter helps",
  "balance": "class weights help",
  "averages": "averaged parameters help",
  "flips_and_turns": "flips and turns in training help",
  "cosine": "the cosine schedule helps",
  "resize": "96 pixels help",
  "weights": "ImageNet weights help",
}


def get_study() -> Study:
  return Study(
    title="IDC: ingredients of the recipe from ImageNet weights, five folds",
    source="Yan 2023, Cruz-Roa 2014, Janowczyk 2016, Romero 2019",
    members=_MEMBERS,
    folds=5,
    sample={**recipes.IDC_STUDY, "model.resolution": 0},
    metrics=("balanced_accuracy", "auroc", "accuracy", "f1"),
    pairs=(
      *(("recipe", member.name) for member in _LEFT_OUT),
      *((member.name, "recipe") for member in _ADDED),
      ("stains_and_jitter", "recipe"),
      ("stains_alone", "no_stain_jitter"),
      ("recipe_views", "recipe"),
      ("v1", "recipe"),
      ("v2", "recipe"),
      ("v1_v3", "recipe_views"),
      ("v1_v2_v3", "v1_v3"),
      ("four_networks", "v1_v2_v3"),
      ("v1_128_pixels", "v1"),
      ("v2_128_pixels", "v2"),
      ("three_at_128", "v1_v2_v3"),
    ),
    claims=(
      Claim(
        "the ensemble reaches a balanced accuracy of .87 on unseen patients",
        "v1_v2_v3",
        "",
        _BALANCED,
        ">",
        0.87,
      ),
      Claim(
        "the ensemble reaches an AUROC of .945 on unseen patients",
        "v1_v2_v3",
        "",
        "test/auroc",
        ">",
        0.945,
      ),
      *(
        Claim(text, "recipe", f"no_{name}", _BALANCED)
        for name, text in _NAMES.items()
      ),
      Claim(
        "stain normalisation helps beside jitter",
        "stains_and_jitter",
        "recipe",
        _BALANCED,
      ),
      Claim(
        "symmetries at test time help", "recipe_views", "recipe", _BALANCED
      ),
      Claim("three networks beat one", "v1_v2_v3", "recipe_views", _BALANCED),
    ),
  )
