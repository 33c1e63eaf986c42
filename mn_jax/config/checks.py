"""Checks a config file's values and makes the typed `Config` of them.

Whatever is wrong with a config is an `InputError` of one line that names the
field, the value it got and the valid ones.
"""

import dataclasses
import itertools
import math
import types
import typing
from collections.abc import Mapping
from typing import Any

import ml_collections

from mn_jax.config import near, paths
from mn_jax.config.experiment import Config, resolved
from mn_jax.config.sections.data import DataConfig
from mn_jax.errors import InputError


def from_config_dict(values: ml_collections.ConfigDict) -> Config:
  """Checks the name, type and range of every field.

  Raises:
    InputError: naming the first field that is wrong, what it got and what is
      valid.
  """
  config = resolved(_section(Config, values.to_dict(), prefix=""))
  _durations(config)
  _data(config)
  _watched_test(config)
  _class_imbalance(config)
  _replicas(config)
  _teacher(config)
  _optimizer(config)
  _micro_batches(config)
  return config


def check_fields(prefix: str, section: Any, **values: Any) -> None:
  """Checks the type and range of values for fields of a section.

  Args:
    prefix: what errors call the section.
    section: a section's dataclass or an instance of it.
    **values: field name -> value.

  Raises:
    InputError: naming the first field that is wrong.
  """
  fields = {f.name: f for f in dataclasses.fields(section)}
  for name, value in values.items():
    check_value(fields[name], f"{prefix}.{name}", value)


def check_value(field: dataclasses.Field, path: str, value: Any) -> Any:
  """Returns a field's value in its declared type: 1 as 1.0, a list as a tuple.

  Args:
    field: made by `field.field`.
    path: what errors call it.
    value: to be checked.

  Raises:
    InputError: for another type, or a value out of range.
  """
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
  if field.metadata["path"] and value:
    paths.local(value, path)
  choices, low, high = (field.metadata[k] for k in ("choices", "low", "high"))
  if choices is not None and value not in choices:
    raise InputError(f"{path}: got {value!r}; valid: {', '.join(choices)}")
  if kind is float and not math.isfinite(value):
    raise InputError(f"{path}: got {value!r}; valid: a finite number")
  if (low is not None and value < low) or (high is not None and value > high):
    span = f"at least {low}" if high is None else f"{low} to {high}"
    raise InputError(f"{path}: got {value!r}; valid: {span}")
  return value


def _section(cls: type, values: Mapping[str, Any], prefix: str) -> Any:
  fields = {f.name: f for f in dataclasses.fields(cls)}
  unknown = sorted(set(values) - set(fields))
  if unknown:
    path = f"{prefix}{unknown[0]}"
    meant = near.hint(near.field(path))
    raise InputError(
      f"{path}: unknown field{meant}; valid: {', '.join(fields)}"
    )
  checked = {}
  for name, value in values.items():
    path = f"{prefix}{name}"
    if dataclasses.is_dataclass(fields[name].type):
      if not isinstance(value, Mapping):
        raise InputError(f"{path}: got {value!r}; valid: a section")
      checked[name] = _section(fields[name].type, value, f"{path}.")
    else:
      checked[name] = check_value(fields[name], path, value)
  return cls(**checked)


def _tuple(path: str, value: Any, kind: type) -> tuple:
  valid = str if kind is str else int | float
  if not isinstance(value, list | tuple) or not all(
    isinstance(v, valid) and not isinstance(v, bool) for v in value
  ):
    what = "strings" if kind is str else "numbers"
    raise InputError(f"{path}: got {value!r}; valid: a tuple of {what}")
  return tuple(kind(v) for v in value)


def _durations(config: Config) -> None:
  """Refuses durations in two units, and cadences and lengths in none."""
  _one_unit(config.train, "train", "", required=True)
  _one_unit(config.optim, "optim", "warmup_", required=False)
  exponential = config.optim.schedule == "exponential"
  _one_unit(config.optim, "optim", "decay_every_", required=exponential)
  _one_unit(config.eval, "eval", "every_", required=True)
  _one_unit(config.checkpoint, "checkpoint", "every_", required=True)
  if config.train.steps_per_dispatch > config.observe.log_every_steps:
    raise InputError(
      f"train.steps_per_dispatch: got {config.train.steps_per_dispatch}; "
      "valid: at most observe.log_every_steps, "
      f"{config.observe.log_every_steps}"
    )


def _one_unit(section: Any, name: str, prefix: str, *, required: bool) -> None:
  fields = [f"{prefix}{unit}" for unit in ("steps", "epochs", "examples")]
  used = {f: getattr(section, f) for f in fields if getattr(section, f)}
  if len(used) > 1 or (required and not used):
    got = ", ".join(f"{k}={v:g}" for k, v in used.items()) or "none"
    number = "exactly one" if required else "at most one"
    raise InputError(
      f"{name}: got {got}; valid: {number} of {', '.join(fields)} above 0, "
      f"the others 0"
    )


def _data(config: Config) -> None:
  """Refuses splits and crops that leave nothing."""
  data = config.data
  held_out = data.val_fraction + data.test_fraction
  if held_out > 0.9:
    raise InputError(
      f"data.val_fraction + data.test_fraction: got {held_out:g}; valid: at "
      "most 0.9"
    )
  if data.classes == 1:
    raise InputError("data.classes: got 1; valid: 0 for all, or 2 or more")
  if data.folds == 1:
    raise InputError("data.folds: got 1; valid: 0 for one per group, or 2 on")
  if config.augment.crop_padding >= data.image_size:
    raise InputError(
      f"augment.crop_padding: got {config.augment.crop_padding} pixels with "
      f"data.image_size {data.image_size}; valid: less than the image"
    )
  _whole_images(config)
  _randaugment(config)


def _randaugment(config: Config) -> None:
  """Refuses settings that RandAugment's own operations do not have."""
  section = config.augment
  if section.randaugment_space != "smooth":
    return
  if section.randaugment_magnitude > 10:
    raise InputError(
      f"augment.randaugment_magnitude: got {section.randaugment_magnitude:g} "
      "with augment.randaugment_space 'smooth'; valid: 0 to 10"
    )
  for name, default in (("std", 0.0), ("probability", 1.0)):
    value = getattr(section, f"randaugment_{name}")
    if value != default:
      raise InputError(
        f"augment.randaugment_{name}: got {value:g} with "
        f"augment.randaugment_space 'smooth'; valid: {default:g}, or another "
        "space"
      )


def _whole_images(config: Config) -> None:
  """Refuses settings of whole images without these, and what they cannot."""
  data = config.data
  for name in ("crop_share", "short_side"):
    value, default = getattr(data, name), getattr(DataConfig, name)
    if value != default and data.other_sizes != "crop":
      raise InputError(
        f"data.{name}: got {value} with data.other_sizes "
        f"{data.other_sizes!r}; valid: {default}, or data.other_sizes 'crop'"
      )
  if not data.short_side:
    return
  for name in ("stain_normalisation", "context"):
    value, default = getattr(data, name), getattr(DataConfig, name)
    if value != default:
      raise InputError(
        f"data.{name}: got {value!r} with data.short_side {data.short_side}, "
        f"whose random crops would not have it; valid: {default!r}, or "
        "data.short_side 0"
      )
  if data.placement == "device":
    raise InputError(
      f"data.placement: got 'device' with data.short_side {data.short_side}, "
      "whose images have different sizes; valid: 'host'"
    )
  if config.augment.crop_scale == 1:
    raise InputError(
      f"augment.crop_scale: got 1 with data.short_side {data.short_side}, "
      "which is there to crop from; valid: less, 0.08 for ImageNet"
    )


def _watched_test(config: Config) -> None:
  """Refuses to watch a test that chooses, or has no accuracy."""
  if not config.eval.watch_test:
    return
  if config.eval.part == "test":
    raise InputError(
      "eval.watch_test: got True with eval.part='test', which is evaluated at "
      "every validation and chooses; valid: False, or eval.part='val'"
    )
  if config.data.multi_label:
    raise InputError(
      "eval.watch_test: got True for images with several labels; valid: False"
    )


def _class_imbalance(config: Config) -> None:
  """Refuses to correct class imbalance more than once."""
  corrections = {
    "data.sampling='balanced'": config.data.sampling == "balanced",
    "train.class_weights='balanced'": config.train.class_weights == "balanced",
    f"train.logit_adjustment={config.train.logit_adjustment:g}": (
      config.train.logit_adjustment > 0
    ),
  }
  if config.data.multi_label and config.data.sampling == "balanced":
    raise InputError(
      "data.sampling: got 'balanced' for images with several labels, of which "
      "no sample has all equally often; valid: 'shuffled', and "
      "train.class_weights='balanced'"
    )
  used = [name for name, chosen in corrections.items() if chosen]
  if len(used) > 1:
    raise InputError(
      f"{used[-1]}: got it with {used[0]}, which corrects class imbalance "
      "twice; valid: one of them"
    )


def _replicas(config: Config) -> None:
  """Refuses what several seeds in one program cannot have."""
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
      f"checkpoint.keep_latest: got 1 with train.replicas {count}, which "
      "resume from a step that all have; valid: 2 or more, or train.replicas 1"
    )


def _teacher(config: Config) -> None:
  """Refuses settings of a teacher that there is not, or is not asked for."""
  names = ["weight", "temperature", "model", "width", "unchecked"]
  needs = "train.teacher"
  if config.train.teacher:
    names, needs = ["width"], "train.teacher_model"
    if config.train.teacher_model:
      return
  fields = {field.name: field for field in dataclasses.fields(config.train)}
  for name in names:
    field = fields[f"teacher_{name}"]
    value = getattr(config.train, field.name)
    if value != field.default:
      raise InputError(
        f"train.{field.name}: got {value!r} without {needs}; valid: "
        f"{field.default!r}, or {needs} too"
      )


def _optimizer(config: Config) -> None:
  """Refuses weight decay that Adam ignores, and drops in no order."""
  optim = config.optim
  if optim.weight_decay and optim.name == "adam":
    raise InputError(
      f"optim.weight_decay: got {optim.weight_decay:g} with optim.name "
      "'adam'; valid: 0, or another optim.name"
    )
  shares = (0.0, *optim.decay_at, 1.0)
  if not all(a < b for a, b in itertools.pairwise(shares)):
    raise InputError(
      f"optim.decay_at: got {optim.decay_at}; valid: rising shares of "
      "the run between 0 and 1"
    )


def _micro_batches(config: Config) -> None:
  """Refuses micro-batches that what is done with them does not divide."""
  batch, count = config.train.batch_size, config.optim.accumulate
  if batch % count:
    raise InputError(
      f"optim.accumulate: got {count}; valid: a divisor of train.batch_size, "
      f"{batch}"
    )
  different = batch // config.augment.repeats
  if batch % config.augment.repeats:
    raise InputError(
      f"augment.repeats: got {config.augment.repeats}; valid: a divisor of "
      f"train.batch_size, {batch}"
    )
  size, model = batch // count, config.model
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
  mixes = config.augment.mixup or config.augment.cutmix
  if mixes and config.augment.repeats > 1 and different <= count:
    raise InputError(
      f"augment.repeats: got {config.augment.repeats} with {batch} images per "
      f"step in {count} micro-batches, where images would be mixed with "
      "themselves; valid: fewer, or no augment.mixup and augment.cutmix"
    )
  if size == 1 and mixes:
    raise InputError(
      "augment.mixup, augment.cutmix: got one above 0 with one image per "
      "micro-batch, which leaves none to mix it with; valid: 0, or "
      "train.batch_size above optim.accumulate"
    )
