"""The config of a run on a user's own images, named by their path alone.

A new run gets what `recommend` chooses, beside what the user has fixed. One
that is there keeps the config that it has: what would be chosen now may differ,
because weights were downloaded since, or by another version.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from mn_jax.config import Config, changes, checks, overrides, own_data
from mn_jax.observe import escape
from mn_jax.observe.console import Console
from mn_jax.own_images import recommend
from mn_jax.run import open_data, records, split_data, workdir
from mn_jax.weights import locate


@dataclasses.dataclass(frozen=True)
class Recommendation:
  """A new run on a user's images.

  Attributes:
    config: of the run.
    facts: what it was decided by.
    choices: what was decided.
    given: 'section.field' -> value, which the user has fixed.
  """

  config: Config
  facts: recommend.Facts
  choices: tuple[recommend.Choice, ...]
  given: Mapping[str, Any]

  def rows(self) -> list[tuple[str, str]]:
    """Returns the settings and the reason of each decision, for a table."""
    rows = [(_settings(x.fields), x.reason) for x in self.choices]
    if self.given:
      rows.append((_settings(self.given), "as you say"))
    return rows


def config(
  data: str,
  folder: pathlib.Path,
  given: Mapping[str, Any],
  console: Console,
) -> Config:
  """Returns the config of a run, new or continued, and prints how it came.

  Args:
    data: path of a folder, an archive or a table.
    folder: the workdir.
    given: 'section.field' -> value, which the user has fixed.
    console: for people.

  Raises:
    InputError: for data that cannot be used, a field with a wrong value, or a
      run that has ended on other images.
  """
  before = saved(folder, data, given)
  if before is None:
    new = recommended(data, given)
    print_recommendation(console, new)
    return new.config
  console.line(
    f"{folder} has a run already: its settings are used, but for those that "
    "you give."
  )
  check_finished(folder, before, console)
  return before


def recommended(data: str, given: Mapping[str, Any]) -> Recommendation:
  """Decides on the config of a new run; reads a listing and some headers.

  Args:
    data: path of a folder, an archive or a table.
    given: 'section.field' -> value, which the user has fixed.

  Raises:
    InputError: for data that cannot be used, or a field with a wrong value.
  """
  base = own_data.fields(data)
  # What is recommended for these, until it is known: checks need a length.
  length = {} if any(map(given.get, changes.LENGTHS)) else {"train.epochs": 1.0}
  section = _config({**base, "optim.name": "adamw", **length, **given}).data
  with open_data.open_source(section) as source:
    facts = recommend.facts(section, source)
  choices = recommend.choices(facts, given, imagenet=_has_imagenet(given))
  config = _config({**base, **recommend.fields(choices), **given})
  return Recommendation(config, facts, choices, given)


def saved(
  folder: pathlib.Path, data: str, given: Mapping[str, Any]
) -> Config | None:
  """Returns the config of the run that a workdir has, with changed fields.

  Args:
    folder: the workdir.
    data: path of the images now, which are to be the same.
    given: 'section.field' -> value, in place of the run's.

  Returns:
    None if there is no run, or its config cannot be read.

  Raises:
    InputError: for a field with a wrong value.
  """
  run = folder
  if given.get("train.replicas", 1) > 1:
    run = workdir.of_seed(folder, given.get("seed", 0))
  try:
    content = records.read_object(run / "config.json", records.CONFIG)
  except records.DamagedError:
    return None
  known, _ = changes.read(content["config"])
  path = own_data.fields(data)["data.path"]
  return _config({**known, "data.path": path, **given})


def check_finished(
  folder: pathlib.Path, config: Config, console: Console
) -> None:
  """Refuses other images or labels than a finished run was trained on.

  A run that has ended does not read its images again, so that new ones in the
  same folder would be answered with the results of the old ones.

  Args:
    folder: the workdir.
    config: from `saved`.
    console: for people.

  Raises:
    InputError: if there are others, or another split of them.
  """
  run = folder
  if config.train.replicas > 1:
    run = workdir.of_seed(folder, config.seed)
  if not (run / "summary.json").exists():
    return  # a run that continues compares them itself
  with console.counting("decoding", "images") as progress:
    data = split_data.load(config.data, progress)
  workdir.check_data(run, data.digests())


def print_recommendation(console: Console, new: Recommendation) -> None:
  """Prints all decisions with their reasons."""
  console.table(
    f"{new.config.experiment}: what is trained, and why",
    ("setting", "why"),
    new.rows(),
    text_columns=2,
  )


def _has_imagenet(given: Mapping[str, Any]) -> bool:
  """Whether ImageNet weights of the network are on this machine."""
  found = locate.at_hand(
    given.get("model.name", recommend.MODEL),
    width=given.get("model.width", 1.0),
    minimalistic=given.get("model.minimalistic", False),
  )
  return found is not None


def _config(values: Mapping[str, Any]) -> Config:
  """Returns the checked config of fields, the others at their defaults."""
  config = dataclasses.asdict(Config())
  for path, value in values.items():
    overrides.put(config, path, value)
  return checks.from_config_dict(ml_collections.ConfigDict(config))


def _settings(fields: Mapping[str, Any]) -> str:
  """Returns 'section.field=value' of each field on a line of its own."""
  return "\n".join(
    escape.printable(f"{path}={_shown(value)}")
    for path, value in fields.items()
  )


def _shown(value: Any) -> str:
  return f"{value:g}" if isinstance(value, float) else str(value)
