"""The networks by name, and what belongs to each: input range, head, paper."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from mn_jax.errors import InputError
from mn_jax.models import mobilenet_v1, mobilenet_v2


@dataclasses.dataclass(frozen=True)
class ModelSpec:
  """A network.

  Attributes:
    factory: makes the module; takes `num_classes`, `width`, `dropout`,
      `norm_momentum`, `norm_debias` and `dtype`.
    paper: where it is defined.
    mean, std: normalisation of inputs in [0, 1] that it is trained with.
    params: trainable parameters at width 1.0 and 1000 classes.
    macs: mult-adds at width 1.0, 224 px and 1000 classes.
  """

  factory: type[nn.Module]
  paper: str
  mean: tuple[float, float, float]
  std: tuple[float, float, float]
  params: int
  macs: int


# The authors' code and Keras scale inputs to [-1, 1]: x / 127.5 - 1.
_HALF = (0.5, 0.5, 0.5)

MODELS = {
  "mobilenet_v1": ModelSpec(
    factory=mobilenet_v1.MobileNetV1,
    paper="arXiv:1704.04861",
    mean=_HALF,
    std=_HALF,
    params=4_231_976,
    macs=568_740_352,
  ),
  "mobilenet_v2": ModelSpec(
    factory=mobilenet_v2.MobileNetV2,
    paper="arXiv:1801.04381",
    mean=_HALF,
    std=_HALF,
    params=3_504_872,
    macs=300_774_272,
  ),
}


def get(name: str) -> ModelSpec:
  """Looks a network up.

  Raises:
    InputError: if there is none of that name.
  """
  if name not in MODELS:
    raise InputError(f"model.name: got {name!r}; valid: {', '.join(MODELS)}")
  return MODELS[name]


def build(
  name: str,
  *,
  num_classes: int,
  width: float = 1.0,
  dropout: float = 0.0,
  norm_momentum: float,
  norm_debias: bool = True,
  dtype: str = "float32",
) -> nn.Module:
  """Makes a network; see `ModelSpec` for what it returns.

  Raises:
    InputError: for an unknown name.
  """
  compute: Any = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}[dtype]
  return get(name).factory(
    num_classes=num_classes,
    width=width,
    dropout=dropout,
    norm_momentum=norm_momentum,
    norm_debias=norm_debias,
    dtype=compute,
  )
