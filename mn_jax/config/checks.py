"""From the loose values of a config file to the typed ones, or one clear line.

Whatever is wrong with a config ends here, as an `InputError` that names the
field, what it got and what is valid.
"""

import dataclasses
import itertools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import ml_collections

from mn_jax import config as config_lib
from mn_jax.errors import InputError


def from_config_dict(values: ml_collections.ConfigDict) -> config_lib.Config:
  """Checks every field's name, type and range.

  Raises:
    InputError: naming the first field that is wrong, what it got and what is
      valid.
  """
  config = _section(config_lib.Config, values.to_dict(), prefix="")
  _exactly_one(config.train, "train", "", required=True)
  _exactly_one(config.optim, "optim", "warmup_", required=False)
  _exactly_one(config.eval, "eval", "every_", required=True)
  _exactly_one(config.checkpoint, "checkpoint", "every_", required=True)
  held_out = config.data.val_fraction + config.data.test_fraction
  if held_out > 0.9:
    raise InputError(
      f"data.val_fraction + data.test_fraction: got {held_out:g}; valid: at "
      "most 0.9"
    )
  if config.data.classes == 1:
    raise InputError("data.classes: got 1; valid: 0 for all, or 2 and more")
  if config.data.folds == 1:
    raise InputError("data.folds: got 1; valid: 0 for one per group, or 2 on")
  _once_at_most(config)
  _replicas(config)
  if config.train.batch_size % config.optim.accumulate:
    raise InputError(
      f"optim.accumulate: got {config.optim.accumulate}; valid: a divisor of "
      f"train.batch_size, {config.train.batch_size}"
    )
  if config.train.steps_per_dispatch > config.observe.log_every_steps:
    raise InputError(
      f"train.steps_per_dispatch: got {config.train.steps_per_dispatch}; "
      "valid: at most observe.log_every_steps, "
      f"{config.observe.log_every_steps}"
    )
  if config.optim.weight_decay and config.optim.name == "adam":
    raise InputError(
      f"optim.weight_decay: got {config.optim.weight_decay:g} with optim.name "
      "'adam'; valid: 0, or another optim.name"
    )
  _norm_group(config)
  if config.augment.crop_padding >= config.data.image_size:
    raise InputError(
      f"augment.crop_padding: got {config.augment.crop_padding} pixels with "
      f"data.image_size {config.data.image_size}; valid: less than the image"
    )
  mixing = config.augment.mixup or config.augment.cutmix
  if mixing and config.train.batch_size == config.optim.accumulate:
    raise InputError(
      "augment.mixup, augment.cutmix: got one above 0 with one image per "
      "micro-batch, which leaves none to mix it with; valid: 0, or "
      "train.batch_size above optim.accumulate"
    )
  shares = (0.0, *config.optim.decay_at, 1.0)
  if not all(a < b for a, b in itertools.pairwise(shares)):
    raise InputError(
      f"optim.decay_at: got {config.optim.decay_at}; valid: rising shares of "
      "the run between 0 and 1"
    )
  return config


def check_fields(prefix: str, section: Any, **values: Any) -> None:
  """Checks values for fields of a section, as `from_config_dict` does.

  Raises:
    InputError: naming the first field that is wrong.
  """
  fields = {f.name: f for f in dataclasses.fields(section)}
  for name, value in values.items():
    _value(fields[name], f"{prefix}.{name}", value)


def _once_at_most(config: config_lib.Config) -> None:
  """Refuses to count the imbalance of classes more than once."""
  ways = {
    "data.sampling='balanced'": config.data.sampling == "balanced",
    "train.class_weights='balanced'": config.train.class_weights == "balanced",
    f"train.logit_adjustment={config.train.logit_adjustment:g}": (
      config.train.logit_adjustment > 0
    ),
  }
  given = [way for way, chosen in ways.items() if chosen]
  if len(given) > 1:
    raise InputError(
      f"{given[-1]}: got it with {given[0]}, which counts the imbalance twice; "
      "valid: one of them"
    )


def _norm_group(config: config_lib.Config) -> None:
  """Refuses groups of BatchNorm that do not divide a micro-batch."""
  model, size = config.model, config.train.batch_size // config.optim.accumulate
  if model.norm_over == "group":
    if model.norm_group < 2 or size % model.norm_group:
      raise InputError(
        f"model.norm_group: got {model.norm_group} with model.norm_over "
        f"'group'; valid: 2 or more, a divisor of a micro-batch's {size} images"
      )
  elif model.norm_group:
    raise InputError(
      f"model.norm_group: got {model.norm_group} with model.norm_over "
      f"{model.norm_over!r}; valid: 0, or model.norm_over 'group'"
    )


def _replicas(config: config_lib.Config) -> None:
  """Refuses what only a run of one seed can have."""
  count = config.train.replicas
  if count == 1:
    return
  last, limit = config.seed + count - 1, 2**31 - 1
  if last > limit:
    raise InputError(
      f"train.replicas: got {count} with seed {config.seed}; valid: a last "
      f"seed of at most {limit}, not {last}"
    )
  if config.train.patience:
    raise InputError(
      f"train.patience: got {config.train.patience} with train.replicas "
      f"{count}, which end at the same step; valid: 0, or train.replicas 1"
    )
  if config.checkpoint.keep_latest == 1:
    raise InputError(
      f"checkpoint.keep_latest: got 1 with train.replicas {count}, which go on "
      "from a step that all have; valid: 2 or more, or train.replicas 1"
    )


def _section(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
  fields = {f.name: f for f in dataclasses.fields(cls)}
  unknown = sorted(set(values) - set(fields))
  if unknown:
    raise InputError(
      f"{prefix}{unknown[0]}: unknown field; valid: {', '.join(fields)}"
    )
  made = {}
  for name, value in values.items():
    path = f"{prefix}{name}"
    if dataclasses.is_dataclass(fields[name].type):
      if not isinstance(value, Mapping):
        raise InputError(f"{path}: got {value!r}; valid: a section")
      made[name] = _section(fields[name].type, value, f"{path}.")
    else:
      made[name] = _value(fields[name], path, value)
  return cls(**made)


def _value(field: dataclasses.Field, path: str, value: Any) -> Any:
  kind = field.type
  if isinstance(kind, types.GenericAlias):  # tuple[float, ...], tuple[str, ...]
    return _tuple(path, value, str if str in typing.get_args(kind) else float)
  if kind is float and type(value) is int:
    value = float(value)
  if type(value) is not kind:
    raise InputError(
      f"{path}: got {value!r} of type {type(value).__name__}; valid: "
      f"{kind.__name__}"
    )
  choices, low, high = (field.metadata[k] for k in ("choices", "low", "high"))
  if choices is not None and value not in choices:
    raise InputError(f"{path}: got {value!r}; valid: {', '.join(choices)}")
  if kind is float and not math.isfinite(value):
    raise InputError(f"{path}: got {value!r}; valid: a finite number")
  if (low is not None and value < low) or (high is not None and value > high):
    span = f"at least {low}" if high is None else f"{low} to {high}"
    raise InputError(f"{path}: got {value!r}; valid: {span}")
  return value


def _tuple(path: str, value: Any, kind: type) -> tuple:
  valid = str if kind is str else int | float
  if not isinstance(value, list | tuple) or not all(
    isinstance(v, valid) and not isinstance(v, bool) for v in value
  ):
    what = "texts" if kind is str else "numbers"
    raise InputError(f"{path}: got {value!r}; valid: a tuple of {what}")
  return tuple(kind(v) for v in value)


def _exactly_one(
  section: Any, name: str, prefix: str, *, required: bool
) -> None:
  fields = [f"{prefix}{unit}" for unit in ("steps", "epochs", "examples")]
  given = {f: getattr(section, f) for f in fields if getattr(section, f)}
  if len(given) > 1 or (required and not given):
    got = ", ".join(f"{k}={v:g}" for k, v in given.items()) or "none"
    number = "exactly one" if required else "at most one"
    raise InputError(
      f"{name}: got {got}; valid: {number} of {', '.join(fields)} above 0, "
      f"the others 0"
    )
