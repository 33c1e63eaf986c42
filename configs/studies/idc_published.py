"""IDC on the published cases: 84 to train, 29 to validate, 49 to test.

  python -m mn_jax.tools.study configs/studies/idc_published.py --seeds=5

The only numbers here that can be set beside the literature's, which has all
patches of these cases; of the data set's 277,524 patches 11,081 were at hand,
with 77, 25 and 42 of these cases (3,559, 1,146 and 1,717 patches). All seeds
share the split, so intervals over seeds are of the training alone, and those
over the patients of the test are wider. The last rows are means over networks
and seeds.

Cost on two quiet CPU cores and 11,081 patches, for each seed: 1 and 2 minutes
from scratch, 2, 3 and 3 minutes from weights.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_FIXED = {"data.split": "fixed"}
_BEST = "idc_v2:best"
_BALANCED = "test/balanced_accuracy"
_FIVE = {"train.epochs": 5.0}
_PUBLISHED = (
  ("Cruz-Roa 2014", 0.842),
  ("Janowczyk 2016", 0.847),
  ("Romero 2019", 0.890),
)
_SINGLE = ("v3_small", "v1", "v2")


def get_study() -> Study:
  members = (
    Member(
      "v1_scratch",
      "idc_v1",
      {**_FIXED, **_FIVE},
      published={_BALANCED: 0.842, "test/f1": 0.718},
      note="Cruz-Roa 2014, on all patches of all 162 cases",
    ),
    Member(
      "v2_scratch",
      "idc_v2",
      {**_FIXED, **_FIVE},
      published={_BALANCED: 0.847, "test/f1": 0.765},
      note="Janowczyk 2016, on all patches of all 162 cases",
    ),
    Member(
      "v3_small",
      _BEST,
      {**_FIXED, "model.name": "mobilenet_v3_small"},
      weights="mobilenet_v3_small_1.0",
      published={_BALANCED: 0.890},
      note="Romero 2019, on all patches of all 162 cases",
    ),
    Member("v1", "idc_v1:best", _FIXED, weights="mobilenet_v1_1.0_224"),
    Member(
      "v2", _BEST, _FIXED, weights="mobilenet_v2_1.0_torch_no_top.safetensors"
    ),
    *(
      Member(name, _BEST, _FIXED, ensemble=parts, views="dihedral")
      for name, parts in (
        ("v3_small_views", ("v3_small",)),
        ("all_views", _SINGLE),
      )
    ),
  )
  return Study(
    title="IDC: the published cases",
    source="Cruz-Roa 2014, Janowczyk 2016, Romero 2019",
    members=members,
    # No cases of generated patches are published.
    sample={
      **recipes.IDC_STUDY,
      "model.resolution": 0,
      "data.split": "grouped",
    },
    metrics=("balanced_accuracy", "f1", "auroc", "accuracy"),
    pairs=(("v3_small", "v2_scratch"), ("v1", "v1_scratch")),
    claims=tuple(
      Claim(
        f"V3-Small from ImageNet weights beats {paper} ({value:.3f})",
        "v3_small",
        "",
        _BALANCED,
        ">",
        value,
      )
      for paper, value in _PUBLISHED
    ),
  )
