"""How large batches get on EuroSAT: optimizers, rates and BatchNorm's groups.

  python -m mn_jax.tools.study configs/studies/eurosat_batch.py --seeds=3

A quarter of MobileNetV1 on 32 pixels, so that a run takes two cores about a
minute. All rows see as many images; their steps are fewer the larger the batch,
and warm up over as many images. Rates are those of 64 images per step.
"""

from mn_jax.studies.study import Claim, Member, Study

_BASE = 64
_LARGE = (256, 1024)
_COMMON = {
  "model.name": "mobilenet_v1",
  "model.width": 0.25,
  "model.resolution": 32,
  "train.epochs": 20.0,
  "optim.warmup_epochs": 2.0,
  "optim.lr_batch_size": _BASE,
}
# Optimizer, its rate and weight decay at 64 images per step, and the rule by
# which the rate grows. Rates are the better of two by validation; of lamb one
# was tried.
_SCALED = {
  "adamw_sqrt": ("adamw", 3e-3, 0.01, "sqrt"),
  "sgd_linear": ("sgd", 0.1, 5e-4, "linear"),
  "lamb_sqrt": ("lamb", 1e-2, 0.01, "sqrt"),
  "lars_linear": ("lars", 8.0, 5e-4, "linear"),
}
# What LARS leaves alone, biases and BatchNorm's factors, would not stand the
# rate that it wants for kernels.
_RULES = {"lars": (".*/kernel", ".* wd=0 lr=0.003")}
# Other rules, which are no others at 64.
_OTHER = {
  "adamw_fixed": (*_SCALED["adamw_sqrt"][:3], "none"),
  "sgd_fixed": (*_SCALED["sgd_linear"][:3], "none"),
  "sgd_sqrt": (*_SCALED["sgd_linear"][:3], "sqrt"),
  "lars_sqrt": (*_SCALED["lars_linear"][:3], "sqrt"),
}


def _member(row: str, batch_size: int, suffix: str = "", **fields) -> Member:
  name, rate, decay, scaling = {**_SCALED, **_OTHER}[row]
  if name in _RULES:
    fields["optim.rules"] = _RULES[name]
  return Member(
    f"{row}_{batch_size}{suffix}",
    "eurosat_v2",
    {
      **_COMMON,
      "train.batch_size": batch_size,
      "optim.name": name,
      "optim.learning_rate": rate,
      "optim.weight_decay": decay,
      "optim.lr_scaling": scaling,
      **fields,
    },
  )


_GHOST = {"model.norm_over": "group", "model.norm_group": _BASE}
_CLAIMS = (
  Claim(
    "sgd loses less than a point at 256, with its rate in proportion",
    "sgd_linear_256",
    "sgd_linear_64",
    "test/accuracy",
    ">",
    -0.01,
    spread=0.017,
  ),
  Claim(
    "adamw loses less than a point at 256, with the square root",
    "adamw_sqrt_256",
    "adamw_sqrt_64",
    "test/accuracy",
    ">",
    -0.01,
    spread=0.01,
  ),
  Claim(
    "at 1024 sgd does better with its rate in proportion",
    "sgd_linear_1024",
    "sgd_fixed_1024",
    "test/accuracy",
    margin=0.1,
    spread=0.11,
  ),
  Claim(
    "at 1024 adamw does better with the square root",
    "adamw_sqrt_1024",
    "adamw_fixed_1024",
    "test/accuracy",
    spread=0.016,
  ),
  Claim(
    "at 1024 lars does better than sgd",
    "lars_linear_1024",
    "sgd_linear_1024",
    "test/accuracy",
    margin=0.1,
    spread=0.13,
  ),
  Claim(
    "at 1024 lamb does better than adamw",
    "lamb_sqrt_1024",
    "adamw_sqrt_1024",
    "test/accuracy",
    spread=0.011,
  ),
  Claim(
    "groups of 64 for BatchNorm help sgd at 1024",
    "sgd_linear_1024_ghost",
    "sgd_linear_1024",
    "test/accuracy",
    margin=0.1,
    spread=0.074,
  ),
)


def get_study() -> Study:
  return Study(
    title="EuroSAT: batch size, with a quarter of MobileNetV1 at 32 pixels",
    source="none; the rules of Goyal et al. 2017, You et al. 2017 and 2020",
    resplit=True,
    members=(
      *(_member(row, _BASE) for row in _SCALED),
      *(_member(row, size) for size in _LARGE for row in (*_SCALED, *_OTHER)),
      *(
        _member(row, _LARGE[-1], "_ghost", **_GHOST)
        for row in ("adamw_sqrt", "sgd_linear")
      ),
    ),
    sample={
      "data.name": "eurosat_sample",
      "train.epochs": 1.0,
      "train.batch_size": _BASE,
      "optim.warmup_epochs": 0.0,
    },
    metrics=("accuracy", "macro_f1", "macro_auroc"),
    pairs=(
      *((f"{row}_1024", f"{row}_64") for row in _SCALED),
      *(
        (f"{name}_1024", f"{name.partition('_')[0]}_fixed_1024")
        for name in ("adamw_sqrt", "sgd_linear")
      ),
      *(
        (f"{name}_1024_ghost", f"{name}_1024")
        for name in ("adamw_sqrt", "sgd_linear")
      ),
      ("sgd_sqrt_1024", "sgd_linear_1024"),
      ("lars_sqrt_1024", "lars_linear_1024"),
      ("lamb_sqrt_1024", "adamw_sqrt_1024"),
      ("lars_linear_1024", "sgd_linear_1024"),
    ),
    claims=_CLAIMS,
  )
