"""Section `optim`: the optimizer and its learning rate schedule."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimizer and its learning rate."""

  name: str = field(
    "adam",
    "optimizer; rmsprop: TensorFlow's",
    choices=("adam", "adamw", "lamb", "sgd", "lars", "rmsprop"),
  )
  learning_rate: float = field(1e-4, "peak learning rate", low=0, high=100)
  lr_scaling: str = field(
    "none",
    "how the peak scales with train.batch_size / lr_batch_size: not at all, "
    "linearly, or with the square root",
    choices=("none", "linear", "sqrt"),
  )
  lr_batch_size: int = field(
    256, "lr_scaling: batch size that learning_rate is meant for", low=1
  )
  schedule: str = field(
    "constant",
    "learning rate schedule after the warm-up",
    choices=("constant", "cosine", "step", "exponential"),
  )
  warmup_steps: int = field(0, "linear warm-up from 0, in steps", low=0)
  warmup_epochs: float = field(0.0, "linear warm-up from 0, in epochs", low=0)
  warmup_examples: int = field(0, "linear warm-up from 0, in examples", low=0)
  decay_at: tuple[float, ...] = field(
    (0.5, 0.75), "schedule 'step': shares of the run after which it drops"
  )
  decay_factor: float = field(
    0.1, "schedules 'step', 'exponential': factor of each drop", low=0, high=1
  )
  decay_every_steps: int = field(
    0, "schedule 'exponential': steps between drops", low=0
  )
  decay_every_epochs: float = field(
    0.0, "schedule 'exponential': epochs between drops", low=0
  )
  decay_every_examples: int = field(
    0, "schedule 'exponential': examples between drops", low=0
  )
  decay_staircase: bool = field(
    True, "schedule 'exponential': drop at once, not a little in every step"
  )
  momentum: float = field(
    0.9, "sgd, lars, rmsprop: momentum", low=0, high=0.9999
  )
  nesterov: bool = field(True, "sgd, lars: Nesterov momentum")
  trust_coefficient: float = field(
    0.001,
    "lars: multiplies the ratio of a parameter's norm to its gradient's",
    low=0,
    high=1,
  )
  b1: float = field(
    0.9, "adam, lamb: decay of the first moment", low=0, high=0.99999
  )
  b2: float = field(
    0.999,
    "adam, lamb, rmsprop: decay of the second moment",
    low=0,
    high=0.99999,
  )
  epsilon: float = field(
    1e-7,
    "adam, lamb: added to the denominator (Keras: 1e-7); rmsprop: to its "
    "square",
    low=0,
  )
  weight_decay: float = field(
    0.0,
    "adamw, lamb: decoupled; sgd, lars, rmsprop: L2; see rules",
    low=0,
    high=10,
  )
  rules: tuple[str, ...] = field(
    (".*/kernel", ".* wd=0"),
    "factors by parameter path, of which the first match counts; see "
    "mn_jax/train/rules.py",
  )
  clip_norm: float = field(
    0.0, "largest global gradient norm; 0: no clipping", low=0
  )
  accumulate: int = field(
    1, "micro-batches per step, gradients averaged", low=1
  )
  skip_nonfinite: bool = field(
    False,
    "an update whose loss or gradient is not finite is skipped and counted; "
    "if false, it ends the run",
    later=True,
  )
