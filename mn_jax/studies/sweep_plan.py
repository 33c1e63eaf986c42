"""The plan of a sweep: its runs, every config checked before the first run.

Every point is a config with some fields changed, and is run with several seeds
like a member of a study. Points that could not run, or whose metrics could not
be compared, are refused.
"""

import copy
import dataclasses
import operator
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import ml_collections

from mn_jax.config import Config, checks, files
from mn_jax.config import overrides as overrides_lib
from mn_jax.data import checksums
from mn_jax.errors import InputError
from mn_jax.metrics import selection
from mn_jax.run import network, open_data, records
from mn_jax.studies import expansion, study
from mn_jax.studies.sweep import Sweep

# Fields that decide which images are validated, and by which metric: points
# that differ in one of them cannot be compared.
_FIXED_FIELDS = (
  "experiment",
  "seed",
  "data.name",
  "data.path",
  "data.root",
  "data.file",
  "data.label",
  "data.label_separator",
  "data.group",
  "data.group_pattern",
  "data.part",
  "data.positive",
  "data.classes",
  "data.split",
  "data.split_seed",
  "data.val_fraction",
  "data.test_fraction",
  "data.folds",
  "data.fold",
  "eval.part",
  "eval.best_metric",
)
_LONGEST_NAME = 60


@dataclasses.dataclass(frozen=True)
class SweepPoint:
  """A point of a sweep, checked.

  Attributes:
    name: of its folder, a function of the fields alone, so that a point keeps
      its runs when points are added before or after it.
    fields: 'section.field' -> value, typed as in the config.
    config: the whole config, with seed 0.
  """

  name: str
  fields: Mapping[str, Any]
  config: Config


@dataclasses.dataclass(frozen=True)
class SweepPlan:
  """The runs of a sweep.

  Attributes:
    title: of the sweep.
    config: NAME[:ARG] or FILE.py[:ARG], as for `mn_jax.main`.
    metric: validation metric by which points are ranked.
    folder: of all runs.
    points: in the order of the sweep.
    runs: of all points, seed by seed; a run's member has the point's name.
  """

  title: str
  config: str
  metric: str
  folder: pathlib.Path
  points: tuple[SweepPoint, ...]
  runs: tuple[study.StudyRun, ...]

  def fields(self) -> tuple[str, ...]:
    """Returns the names of the fields in which points differ."""
    return tuple(
      dict.fromkeys(f for point in self.points for f in point.fields)
    )


def plan(
  sweep: Sweep,
  *,
  folder: pathlib.Path,
  seeds: int,
  sample: bool = False,
  overrides: Sequence[str] = (),
) -> SweepPlan:
  """Plans the runs of a sweep, and checks every config.

  Args:
    sweep: the sweep.
    folder: of all its runs.
    seeds: number of seeds of every point, from 0 on.
    sample: whether to run on generated images, in seconds.
    overrides: `section.field=value` over all other fields.

  Raises:
    InputError: for a point that cannot be run, two that are the same, or
      fields that would make points incomparable; or for a folder that has
      runs of another config.
  """
  values = files.read_config(sweep.config).to_dict()
  swept = {name for point in sweep.points for name in point}
  for name in swept.intersection(_FIXED_FIELDS):
    raise InputError(
      f"sweep: points have {name}, and can only be compared on the same "
      "images by the same metric; valid: other fields"
    )
  if sample and not sweep.sample:
    raise InputError("--sample: the sweep names no fields for it; valid: none")
  for name, value in (sweep.sample if sample else {}).items():
    _refuse_swept("sample", name, swept)
    overrides_lib.put(values, name, value)
  for override in overrides:
    name, value = overrides_lib.parse(override)
    _refuse_swept("override", name, swept | {"seed"})
    overrides_lib.put(values, name, value)
  points = tuple(
    _point(number, values, fields) for number, fields in enumerate(sweep.points)
  )
  _check_different(points)
  members = [study.Member(x.name, sweep.config, x.fields) for x in points]
  runs = expansion.expand(
    study.Study(sweep.title, sweep.config, tuple(members), sweep.sample),
    folder=folder,
    seeds=seeds,
    sample=sample,
    weights=None,
    only=[point.name for point in points],
    overrides=overrides,
  )
  for run in runs:
    if run.is_complete():  # and nothing else tells of which config
      records.read_object(run.workdir / "config.json", records.CONFIG)
  expansion.check_folders(runs)
  metric = points[0].config.eval.best_metric
  return SweepPlan(
    sweep.title, sweep.config, metric, folder, points, tuple(runs)
  )


def _refuse_swept(what: str, name: str, swept: set[str]) -> None:
  if name in swept:
    raise InputError(
      f"{what}: got {name}, which differs from run to run; valid: other fields"
    )


def _point(
  number: int, values: dict[str, Any], fields: Mapping[str, Any]
) -> SweepPoint:
  """Checks a point as far as possible without data and devices."""
  values = copy.deepcopy(values)
  try:
    for name, value in fields.items():
      overrides_lib.put(values, name, value)
    config = checks.from_config_dict(ml_collections.ConfigDict(values))
    selection.check_metric(
      config.eval.best_metric,
      positive=open_data.has_positive(config.data),
      multi_label=config.data.multi_label,
    )
    if config.eval.part != "val":
      raise InputError(
        f"eval.part: got {config.eval.part!r}, while validation is to choose; "
        "valid: 'val'"
      )
    network.check(config)
  except InputError as error:
    raise InputError(f"point {number}: {error}") from None
  # As the config has them: 1 and 1.0 are one value of a field.
  typed = {name: operator.attrgetter(name)(config) for name in fields}
  config = dataclasses.replace(config, seed=0)
  return SweepPoint(_name(typed), typed, config)


def _name(fields: Mapping[str, Any]) -> str:
  """The name of a point's folder: readable fields, and a unique digest."""
  readable = ""
  for name, value in sorted(fields.items()):
    longer = f"{readable}{name.rpartition('.')[2]}_{value}-"
    if len(longer) > _LONGEST_NAME:
      break
    readable = longer
  readable = re.sub(r"[^a-z0-9_.-]+", "_", (readable or "config-").lower())
  return f"{readable}{checksums.of_json(fields)[:8]}"


def _check_different(points: Sequence[SweepPoint]) -> None:
  """Refuses points that would run the same config twice."""
  known: dict[Any, int] = {}
  for number, point in enumerate(points):
    for key in (point.config, point.name):
      if key in known:
        raise InputError(
          f"points {known[key]} and {number} are the same, {point.name}; "
          "valid: each once"
        )
      known[key] = number
