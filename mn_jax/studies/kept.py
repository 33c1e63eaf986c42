"""Kept runs: what stays of a study's runs without their workdirs.

A kept run is a small folder of the same files as a workdir: the summary, config
and split, the points of the learning curves, and the predictions for validation
and test, from which every metric can be computed again. There are no weights
and no paths of the machine. Reports and tables read it like a workdir, and a
study counts its run as complete.
"""

import dataclasses
import hashlib
import json
import math
import pathlib
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mn_jax.config import Config, changes, experiment, files
from mn_jax.data import atomic
from mn_jax.errors import InputError, RunError
from mn_jax.metrics import classification, predictions
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import writers
from mn_jax.observe.formatting import jsonable
from mn_jax.run import records
from mn_jax.studies import portable
from mn_jax.studies.study import Study, StudyRun

# Type of the logits -> how far a metric of the predictions may be from that of
# the summary, relative to it if it is above 1.
TOLERANCES = {np.float16: 5e-4, np.float32: 1e-5}
# As many logits of a part are kept as they are, in float32. Of more, float16
# serves if no prediction changes.
EXACT = 8_000
PARTS = ("val", "test")
# Digits of the points of curves, and what these do without.
_DIGITS = 5
_LEFT_OUT = ("speed/", "train/epoch", "train/grad_norm")
# What decides the images of the packed cache, of a config's section `data`.
_IMAGES = (
  *("name", "classes", "image_size", "other_sizes", "bits"),
  *("crop_share", "short_side", "stain_normalisation", "context"),
)
_FIELDS = {
  path: field.metadata for path, field, _ in experiment.items(Config())
}
# Fields of the section `data` that neither choose nor split images.
_FREE = [
  path.removeprefix("data.")
  for path, metadata in _FIELDS.items()
  if path.startswith("data.") and not metadata["result"]
]


def keep(run: StudyRun, *, siblings: Iterable[StudyRun]) -> None:
  """Keeps a complete run in `run.kept`, at once or not at all.

  A run without a workdir is left as it is, and so is one of no such folder.

  Args:
    run: complete.
    siblings: runs of the study, whose kept ones must be of the same images,
      splits and weights.

  Raises:
    InputError: if they are not, a file of the run is damaged, or another run is
      kept there.
    RunError: if its predictions do not have the metrics of its summary.
  """
  is_here = (run.workdir / "summary.json").exists()  # or kept elsewhere
  if run.kept is None or not is_here:
    return
  config = records.read_object(run.workdir / "config.json", records.CONFIG)
  summary = records.read_summary(run.workdir)
  if run.is_kept():
    _check_same(run, summary)
    return
  if run.kept.exists():
    raise InputError(
      f"--keep: got {str(run.kept)!r}, which has no summary.json; valid: "
      "without that folder"
    )
  split = records.read_object(run.workdir / "split.json", records.SPLIT)
  partial = run.kept.with_name(f".{run.kept.name}.partial")
  shutil.rmtree(partial, ignore_errors=True)
  facts = {
    part: _keep_predictions(run, part, summary, partial) for part in PARTS
  }
  text = _curves(run, summary)
  atomic.write_text(partial / "metrics.jsonl", text)
  if summary.get("teacher"):
    name = portable.path_of(changes.TEACHER, summary["teacher"]["name"])
    summary["teacher"] = {**summary["teacher"], "name": name}
  summary |= {
    "metrics_sha256": hashlib.sha256(text.encode()).hexdigest(),
    "kept": {
      "command": portable.command_of(run, config),
      "weights": portable.weights_name(run, config["config"]),
      "predictions": facts,
    },
  }
  for name in ("left_out", "quarantine", "dropped"):
    split.pop(name, None)
  _count_images(split)
  config |= {
    "config": portable.config_of(config["config"]),
    "history": [portable.change_of(x) for x in config.get("history", ())],
  }
  check_together(siblings, [(run, summary, config["config"])])
  records.write_object(partial / "config.json", config)
  records.write_object(partial / "split.json", split)
  records.write_object(partial / "summary.json", summary)
  partial.replace(run.kept)


def _count_images(split: dict[str, Any]) -> None:
  """Lists no groups of one image each: these are the names of all images."""
  groups = split.get("groups", {})
  counts = {part: len({*names}) for part, names in groups.items()}
  if counts == split["images"]:
    del split["groups"]
    split["group_counts"] = counts


def check(run: StudyRun) -> None:
  """Refuses a kept run of another config or other weights than the study's.

  Where files are does not count, nor what cannot change results.

  Raises:
    InputError: with what differs, or if a kept file is damaged.
  """
  if not run.is_kept():
    return
  summary = records.read_summary(run.kept)
  if why := run.staleness(summary):
    raise InputError(
      f"--keep: got {str(run.kept)!r}, which {why}; valid: without that folder"
    )
  if run.parts:
    return
  saved = records.read_object(run.kept / "config.json", records.CONFIG)
  config = files.load_config(run.member.config, run.arguments[1:])
  found = changes.compare(saved["config"], config)
  reasons = changes.refused(
    found, config, saved.get("result_fields", found), same=True
  )
  before = summary["kept"]["weights"]
  now = portable.weights_name(run, dataclasses.asdict(config))
  if before != now:
    reasons.append(f"model.weights: {before!r} there, {now!r} now")
  if reasons:
    raise InputError(
      f"--keep: got {str(run.kept)!r}, which is of another config "
      f"({'; '.join(reasons)}); valid: the same values, or without that folder"
    )


def count_seeds(folder: pathlib.Path) -> int:
  """Returns the number of seeds, from 0 on, of which any row is kept."""
  seeds = [
    int(path.name.removeprefix("seed")) for path in folder.glob("*/seed*[0-9]")
  ]
  return max(seeds, default=-1) + 1


def digests(folder: pathlib.Path) -> dict[str, str]:
  """Returns 'ROW/seedK' -> sha256 of the summary of every kept run.

  Args:
    folder: of the study's kept runs, which need not exist.
  """
  return {
    "/".join(path.parent.parts[-2:]): hashlib.sha256(
      path.read_bytes()
    ).hexdigest()
    for path in sorted(folder.glob("*/seed*[0-9]/summary.json"))
  }


def check_all(study: Study, runs: Sequence[StudyRun]) -> None:
  """Refuses kept runs that are not of a study, or not of one data set.

  Args:
    study: the study.
    runs: of the study; nothing is checked if they are not to be kept.

  Raises:
    InputError: as `check_rows`, `check` and `check_together`.
  """
  if not runs or runs[0].kept is None:
    return
  check_rows(runs[0].kept.parents[1], [row.name for row in study.members])
  for run in runs:
    check(run)
  check_together(runs)


def check_rows(folder: pathlib.Path, names: Sequence[str]) -> None:
  """Refuses kept runs of rows that a study does not have.

  Args:
    folder: of the study's kept runs, which need not exist.
    names: of the study's rows.

  Raises:
    InputError: with the first of such rows.
  """
  for path in sorted(folder.glob("*/")):
    if path.name not in names:
      raise InputError(
        f"--keep: got {str(path)!r}, which is of no row of the study; valid: "
        f"one of {', '.join(names)}, or without that folder"
      )


def check_together(
  runs: Iterable[StudyRun],
  more: Sequence[tuple[StudyRun, Mapping[str, Any], Mapping[str, Any]]] = (),
) -> None:
  """Refuses runs with the same settings of other images, splits or weights.

  Args:
    runs: of a study, of which those that are kept are compared.
    more: (run, summary, config) of those that are to be kept.

  Raises:
    InputError: with two runs and their digests.
  """
  compared = [
    (run, records.read_summary(run.kept), saved["config"])
    for run in runs
    if run.is_kept()
    for saved in [records.read_object(run.kept / "config.json", records.CONFIG)]
  ]
  first: dict[tuple[str, str], tuple[StudyRun, str | None]] = {}
  for run, summary, config in (*compared, *more):
    data = {k: v for k, v in config["data"].items() if k not in _FREE}
    images = {name: data.get(name) for name in _IMAGES}
    settings = {
      "split": json.dumps(data, sort_keys=True),
      "images": json.dumps(images, sort_keys=True),
      "weights": summary["kept"]["weights"],
    }
    for what, setting in settings.items():
      digest = summary.get(f"{what}_sha256")
      other, expected = first.setdefault((what, setting), (run, digest))
      if digest != expected:
        raise InputError(
          f"--keep: the sha256 of the {what} of {run.title()} is "
          f"{str(digest)[:16]}, but {str(expected)[:16]} of {other.title()}; "
          f"valid: the same {what}, or another --keep"
        )


def _keep_predictions(
  run: StudyRun, part: str, summary: Mapping[str, Any], folder: pathlib.Path
) -> dict[str, Any]:
  """Writes the predictions for a part into a folder; returns what they lack."""
  name = f"predictions/{part}.npz"
  named = predictions.read(run.workdir / name)
  kind, difference = _precision(run, part, named, summary)
  named.write(folder / name, logits=kind)
  names = "\n".join(named.names.tolist())
  return {
    "logits": np.dtype(kind).name,
    "largest_difference": difference,
    "names_sha256": hashlib.sha256(names.encode()).hexdigest(),
  }


def _curves(run: StudyRun, summary: Mapping[str, Any]) -> str:
  """The points of the learning curves, as lines of `metrics.jsonl`."""
  path = run.workdir / "metrics.jsonl"
  sha256 = summary.get("metrics_sha256")  # an earlier version has none
  if sha256 and (damage := writers.damage(path, sha256)):
    raise InputError(f"{run.title()} is not kept: {damage}")
  lines = [_point(line) for line in writers.read_lines(path)]
  return "".join(f"{json.dumps(line)}\n" for line in lines if len(line) > 1)


def _check_same(run: StudyRun, summary: Mapping[str, Any]) -> None:
  """Refuses a workdir with other results than those that are kept."""
  kept = records.read_summary(run.kept)
  for name, value in kept.items():
    if ("/" in name or name == "state_sha256") and summary.get(name) != value:
      raise InputError(
        f"--keep: got {str(run.kept)!r}, whose {name} is {value}, and "
        f"{summary.get(name)} in {str(run.workdir)!r}; valid: without one of "
        "these folders"
      )


def _precision(
  run: StudyRun,
  part: str,
  named: NamedPredictions,
  summary: Mapping[str, Any],
) -> tuple[type, float]:
  """Returns the smallest type that logits may have, and what it changes.

  Raises:
    RunError: if not even float32 gives the summary's metrics.
  """
  expected = {
    name.removeprefix(f"{part}/"): value
    for name, value in summary.items()
    if name.startswith(f"{part}/")
  }
  problem = ""
  few = named.predictions.logits.size <= EXACT
  for kind, tolerance in TOLERANCES.items():
    if few and kind is np.float16:
      continue
    with np.errstate(over="ignore"):  # is not finite then, and refused
      logits = named.predictions.logits.astype(kind).astype(np.float32)
    rounded = dataclasses.replace(
      named.predictions,
      logits=logits,
      losses=predictions.losses(logits, named.predictions.labels),
    )
    metrics = jsonable(
      classification.summarize(rounded, positive=named.positive)
    )
    largest, name = max(
      (_difference(metrics.get(name), value), name)
      for name, value in expected.items()
    )
    same = np.array_equal(rounded.predicted(), named.predictions.predicted())
    if largest <= tolerance and same:
      return kind, largest
    problem = f"{part}/{name} is {metrics.get(name)}, not {expected[name]}"
  raise RunError(
    f"{run.title()} is not kept: by its predictions {problem}; "
    f"{run.workdir} was changed, or its summary is of other predictions"
  )


def _difference(one: float | None, other: float | None) -> float:
  """How far a metric is from another, relative to it if it is above 1."""
  if one is None or other is None:
    return 0.0 if one is other else math.inf
  return abs(one - other) / max(1.0, abs(other))


def _point(line: Mapping[str, Any]) -> dict[str, Any]:
  """A line of `metrics.jsonl`, with fewer metrics and digits."""
  return {writers.STEP: line[writers.STEP]} | {
    name: float(f"{value:.{_DIGITS}g}")
    for name, value in writers.metrics(line).items()
    if name not in _LEFT_OUT and not name.startswith(_LEFT_OUT[0])
  }
