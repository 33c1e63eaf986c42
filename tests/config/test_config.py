"""Tests of the configuration's checks."""

import dataclasses
import json
import math
import re
import types

import ml_collections
import pytest

from mn_jax import config as config_lib
from mn_jax.config import changes as changes_lib
from mn_jax.config import checks, experiment
from mn_jax.errors import InputError


def _valid():
  """A config dict that only needs a length of the run, and has one."""
  values = config_lib.default()
  values.train.steps = 10
  return values


def _with(**changes):
  """`_valid` with 'section__field' set, past ConfigDict's own type check."""
  values = _valid().to_dict()
  for path, value in changes.items():
    *sections, field = path.split("__")
    node = values
    for section in sections:
      node = node[section]
    node[field] = value
  return ml_collections.ConfigDict(values)


def _message(**changes) -> str:
  """The error of `_with(**changes)`; empty if it is valid."""
  try:
    checks.from_config_dict(_with(**changes))
  except InputError as error:
    return str(error)
  return ""


def _fields():
  """(section, field) of every field; '' is the top."""
  for field in dataclasses.fields(config_lib.Config):
    if dataclasses.is_dataclass(field.type):
      for inner in dataclasses.fields(field.type):
        yield field.name, inner
    else:
      yield "", field


def _path(section: str, field) -> str:
  return f"{section}__{field.name}" if section else field.name


def test_defaults_are_valid_but_for_the_length_of_the_run():
  expected = config_lib.Config(train=config_lib.TrainConfig(steps=10))
  assert checks.from_config_dict(_valid()) == experiment.resolved(expected)
  with pytest.raises(InputError, match="train: got none; valid: exactly one"):
    checks.from_config_dict(config_lib.default())


def test_every_field_is_documented_and_its_default_is_valid():
  for _, field in _fields():
    doc = field.metadata["doc"]
    assert doc
    assert not doc.endswith(".")
    is_tuple = isinstance(field.type, types.GenericAlias)
    expected = tuple if is_tuple else field.type
    assert type(field.default) is expected
    choices = field.metadata["choices"]
    assert choices is None or field.default in choices


def test_every_field_refuses_another_type():
  for path in (_path(*f) for f in _fields()):
    for wrong in (None, [[1]], {"a": 1}):
      message = _message(**{path: wrong})
      assert path.replace("__", ".") in message
      assert "valid: " in message
      assert "\n" not in message


def test_every_range_includes_its_ends_and_nothing_beyond():
  for section, field in _fields():
    path, kind = _path(section, field), field.type
    for limit, sign in (("low", -1), ("high", 1)):
      bound = field.metadata[limit]
      if bound is None:
        continue
      name = re.escape(path.replace("__", "."))
      refusal = rf"{name}: got \S+; valid: (at least {bound}$|.*\b{bound}\b)"
      assert not re.match(refusal, _message(**{path: kind(bound)}))
      beyond = kind(bound + sign * (1 if kind is int else 1e-7))
      assert re.match(refusal, _message(**{path: beyond}))


# (field, value, what is valid); the error names all three.
_WRONG_VALUES = [
  ("model", 3, "a section"),
  ("optim.learning_rate", "1e-4", "float"),
  ("seed", True, "int"),
  ("seed", 1.0, "int"),
  ("augment.quarter_turns", 1, "bool"),
  ("augment.flip", "vertical", "none, horizontal, both"),
  ("model.width", True, "float"),
  ("optim.name", "Adam", "adam, adamw, lamb, sgd, lars, rmsprop"),
  ("model.width", 5.0, "0.05 to 4"),
  ("train.batch_size", 0, "at least 1"),
  ("seed", -1, "0 to 2147483647"),
  ("optim.learning_rate", math.nan, "a finite number"),
  ("optim.clip_norm", math.inf, "a finite number"),
  ("optim.decay_at", (0.5, "0.7"), "a tuple of numbers"),
  ("optim.decay_at", 0.5, "a tuple of numbers"),
  ("optim.accumulate", 3, "a divisor of train.batch_size, 32"),
  ("train.steps_per_dispatch", 21, "at most observe.log_every_ste"),
  ("data.classes", 1, "0 for all, or 2 or mo"),
  ("data.folds", 1, "0 for one per group, or 2"),
]
_WRONG = [
  (
    {"model__widht": 1.0},
    "model.widht: unknown field (did you mean 'model.width'?)",
  ),
  ({"modle": 1}, "modle: unknown field; valid: experiment, seed, data, mod"),
  (
    {"train__epochs": 2.0},
    "train: got steps=10, epochs=2; valid: exactly one of steps, epochs, "
    "examples above 0, the others 0",
  ),
  (
    {"eval__every_epochs": 0.0},
    "eval: got none; valid: exactly one of every_steps, every_epochs, "
    "every_examples above 0, the others 0",
  ),
  (
    {"checkpoint__every_steps": 3},
    "checkpoint: got every_steps=3, every_epochs=1; valid: exactly one of",
  ),
  (
    {"optim__warmup_steps": 3, "optim__warmup_examples": 9},
    "optim: got warmup_steps=3, warmup_examples=9; valid: at most one of",
  ),
  (
    {"data__val_fraction": 0.5, "data__test_fraction": 0.5},
    "data.val_fraction + data.test_fraction: got 1; valid: at most 0.9",
  ),
  (
    {"optim__weight_decay": 0.1},
    "optim.weight_decay: got 0.1 with optim.name 'adam'; valid: 0, or anoth",
  ),
  (
    {"model__norm_over": "group", "model__norm_group": 5},
    "model.norm_group: got 5 with model.norm_over 'group'; valid: 2 or more, "
    "a divisor of a micro-batch's 32 images",
  ),
  (
    {
      "model__norm_over": "group",
      "model__norm_group": 32,
      "optim__accumulate": 2,
    },
    "model.norm_group: got 32 with model.norm_over 'group'; valid: 2 or mor",
  ),
  (
    {"model__norm_group": 8},
    "model.norm_group: got 8 with model.norm_over 'batch'; valid: 0, or mod",
  ),
  (
    {"train__logit_adjustment": 1.0, "train__class_weights": "balanced"},
    "train.logit_adjustment=1: got it with train.class_weights='balanced', w",
  ),
  (
    {"data__sampling": "balanced", "train__class_weights": "balanced"},
    "train.class_weights='balanced': got it with data.sampling='balanced', w",
  ),
  (
    {"data__sampling": "balanced", "train__logit_adjustment": 0.5},
    "train.logit_adjustment=0.5: got it with data.sampling='balanced', which",
  ),
  (
    {"eval__watch_test": True, "eval__part": "test"},
    "eval.watch_test: got True with eval.part='test', which is evaluated at e",
  ),
  (
    {"eval__watch_test": True, "data__label": ("red", "blue")},
    "eval.watch_test: got True for images with several labels",
  ),
  (
    {"augment__crop_padding": 32, "data__image_size": 32},
    "augment.crop_padding: got 32 pixels with data.image_size 32; valid: les",
  ),
  (
    {"augment__cutmix": 1.0, "train__batch_size": 4, "optim__accumulate": 4},
    "augment.mixup, augment.cutmix: got one above 0 with one image per micro",
  ),
]


def test_error_names_field_received_and_valid():
  rows = [
    ({path.replace(".", "__"): value}, f"{path}: got {value!r}", valid)
    for path, value, valid in _WRONG_VALUES
  ]
  for changes, start, valid in [*rows, *((*row, "") for row in _WRONG)]:
    said = _message(**changes)
    assert said.startswith(start)
    assert f"; valid: {valid}" in said
    assert "\n" not in said


def test_decay_shares_rise_within_the_run():
  wrong = [(0.5, 0.5), (0.7, 0.3), (0.0,), (1.0,), (-0.1, 0.5), (math.nan,)]
  for shares in [*wrong, (0.5, 2)]:
    message = _message(optim__decay_at=shares)
    assert re.match(r"optim.decay_at: got .* rising shares", message)


def test_an_int_is_a_float_and_one_unit_a_duration():
  config = checks.from_config_dict(
    _with(optim__learning_rate=1, optim__decay_at=[0.25], train__steps=5)
  )
  assert config.optim.learning_rate == 1.0
  assert type(config.optim.learning_rate) is float
  assert config.optim.decay_at == (0.25,)
  for unit, amount in (("steps", 3), ("epochs", 3.0), ("examples", 3)):
    values = _with(train__steps=0)
    values.train[unit] = amount
    assert getattr(checks.from_config_dict(values).train, unit) == 3


def test_round_trip_through_a_dict():
  values = _with(
    optim__decay_at=(0.1, 0.2),
    model__width=0.5,
    experiment="a",
    seed=3,
    eval__best_metric="loss",
  )
  config = checks.from_config_dict(values)
  assert dataclasses.asdict(config) == values.to_dict()
  # config.json holds the same, with the tuple as a list.
  again = config_lib.default()
  again.update(json.loads(json.dumps(dataclasses.asdict(config))))
  assert checks.from_config_dict(again) == config


def test_variant_changes_fields_and_the_name():
  variants = {"test": {"model.width": 0.25, "train.steps": 3}}
  config = config_lib.default()
  config.experiment = "idc"
  changed = config_lib.variant(config, "test", variants)
  assert (changed.model.width, changed.train.steps) == (0.25, 3)
  assert changed.experiment == "idc_test"
  for arg in (None, ""):
    whole = config_lib.variant(_valid(), arg, variants)
    assert whole.to_dict() == _valid().to_dict()
  with pytest.raises(
    InputError,
    match="config argument: got 'tset'; valid: sample, test, or none for",
  ):
    config_lib.variant(_valid(), "tset", {"test": {}, "sample": {}})


def test_result_fields_leave_out_what_changes_no_number():
  fields = config_lib.result_fields(checks.from_config_dict(_valid()))
  everything = {_path(*f).replace("__", ".") for f in _fields()}
  assert everything - set(fields) == {
    "experiment",
    "data.path",
    "data.root",
    "data.cache_dir",
    "data.placement",
    "data.prefetch",
    "model.weights",
    "model.cache_features",
    "data.max_unreadable",
    "data.allow_missing",
    "checkpoint.every_steps",
    "checkpoint.every_epochs",
    "checkpoint.every_examples",
    "checkpoint.keep_latest",
    "observe.profile_at_step",
    "observe.profile_steps",
    "train.replicas",
    "train.steps_per_dispatch",
    "train.teacher",
    "train.teacher_unchecked",
  }
  assert set(fields) < everything
  assert fields["train.steps"] == 10
  assert fields["seed"] == 0


def test_the_metric_that_selects_follows_the_labels():
  """A run of an earlier version, which wrote its name, is the same run."""
  config = checks.from_config_dict(_valid())
  assert config.eval.best_metric == "balanced_accuracy"
  written = checks.from_config_dict(
    _with(eval__best_metric="balanced_accuracy")
  )
  assert changes_lib.sha256(config) == changes_lib.sha256(written)
  saved = dataclasses.asdict(config)
  for known in (saved, {k: v for k, v in saved.items() if k != "eval"}):
    assert changes_lib.compare(known, config) == {}
  for several in ({"data__label": ("a", "b")}, {"data__label_separator": "|"}):
    config = checks.from_config_dict(_with(**several))
    assert config.data.multi_label
    assert config.eval.best_metric == "macro_auroc"
    message = _message(**several, data__sampling="balanced")
    assert message.startswith("data.sampling: got 'balanced' for images with")
