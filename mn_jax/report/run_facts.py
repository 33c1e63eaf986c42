"""What a run was trained with, as names and values for its page."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from mn_jax.augment import views as views_lib
from mn_jax.config import Config
from mn_jax.data.datasets import columns, registry
from mn_jax.errors import InputError
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe.formatting import count, duration, metric_name

_PARTS = {"train": "training", "val": "validation", "test": "test"}
_LENGTHS = ("batch_size", "steps", "epochs", "examples")
# Fields of `train` that change nothing that is learnt, or are told elsewhere.
_NOT_LEARNT = ("replicas", "steps_per_dispatch", "patience")
# Fields of the optimizers, beside those that have a row of their own.
_OF_OPTIMIZER = {
  "sgd": ("momentum", "nesterov"),
  "lars": ("momentum", "nesterov", "trust_coefficient"),
  "rmsprop": ("momentum",),
}
_ALWAYS = ("weight_decay",)
# Fields of `data` that change what is learnt, beside the split.
_OF_DATA = ("sampling", "train_fraction", "stain_normalisation", "context")
_IF_CHANGED = ("b1", "b2", "epsilon", "clip_norm", "accumulate", "rules")


class Run(Protocol):
  """A run, or a fold of a cross-validation.

  Attributes:
    summary: content of `summary.json`.
    config: content of `config.json`.
    split: content of `split.json`.
    test: predictions for the test.
  """

  summary: Mapping[str, Any]
  config: Mapping[str, Any]
  split: Mapping[str, Any]
  test: NamedPredictions


def facts(run: Run) -> list[tuple[str, str]]:
  """Returns (name, value) of images, network, weights and training."""
  summary = run.summary
  made = _averaging(summary) if "ensemble" in summary else None
  return [
    ("images", images(run)),
    ("split", _split(run)),
    *(made or [*training(run), ("checkpoint", _checkpoint(summary))]),
    ("time", f"{duration(summary['wall_seconds'])} on {summary['device']}"),
  ]


def training(run: Run) -> list[tuple[str, str]]:
  """Returns (name, value) of network, weights and training.

  Fields that the run's version did not have are left out.
  """
  config, summary = run.config["config"], run.summary
  rows = [
    ("network", _network(summary, config)),
    ("weights", _weights(summary)),
    ("optimizer", optimizer(config)),
    ("learning rate", learning_rate(config)),
    ("length", _length(summary, config)),
    ("augmentation", _listed(_changed("augment", config)) or "none"),
  ]
  others = [x for x in _changed("data", config) if x[0] in _OF_DATA]
  others += [
    pair
    for pair in _changed("train", config)
    if pair[0] not in (*_LENGTHS, *_NOT_LEARNT)
    and not pair[0].startswith("teacher")
  ]
  if others:
    rows.append(("also", _listed(others)))
  return rows


def _averaging(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
  """Returns (name, value) of what an ensemble is the mean of."""
  made, views = summary["ensemble"], "the plain image"
  if kind := made["views"]:
    views = f"{kind}, {count(len(views_lib.KINDS[kind]), 'view')} of an image"
  names = ", ".join(run["name"] for run in made["runs"])
  return [
    ("mean of", f"the probabilities of {names}; nothing was trained"),
    ("views", views),
    (
      "networks",
      f"{summary['model']}, {summary['params']:,} parameters, "
      f"{summary['macs'] / 1e6:,.1f} M mult-adds of an image in all views",
    ),
  ]


def unit(run: Run) -> str:
  """Returns what images of the test belong to, such as 'patient'.

  'image' where nothing is known of which belong together; it is what intervals
  resample.
  """
  if run.test.groups is None:
    return "image"
  section = run.config["config"]["data"]
  if section.get("group_pattern"):
    return "group"
  if section.get("group"):
    return columns.unit(section["group"])
  try:
    return registry.get(section["name"]).group or "group"
  except InputError:  # of another version
    return "group"


def is_generated(run: Run) -> bool:
  """Returns whether the images are generated: then metrics mean nothing."""
  try:
    spec = registry.get(run.config["config"]["data"]["name"])
  except InputError:
    return False
  return spec.generate is not None


def images(run: Run) -> str:
  """Returns the data set with the images and groups of each part."""
  split = run.split
  counts = group_counts(split)
  noun = unit(run)
  parts = []
  for part, name in _PARTS.items():
    text = f"{name} {split['images'][part]:,}"
    if counts.get(part) and noun != "image":
      text += f" of {count(counts[part], noun)}"
    parts.append(text)
  return f"{run.config['config']['data']['name']}: {', '.join(parts)}"


def group_counts(split: Mapping[str, Any]) -> dict[str, int]:
  """Returns the number of groups of each part; {} if none are known.

  Args:
    split: content of `split.json`, of a run or as it is kept.
  """
  if "group_counts" in split:
    return dict(split["group_counts"])
  listed = split.get("groups") or {}
  return {part: len({*names} - {""}) for part, names in listed.items()}


def shared_groups(split: Mapping[str, Any]) -> int | None:
  """Returns how many groups of the test are in training or validation too.

  Args:
    split: content of `split.json`.

  Returns:
    None where the groups are not known by name.
  """
  if split["kind"] in ("grouped", "kfold"):
    return 0
  groups = split.get("groups") or {}
  test = {*groups.get("test", ())} - {""}
  if not test:
    return None
  return len(test & ({*groups["train"]} | {*groups["val"]}))


def optimizer(config: Mapping[str, Any]) -> str:
  """Returns the optimizer, its options and the batch size."""
  section = config["optim"]
  names = (*_OF_OPTIMIZER.get(section["name"], ()), *_ALWAYS)
  options = [(name, section[name]) for name in names if name in section]
  options += [x for x in _changed("optim", config) if x[0] in _IF_CHANGED]
  batch = f"batches of {config['train']['batch_size']}"
  return ", ".join(filter(None, (section["name"], _listed(options), batch)))


def learning_rate(config: Mapping[str, Any]) -> str:
  """Returns the peak, the schedule and the warm-up."""
  section = config["optim"]
  text = f"{section['learning_rate']:g}"
  if section.get("lr_scaling", "none") != "none":
    root = " with the square root" if section["lr_scaling"] == "sqrt" else ""
    text += f" for batches of {section['lr_batch_size']}, scaled{root}"
  text += f", {section['schedule']}"
  if section["schedule"] == "step":
    text += (
      f" times {section['decay_factor']:g} at "
      f"{_value(section['decay_at'])} of the run"
    )
  if section["schedule"] == "exponential":
    how = "" if section["decay_staircase"] else ", smoothly"
    text += f" times {section['decay_factor']:g} every "
    text += f"{_span('decay_every', section)}{how}"
  if warmup := _span("warmup", section):
    text += f", after a warm-up of {warmup}"
  return text


def _span(name: str, section: Mapping[str, Any]) -> str:
  """Formats what is set of NAME_steps, NAME_epochs and NAME_examples; or ''."""
  for unit_of_length in ("steps", "epochs", "examples"):
    if length := section.get(f"{name}_{unit_of_length}"):
      noun = unit_of_length.removesuffix("s" if length == 1 else "")
      return f"{length:g} {noun}"
  return ""


def _network(summary: Mapping[str, Any], config: Mapping[str, Any]) -> str:
  section = config["model"]
  size = section["resolution"] or config["data"]["image_size"]
  skipped = ("name", "resolution", "weights", "transfer", "dtype")
  skipped += ("cache_features", "gpu_kernels", "match_statistics")
  changed = [x for x in _changed("model", config) if x[0] not in skipped]
  text = (
    f"{summary['model']} at {size} x {size} pixels, {summary['params']:,} "
    f"parameters, {summary['macs'] / 1e6:,.1f} M mult-adds"
  )
  return ", ".join(filter(None, (text, _listed(changed))))


def _weights(summary: Mapping[str, Any]) -> str:
  source, transfer = summary.get("weights"), summary.get("transfer")
  if not source:
    return "none: randomly initialised"
  if transfer == "frozen":
    return f"{source}; the backbone is fixed, the head is trained"
  return f"{source}; all parameters are trained"


def _split(run: Run) -> str:
  split = run.split
  text = f"{split['kind']}, seed {split['seed']}"
  shared = shared_groups(split)
  if shared and unit(run) != "image":
    noun = unit(run)
    text += f"; {count(shared, noun)} of the test in training or validation too"
  return f"{text} (sha256 {split['sha256'][:12]})"


def _length(summary: Mapping[str, Any], config: Mapping[str, Any]) -> str:
  text = f"{summary['epochs']:.3g} epochs, {summary['steps']:,} updates"
  if patience := config["train"].get("patience"):
    text += f"; ends after {count(patience, 'validation')} without a better one"
  return text


def _checkpoint(summary: Mapping[str, Any]) -> str:
  if summary["chosen_on"] == "test":
    return (
      f"update {summary['best_step']:,}, selected by "
      f"{metric_name(summary['best_metric'])} on the test"
    )
  epoch = summary["best_step"] * summary["epochs"] / summary["steps"]
  return (
    f"update {summary['best_step']:,}, epoch {epoch:.3g}, with the best "
    f"{metric_name(summary['best_metric'])} on validation"
  )


def _changed(section: str, config: Mapping[str, Any]) -> list[tuple[str, Any]]:
  """Returns (field, value) of a section's fields that are not the defaults."""
  defaults = dataclasses.asdict(getattr(Config(), section))
  return [
    (name, value)
    for name, value in config[section].items()
    if name in defaults and _plain(value) != _plain(defaults[name])
  ]


def _plain(value: Any) -> Any:
  return list(value) if isinstance(value, tuple | list) else value


def _listed(options: Iterable[tuple[str, Any]]) -> str:
  """Formats options: 'weight decay 0.01, Nesterov' and such."""
  return ", ".join(
    name.replace("_", " ")
    if value is True
    else f"no {name.replace('_', ' ')}"
    if value is False
    else f"{name.replace('_', ' ')} {_value(value)}"
    for name, value in options
  )


def _value(value: Any) -> str:
  if isinstance(value, tuple | list):
    return " and ".join(map(_value, value))
  return f"{value:g}" if isinstance(value, int | float) else str(value)
