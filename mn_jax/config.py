"""The experiment's configuration: typed sections.

A config file returns an `ml_collections.ConfigDict` made by `default()`; the
command line overrides its fields; `validate.from_config_dict` turns it into the
frozen dataclasses below, which is all that the rest of the package sees. Its
durations become steps in `plan.py`.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import ml_collections

from mn_jax.errors import InputError


def _field(
  default: Any,
  doc: str,
  *,
  choices: tuple[str, ...] | None = None,
  low: float | None = None,
  high: float | None = None,
  result: bool = True,
):
  """A documented field.

  Args:
    default: its default, which also fixes its type.
    doc: what it means, with its unit.
    choices: the valid values, if they are few.
    low, high: the valid range, both ends included.
    result: whether it can change a run's numbers. A workdir is continued only
      by a config that agrees in all fields that can.
  """
  metadata = {
    "doc": doc,
    "choices": choices,
    "low": low,
    "high": high,
    "result": result,
  }
  return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which images, how they are split, and where they are kept."""

  name: str = _field("idc", "data set, a name in data.datasets.DATASETS")
  path: str = _field(
    "", "folder or zip archive; empty: where prepare puts it", result=False
  )
  cache_dir: str = _field(
    "",
    "folder of downloads and packed caches; empty: $MN_JAX_CACHE or "
    "~/.cache/mn_jax",
    result=False,
  )
  split: str = _field(
    "grouped",
    "grouped: by patient; fixed: the published lists; stratified: by image, "
    "each class in proportion; random: by image",
    choices=("grouped", "fixed", "stratified", "random"),
  )
  split_seed: int = _field(
    0, "seed of the split, apart from `seed`", low=0, high=2**31 - 1
  )
  val_fraction: float = _field(
    0.15, "share of groups or images for validation", low=0.01, high=0.8
  )
  test_fraction: float = _field(
    0.2, "share of groups or images for the test", low=0.01, high=0.8
  )
  image_size: int = _field(
    50, "height and width in the packed cache, pixels", low=8, high=1024
  )
  edge_patches: str = _field(
    "resize",
    "images of another size: resize them or drop them",
    choices=("resize", "drop"),
  )
  max_unreadable: float = _field(
    0.01,
    "share of unreadable files that ends the run",
    low=0,
    high=1,
    result=False,
  )
  placement: str = _field(
    "host",
    "host: batches are sent; device: the data set lives on the device",
    choices=("host", "device"),
    result=False,
  )
  prefetch: int = _field(
    4, "batches gathered ahead of the step", low=1, high=1024, result=False
  )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
  """Which network."""

  name: str = _field("mobilenet_v1", "a name in models.registry.MODELS")
  width: float = _field(1.0, "width multiplier", low=0.05, high=4)
  head: str = _field(
    "own",
    "layers after the last feature map: the network's own, or a name in "
    "models.classifier.HEADS",
  )
  weights: str = _field(
    "",
    "file of pretrained weights, .h5 or .safetensors; empty: none",
    result=False,
  )
  transfer: str = _field(
    "scratch",
    "scratch: initial values are drawn; fine_tune: they are pretrained and "
    "all trained; frozen: the backbone is a fixed feature extractor",
    choices=("scratch", "fine_tune", "frozen"),
  )
  match_statistics: int = _field(
    0,
    "fine_tune: training images from which pretrained running statistics are "
    "taken anew, the network's function unchanged; 0: keep the file's",
    low=0,
  )
  cache_features: bool = _field(
    True,
    "compute a frozen backbone's features once, where no augmentation changes "
    "the images",
    result=False,
  )
  resolution: int = _field(
    0,
    "input height and width, resized on the device, pixels; 0: as stored",
    low=0,
    high=1024,
  )
  dropout: float = _field(0.0, "dropout rate in the head", low=0, high=0.99)
  shallow: bool = _field(False, "mobilenet_v1: without five of its blocks")
  separable: bool = _field(
    True, "mobilenet_v1: False has full instead of separable convolutions"
  )
  block_dropout: float = _field(
    0.0, "mobilenet_v1: dropout rate after every block", low=0, high=0.99
  )
  conv_bias: bool = _field(False, "mobilenet_v1: biases before BatchNorm")
  minimalistic: bool = _field(
    False, "mobilenet_v3: without squeeze-excite, hard swish and 5x5 kernels"
  )
  stride_in_1x1: bool = _field(
    False, "resnet50, resnet152: strides where the paper and Keras have them"
  )
  norm_momentum: float = _field(
    0.99,
    "share of the old running statistics that a micro-batch keeps",
    low=0,
    high=0.99999,
  )
  norm_debias: bool = _field(
    True, "correct running statistics for their start; False: as Keras"
  )
  dtype: str = _field(
    "float32",
    "compute type; parameters and statistics stay float32",
    choices=("float32", "bfloat16"),
  )


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Random changes of training images, made on the device."""

  flip: bool = _field(False, "mirror left-right and up-down, each with 1/2")
  quarter_turns: bool = _field(False, "turn by 0, 90, 180 or 270 degrees")


@dataclasses.dataclass(frozen=True)
class OptimConfig:
  """The optimizer and its learning rate."""

  name: str = _field("adam", "optimizer", choices=("adam", "adamw", "sgd"))
  learning_rate: float = _field(1e-4, "peak learning rate", low=0, high=100)
  schedule: str = _field(
    "constant",
    "course after the warm-up",
    choices=("constant", "cosine", "step"),
  )
  warmup_steps: int = _field(0, "linear warm-up from 0, in steps", low=0)
  warmup_epochs: float = _field(0.0, "the same in epochs", low=0)
  warmup_examples: int = _field(0, "the same in examples", low=0)
  decay_at: tuple[float, ...] = _field(
    (0.5, 0.75), "schedule 'step': shares of the run at which it drops"
  )
  decay_factor: float = _field(
    0.1, "schedule 'step': factor of each drop", low=0, high=1
  )
  momentum: float = _field(0.9, "sgd: momentum", low=0, high=0.9999)
  nesterov: bool = _field(True, "sgd: whether the momentum is Nesterov's")
  b1: float = _field(0.9, "adam: decay of the mean", low=0, high=0.99999)
  b2: float = _field(0.999, "adam: decay of the square", low=0, high=0.99999)
  epsilon: float = _field(1e-7, "adam: added to the root (Keras: 1e-7)", low=0)
  weight_decay: float = _field(
    0.0, "adamw: decoupled; sgd: L2; see rules", low=0, high=10
  )
  rules: tuple[str, ...] = _field(
    (".*/kernel", ".* wd=0"),
    "factors by parameter path, the first that matches; see mn_jax/rules.py",
  )
  clip_norm: float = _field(0.0, "largest gradient norm; 0: no limit", low=0)
  accumulate: int = _field(
    1, "micro-batches per step, their gradients averaged", low=1
  )


@dataclasses.dataclass(frozen=True)
class TrainConfig:
  """How long, in what batches, towards what loss."""

  batch_size: int = _field(32, "images per step over all devices", low=1)
  steps: int = _field(0, "length of the run in steps", low=0)
  epochs: float = _field(0.0, "length of the run in epochs", low=0)
  examples: int = _field(0, "length of the run in examples", low=0)
  label_smoothing: float = _field(
    0.0, "share of the target spread over all classes", low=0, high=0.99
  )
  class_weights: str = _field(
    "none",
    "weight of a class in the loss: 1, or inverse to its share",
    choices=("none", "balanced"),
  )
  ema_decay: float = _field(
    0.0,
    "decay of the average of parameters that is evaluated, rising from 0.1 "
    "over the first steps; 0: none",
    low=0,
    high=0.999999,
  )
  patience: int = _field(
    0, "evaluations without a better one before stopping; 0: never", low=0
  )


@dataclasses.dataclass(frozen=True)
class EvalConfig:
  """Validation during training."""

  batch_size: int = _field(256, "images per step over all devices", low=1)
  every_steps: int = _field(0, "steps between validations", low=0)
  every_epochs: float = _field(1.0, "epochs between validations", low=0)
  every_examples: int = _field(0, "examples between validations", low=0)
  best_metric: str = _field(
    "balanced_accuracy",
    "validation metric that chooses the best checkpoint",
    choices=(
      "balanced_accuracy",
      "accuracy",
      "auroc",
      "f1",
      "macro_auroc",
      "macro_f1",
      "loss",
    ),
  )


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
  """When the state is saved, beside every new best, and how much is kept."""

  every_steps: int = _field(0, "steps between saves", low=0, result=False)
  every_epochs: float = _field(1.0, "epochs between saves", low=0, result=False)
  every_examples: int = _field(0, "examples between saves", low=0, result=False)
  keep_latest: int = _field(
    2, "newest checkpoints kept, beside the best", low=1, result=False
  )


@dataclasses.dataclass(frozen=True)
class ObserveConfig:
  """What is written while training; none of it changes what is trained."""

  log_every_steps: int = _field(20, "steps between training metrics", low=1)
  profile_at_step: int = _field(
    0, "step at which a profiler trace begins; 0: none", low=0, result=False
  )
  profile_steps: int = _field(5, "steps in the trace", low=1, result=False)


@dataclasses.dataclass(frozen=True)
class Config:
  """One experiment."""

  experiment: str = _field("", "its name, for titles and tables", result=False)
  seed: int = _field(
    0, "initial values, order, augmentation, dropout", low=0, high=2**31 - 1
  )
  data: DataConfig = DataConfig()
  model: ModelConfig = ModelConfig()
  augment: AugmentConfig = AugmentConfig()
  optim: OptimConfig = OptimConfig()
  train: TrainConfig = TrainConfig()
  eval: EvalConfig = EvalConfig()
  checkpoint: CheckpointConfig = CheckpointConfig()
  observe: ObserveConfig = ObserveConfig()


def default() -> ml_collections.ConfigDict:
  """Every field at its default, for a config file to change."""
  return ml_collections.ConfigDict(dataclasses.asdict(Config()))


def variant(
  config: ml_collections.ConfigDict,
  arg: str | None,
  variants: Mapping[str, Mapping[str, Any]],
) -> ml_collections.ConfigDict:
  """Applies the argument of `--config=FILE:ARG`.

  Args:
    config: the full experiment; changed in place.
    arg: None or '' for the full experiment, or a key of `variants`.
    variants: argument -> {'section.field': value}.

  Returns:
    `config`.

  Raises:
    InputError: if the argument is not one of the variants.
  """
  if not arg:
    return config
  if arg not in variants:
    raise InputError(
      f"config argument: got {arg!r}; valid: {', '.join(sorted(variants))}, "
      "or none for the full experiment"
    )
  config.experiment = f"{config.experiment}_{arg}"
  config.update_from_flattened_dict(dict(variants[arg]))
  return config


def result_fields(config: Config) -> dict[str, Any]:
  """'section.field' -> value of every field that can change a run's numbers."""
  flat = {}
  for field in dataclasses.fields(config):
    value = getattr(config, field.name)
    if dataclasses.is_dataclass(value):
      flat.update(
        {
          f"{field.name}.{f.name}": getattr(value, f.name)
          for f in dataclasses.fields(value)
          if f.metadata["result"]
        }
      )
    elif field.metadata["result"]:
      flat[field.name] = value
  return flat
