"""Sections `eval`, `checkpoint` and `observe`: what happens when."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """Validation during training."""

  batch_size: int = field(256, "images per step over all devices", low=1)
  every_steps: int = field(0, "steps between validations", low=0)
  every_epochs: float = field(1.0, "epochs between validations", low=0)
  every_examples: int = field(0, "examples between validations", low=0)
  part: str = field(
    "val",
    "part that is evaluated while training and chooses the best checkpoint; "
    "'test' repeats studies without validation: its test is none",
    choices=("val", "test"),
  )
  best_metric: str = field(
    "balanced_accuracy",
    "metric of that part that chooses the best checkpoint",
    choices=(
      "balanced_accuracy",
      "accuracy",
      "mcc",
      "auroc",
      "average_precision",
      "f1",
      "macro_auroc",
      "macro_average_precision",
      "macro_f1",
      "loss",
    ),
  )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When the state is saved, beside every new best, and how much is kept."""

  every_steps: int = field(0, "steps between saves", low=0, result=False)
  every_epochs: float = field(1.0, "epochs between saves", low=0, result=False)
  every_examples: int = field(0, "examples between saves", low=0, result=False)
  keep_latest: int = field(
    2, "newest checkpoints kept, beside the best", low=1, result=False
  )


@dataclasses.dataclass(frozen=True)
class ObserveConfig:
  """What is written while training; none of it changes what is trained."""

  log_every_steps: int = field(20, "steps between training metrics", low=1)
  profile_at_step: int = field(
    0, "step at which a profiler trace begins; 0: none", low=0, result=False
  )
  profile_steps: int = field(5, "steps in the trace", low=1, result=False)
