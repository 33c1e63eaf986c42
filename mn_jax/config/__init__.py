"""An experiment's configuration: what a config file imports.

`default()` gives an `ml_collections.ConfigDict` to change, `variant` applies a
named set of changes to one, and `Config`, made of one dataclass per section, is
what the package makes of it.
"""

from mn_jax.config.experiment import (
  Config,
  default,
  result_fields,
  variant,
)
from mn_jax.config.sections.augment import AugmentConfig
from mn_jax.config.sections.data import DataConfig
from mn_jax.config.sections.model import ModelConfig
from mn_jax.config.sections.rhythm import (
  CheckpointConfig,
  EvalConfig,
  ObserveConfig,
)
from mn_jax.config.sections.training import OptimConfig, TrainConfig

__all__ = [
  "AugmentConfig",
  "CheckpointConfig",
  "Config",
  "DataConfig",
  "EvalConfig",
  "ModelConfig",
  "ObserveConfig",
  "OptimConfig",
  "TrainConfig",
  "default",
  "result_fields",
  "variant",
]
