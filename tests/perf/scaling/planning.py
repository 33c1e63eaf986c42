"""A config that compiles in seconds, and its data without data."""

import dataclasses

from mn_jax.config import Config
from mn_jax.config.experiment import ModelConfig
from mn_jax.config.sections.data import DataConfig


def small_config(**model) -> Config:
  """A narrow, shallow MobileNetV1 on IDC's patches: 17 norms, two classes."""
  return Config(
    data=DataConfig(name="idc", image_size=32),
    model=ModelConfig(
      name="mobilenet_v1", **{"width": 0.25, "shallow": True, **model}
    ),
  )


def with_batch(config: Config, batch_size: int) -> Config:
  return dataclasses.replace(
    config, train=dataclasses.replace(config.train, batch_size=batch_size)
  )
