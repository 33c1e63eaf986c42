"""How much data MobileNetV1 and V2 need on IDC.

  python -m mn_jax.tools.study configs/studies/idc_scale.py --seeds=5

Shares of the training patients, each part of the next; validation and test are
the same for all, and so is the number of steps, which is that of five epochs of
all patients. The smallest share is 7 of 155 patients: one of each stratum of
patients with a similar share of positive patches, so less is not to be had.

Cost on two quiet CPU cores: 20 minutes for each seed.
"""

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_SHARES = (0.05, 0.1, 0.25, 0.5, 1.0)


def get_study() -> Study:
  return Study(
    title="IDC: share of the training patients",
    source="Yan 2023, which leaves data scale open",
    members=tuple(
      Member(
        f"{name}_{share}",
        f"idc_{name}",
        {
          "data.train_fraction": share,
          "train.epochs": 5.0 / share,
          "eval.every_epochs": 1.0 / share,
          "checkpoint.every_epochs": 1.0 / share,
          "optim.warmup_epochs": 1.0 / share,
        },
      )
      for name in ("v1", "v2")
      for share in _SHARES
    ),
    sample={
      **recipes.IDC_STUDY,
      "train.epochs": 2.0,
      "train.batch_size": 16,
      "eval.every_epochs": 1.0,
      "checkpoint.every_epochs": 1.0,
    },
    pairs=tuple((f"v2_{share}", f"v1_{share}") for share in _SHARES),
    claims=(
      Claim(
        "V2 needs less data: it is ahead with a tenth of the patients",
        "v2_0.1",
        "v1_0.1",
        "test/balanced_accuracy",
      ),
      Claim(
        "V2 is ahead with all patients",
        "v2_1.0",
        "v1_1.0",
        "test/balanced_accuracy",
      ),
      Claim(
        "more patients still help V2: all against half",
        "v2_1.0",
        "v2_0.5",
        "test/balanced_accuracy",
      ),
      Claim(
        "and ten times as many help more than two points",
        "v2_1.0",
        "v2_0.1",
        "test/balanced_accuracy",
        ">",
        0.02,
      ),
    ),
  )
