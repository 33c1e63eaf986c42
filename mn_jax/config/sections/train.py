"""Section `train`: length of the run, batches, loss."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """Length of the run, batches and loss."""

  batch_size: int = field(32, "images per step over all devices", low=1)
  steps: int = field(0, "length of the run in steps", low=0, later=True)
  epochs: float = field(0.0, "length of the run in epochs", low=0, later=True)
  examples: int = field(0, "length of the run in examples", low=0, later=True)
  label_smoothing: float = field(
    0.0, "share of the target spread evenly over all classes", low=0, high=0.99
  )
  class_weights: str = field(
    "none",
    "weight of a class in the loss: 1, or inverse to its frequency",
    choices=("none", "balanced"),
  )
  focal_gamma: float = field(
    0.0,
    "focal loss: exponent that gives well classified examples less weight; "
    "0: cross-entropy",
    low=0,
    high=10,
  )
  logit_adjustment: float = field(
    0.0,
    "tau of logit adjustment: tau times the log class frequencies is added to "
    "the logits in training, not in evaluation; 1 balances; 0: none",
    low=0,
    high=10,
  )
  teacher: str = field(
    "",
    "knowledge distillation: network whose predictions are learnt beside the "
    "labels: the workdir of a finished run, a folder that push wrote, or "
    "weights of the same classes; empty: none",
    result=False,
    path=True,
  )
  teacher_weight: float = field(
    0.9,
    "w of the loss (1 - w) * labels' + w * teacher's; 1: labels are not used",
    low=0,
    high=1,
  )
  teacher_temperature: float = field(
    4.0,
    "T of the teacher's loss, T^2 KL(teacher || student) of logits / T",
    low=0.1,
    high=100,
  )
  teacher_model: str = field(
    "",
    "network of a teacher that is a file of weights, a name in "
    "models.registry.MODELS; empty: the teacher says it",
  )
  teacher_width: float = field(
    1.0, "width multiplier of teacher_model", low=0.05, high=4
  )
  teacher_unchecked: bool = field(
    False,
    "take a teacher that learnt from images of this run's validation or test "
    "part, or does not name its classes; the run says so",
    result=False,
  )
  replicas: int = field(
    1,
    "seeds trained together in one program, from `seed` on, each in a folder "
    "seed<k> of the workdir",
    low=1,
    result=False,
  )
  steps_per_dispatch: int = field(
    1,
    "steps per dispatch, for accelerators that run a step in less time than "
    "the host takes to dispatch it; single steps where something is due in "
    "between; the last bits may differ",
    low=1,
    result=False,
  )
  ema_decay: float = field(
    0.0,
    "decay of the moving averages of parameters and BatchNorm statistics that "
    "are evaluated, rising from 0.1 over the first steps; 0: none",
    low=0,
    high=0.999999,
  )
  patience: int = field(
    0,
    "early stopping: evaluations without improvement; 0: never",
    low=0,
    later=True,
  )
