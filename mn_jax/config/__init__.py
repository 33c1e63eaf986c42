"""The configuration of an experiment: what config files import.

`default()` returns an `ml_collections.ConfigDict` to change, `variant` applies
a named set of changes to it, and `Config` is the checked result.
"""

from mn_jax.config.experiment import (
  AugmentConfig,
  CheckpointConfig,
  Config,
  DataConfig,
  EvalConfig,
  ModelConfig,
  ObserveConfig,
  OptimConfig,
  TrainConfig,
  default,
  result_fields,
  variant,
)

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
