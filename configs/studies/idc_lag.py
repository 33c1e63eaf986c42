"""When V2's evaluation escapes the initial values of its running statistics.

  python -m mn_jax.tools.study configs/studies/idc_lag.py --seeds=5

Keras starts running means at 0 and variances at 1. After n updates with the
momentum m a share m^n of these is left. Deep layers have variances of a
thousandth at the start (a depthwise convolution with Glorot's initial values
has 2 / (channels + 1) of its input's), so a small share still shrinks a signal
that passes 52 such layers. Prediction, made before any of these runs: with the
initial weights of V2, running statistics of share r of the initial values and
1 - r of those of a batch leave, of the spread of the logits over patches,

  r   e^-5   e^-6   e^-7   e^-8   e^-9  e^-10  e^-11
       1 %    9 %   26 %   42 %   72 %   88 %   95 %

(one half at e^-8.3; at e^-8.1 for V1), whatever the batch size;
tests/studies/test_idc_lag.py computes it again on synthetic patches. So
evaluation is at chance up to n = 5 / -ln(m) updates, has recovered by 11 /
-ln(m), and escapes near 8.3 / -ln(m): 8,300 updates with V2's 0.999, 830 with
V1's 0.99. Yan 2023 saw V2 at the majority rate for three of five epochs of
222,000 patches, and .743 in the fifth; 8,300 updates are 4.8 of these epochs
with batches of 128, and 1.2 with 32. The paper does not state its batch size.

`_before` and `_after` are runs of 5 and 11 / -ln(m) updates with the paper's
optimizer. `_control` is the same run with debiased statistics, whose weights
are the same bit for bit: what the network has learnt. The curves of `_after`
have an evaluation each 1 / -ln(m) updates, which show the escape itself.

Cost on two quiet CPU cores: 20 minutes for each seed.
"""

import math

from mn_jax.config import recipes
from mn_jax.studies.study import Claim, Member, Study

_BEFORE, _AFTER = 5, 11
# Momentum and batch size: each is varied alone, and Keras's 0.999 is there.
_SETTINGS = ((0.97, 32), (0.99, 32), (0.99, 8), (0.995, 32), (0.999, 8))
_LAST = "last/test/balanced_accuracy"


def _name(momentum: float, batch: int) -> str:
  return f"m{momentum}_b{batch}"


def _member(
  name: str, momentum: float, batch: int, times: int, *, debias: bool
) -> Member:
  time_constant = -1 / math.log(momentum)
  return Member(
    name,
    "idc_v2:source",
    {
      "model.norm_momentum": momentum,
      "model.norm_debias": debias,
      "train.batch_size": batch,
      "train.epochs": 0.0,
      "train.steps": round(times * time_constant),
      "eval.every_epochs": 0.0,
      "eval.every_steps": round(time_constant),
      "checkpoint.every_epochs": 0.0,
      "checkpoint.every_steps": round(times * time_constant),
    },
  )


def _members() -> tuple[Member, ...]:
  return tuple(
    _member(
      f"{_name(*setting)}_{when}{'_control' * debias}",
      *setting,
      times,
      debias=debias,
    )
    for setting in _SETTINGS
    for when, times in (("before", _BEFORE), ("after", _AFTER))
    for debias in (False, True)
  )


def _claims(name: str) -> tuple[Claim, ...]:
  before, after = f"{name}_before", f"{name}_after"
  return (
    Claim(f"{name}: at chance before", before, "", _LAST, "<", 0.55),
    Claim(
      f"{name}: though the network has learnt",
      f"{before}_control",
      "",
      _LAST,
      ">",
      0.6,
    ),
    Claim(
      f"{name}: as good as debiased after",
      after,
      f"{after}_control",
      _LAST,
      "=",
      0.05,
    ),
  )


def get_study() -> Study:
  return Study(
    title="IDC: the lag of running statistics, predicted and measured",
    source="Yan 2023, whose V2 stays at the majority rate for three epochs",
    members=_members(),
    resplit=True,
    sample={
      **recipes.IDC_STUDY,
      "train.epochs": 0.0,
      "train.steps": 4,
      "eval.every_steps": 4,
      "checkpoint.every_steps": 4,
    },
    pairs=tuple(
      (f"{_name(*x)}_{when}_control", f"{_name(*x)}_{when}")
      for x in _SETTINGS
      for when in ("before", "after")
    ),
    claims=tuple(c for x in _SETTINGS for c in _claims(_name(*x))),
  )
