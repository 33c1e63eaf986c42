"""Configs of small networks, on data that is not read."""

import dataclasses

from mn_jax.config import Config
from mn_jax.config.experiment import ModelConfig
from mn_jax.config.sections.data import DataConfig


def small_config(**model) -> Config:
  """A narrow, shallow MobileNetV1 on IDC's patches: 17 norms, two classes."""
  fields = {"name": "mobilenet_v1", "width": 0.25, "shallow": True, **model}
  return Config(
    data=DataConfig(name="idc", image_size=32), model=ModelConfig(**fields)
  )


def with_batch(config: Config, batch_size: int) -> Config:
  return dataclasses.replace(
    config, train=dataclasses.replace(config.train, batch_size=batch_size)
  )
