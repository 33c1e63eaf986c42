"""Sections `optim` and `train`."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimizer and its learning rate."""

  name: str = field(
    "adam", "optimizer", choices=("adam", "adamw", "lamb", "sgd", "lars")
  )
  learning_rate: float = field(1e-4, "peak learning rate", low=0, high=100)
  lr_scaling: str = field(
    "none",
    "how the peak grows with train.batch_size / lr_batch_size: not at all, "
    "in proportion, or with its square root",
    choices=("none", "linear", "sqrt"),
  )
  lr_batch_size: int = field(
    256, "lr_scaling: images per step that learning_rate is meant for", low=1
  )
  schedule: str = field(
    "constant",
    "course after the warm-up",
    choices=("constant", "cosine", "step"),
  )
  warmup_steps: int = field(0, "linear warm-up from 0, in steps", low=0)
  warmup_epochs: float = field(0.0, "the same in epochs", low=0)
  warmup_examples: int = field(0, "the same in examples", low=0)
  decay_at: tuple[float, ...] = field(
    (0.5, 0.75), "schedule 'step': shares of the run at which it drops"
  )
  decay_factor: float = field(
    0.1, "schedule 'step': factor of each drop", low=0, high=1
  )
  momentum: float = field(0.9, "sgd, lars: momentum", low=0, high=0.9999)
  nesterov: bool = field(True, "sgd, lars: whether the momentum is Nesterov's")
  trust_coefficient: float = field(
    0.001,
    "lars: learning rate of a parameter of which norm and gradient's norm are "
    "equal, by that of the schedule",
    low=0,
    high=1,
  )
  b1: float = field(0.9, "adam, lamb: decay of the mean", low=0, high=0.99999)
  b2: float = field(
    0.999, "adam, lamb: decay of the square", low=0, high=0.99999
  )
  epsilon: float = field(
    1e-7, "adam, lamb: added to the root (Keras: 1e-7)", low=0
  )
  weight_decay: float = field(
    0.0, "adamw, lamb: decoupled; sgd, lars: L2; see rules", low=0, high=10
  )
  rules: tuple[str, ...] = field(
    (".*/kernel", ".* wd=0"),
    "factors by parameter path, the first that matches; see train/rules.py",
  )
  clip_norm: float = field(0.0, "largest gradient norm; 0: no limit", low=0)
  accumulate: int = field(
    1, "micro-batches per step, their gradients averaged", low=1
  )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How long, in what batches, towards what loss."""

  batch_size: int = field(32, "images per step over all devices", low=1)
  steps: int = field(0, "length of the run in steps", low=0)
  epochs: float = field(0.0, "length of the run in epochs", low=0)
  examples: int = field(0, "length of the run in examples", low=0)
  label_smoothing: float = field(
    0.0, "share of the target spread over all classes", low=0, high=0.99
  )
  class_weights: str = field(
    "none",
    "weight of a class in the loss: 1, or inverse to its share",
    choices=("none", "balanced"),
  )
  focal_gamma: float = field(
    0.0,
    "exponent of the focal loss, by which examples count less the better they "
    "are predicted; 0: cross-entropy",
    low=0,
    high=10,
  )
  logit_adjustment: float = field(
    0.0,
    "tau: so many logarithms of the classes' shares are added to the logits "
    "in training, not in evaluation; 1 balances; 0: none",
    low=0,
    high=10,
  )
  replicas: int = field(
    1,
    "runs trained together in one program, with seeds from `seed` on, each in "
    "a folder seed<k> of the workdir",
    low=1,
    result=False,
  )
  steps_per_dispatch: int = field(
    1,
    "steps in one dispatch, for accelerators that take less time for a step "
    "than the host to dispatch it; single ones where something is due between "
    "them; the last bits may differ",
    low=1,
    result=False,
  )
  ema_decay: float = field(
    0.0,
    "decay of the average of parameters that is evaluated, rising from 0.1 "
    "over the first steps; 0: none",
    low=0,
    high=0.999999,
  )
  patience: int = field(
    0, "evaluations without a better one before stopping; 0: never", low=0
  )
