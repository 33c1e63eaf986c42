"""The configuration of an experiment: `Config`, made of typed sections.

A config file changes fields of the `ml_collections.ConfigDict` that `default()`
returns, and the command line overrides them (`overrides.py`). `checks.py` turns
the result into frozen dataclasses, which is all that the rest of the package
sees. Durations become steps in `plan.py`.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import ml_collections

from mn_jax.config.field import field
from mn_jax.config.sections.augment import AugmentConfig
from mn_jax.config.sections.checkpoint import CheckpointConfig
from mn_jax.config.sections.data import DataConfig
from mn_jax.config.sections.eval import EvalConfig
from mn_jax.config.sections.model import ModelConfig
from mn_jax.config.sections.observe import ObserveConfig
from mn_jax.config.sections.optim import OptimConfig
from mn_jax.config.sections.train import TrainConfig
from mn_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Config:
  """The configuration of one experiment, checked and frozen."""

  experiment: str = field("", "name, for titles and tables", result=False)
  seed: int = field(
    0,
    "seed of initial values, order, augmentation and dropout",
    low=0,
    high=2**31 - 1,
  )
  data: DataConfig = dataclasses.field(default_factory=DataConfig)
  model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
  augment: AugmentConfig = dataclasses.field(default_factory=AugmentConfig)
  optim: OptimConfig = dataclasses.field(default_factory=OptimConfig)
  train: TrainConfig = dataclasses.field(default_factory=TrainConfig)
  eval: EvalConfig = dataclasses.field(default_factory=EvalConfig)
  checkpoint: CheckpointConfig = dataclasses.field(
    default_factory=CheckpointConfig
  )
  observe: ObserveConfig = dataclasses.field(default_factory=ObserveConfig)


def resolved(config: Config) -> Config:
  """Returns a config with the metric that `eval.best_metric` 'auto' stands for.

  It is what a run keeps, so that a later version may choose another one.
  """
  if config.eval.best_metric != "auto":
    return config
  metric = "macro_auroc" if config.data.multi_label else "balanced_accuracy"
  section = dataclasses.replace(config.eval, best_metric=metric)
  return dataclasses.replace(config, eval=section)


def default() -> ml_collections.ConfigDict:
  """Returns all fields at their defaults, for a config file to change."""
  return ml_collections.ConfigDict(dataclasses.asdict(Config()))


def variant(
  config: ml_collections.ConfigDict,
  arg: str | None,
  variants: Mapping[str, Mapping[str, Any]],
) -> ml_collections.ConfigDict:
  """Applies the named set of changes of `--config=NAME:ARG`.

  Args:
    config: the full experiment, changed in place.
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


def resolution(config: Config) -> int:
  """Returns the network's input height and width in evaluation, in pixels."""
  return config.model.resolution or config.data.image_size


def train_resolution(config: Config) -> int:
  """Returns the network's input height and width in training, in pixels."""
  return config.model.train_resolution or resolution(config)


def items(config: Config) -> Iterator[tuple[str, dataclasses.Field, Any]]:
  """Yields ('section.field', field, value) of all fields."""
  for item in dataclasses.fields(config):
    value = getattr(config, item.name)
    if not dataclasses.is_dataclass(value):
      yield item.name, item, value
      continue
    for inner in dataclasses.fields(value):
      yield f"{item.name}.{inner.name}", inner, getattr(value, inner.name)


def result_fields(config: Config) -> dict[str, Any]:
  """Returns {'section.field': value} of the fields that can change results."""
  return {
    path: value
    for path, field_, value in items(config)
    if field_.metadata["result"]
  }
