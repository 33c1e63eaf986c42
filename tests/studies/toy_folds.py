"""Folds of a cross-validation that nobody trained."""

import dataclasses
import json
import pathlib

import numpy as np

from mn_jax.config import files
from mn_jax.metrics import classification
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.run import records
from mn_jax.studies import cross_validation
from mn_jax.studies.study import Study, StudyRun
from tests import toy_summary
from tests.metrics import toy_predictions

IMAGES, PER_GROUP, CLASSES = 240, 8, ("no", "yes")


def plan(count: int = 3) -> Study:
  return cross_validation.plan(
    "idc_v1", "toy", {}, folds=count, count=count, positive=True
  )


def runs_of(
  folder: pathlib.Path, study: Study, seeds: int = 1
) -> list[StudyRun]:
  return [
    StudyRun(member, seed, folder / member.name / f"seed{seed}", ())
    for seed in range(seeds)
    for member in study.members
  ]


def take(named: NamedPredictions, rows: np.ndarray) -> NamedPredictions:
  return dataclasses.replace(
    named,
    predictions=toy_predictions.take(named.predictions, rows),
    names=named.names[rows],
    groups=None if named.groups is None else named.groups[rows],
    attributes={k: x[rows] for k, x in named.attributes.items()},
  )


def everything(
  seed: int = 0, *, grouped: bool = True, classes: tuple[str, ...] = CLASSES
) -> NamedPredictions:
  """Predictions for all images."""
  rows = np.arange(IMAGES)
  groups = np.array([f"patient{i // PER_GROUP:02}" for i in rows])
  return NamedPredictions(
    predictions=toy_predictions.random(IMAGES, len(classes), seed),
    names=np.array([f"image{i}.png" for i in rows]),
    groups=groups if grouped else None,
    classes=classes,
    positive=1 if len(classes) == 2 else None,
    attributes={"site": np.where(rows // PER_GROUP % 2, "north", "south")},
  )


def write(
  folder: pathlib.Path,
  count: int = 3,
  *,
  seeds: int = 1,
  named: NamedPredictions | None = None,
  scales: tuple[float, ...] = (1.0, 4.0, 0.25),
  chosen_on: str = "val",
) -> tuple[Study, list[StudyRun]]:
  """Complete runs of all folds; the scores of each have a scale of its own."""
  study = plan(count)
  runs = runs_of(folder, study, seeds)
  fold_of = np.arange(IMAGES) // PER_GROUP % count
  for run in runs:
    fold = int(run.member.name.removeprefix("fold"))
    answers = named or everything(run.seed)
    outputs = answers.predictions
    logits = outputs.logits * np.float32(scales[fold % len(scales)])
    answers = dataclasses.replace(
      answers, predictions=dataclasses.replace(outputs, logits=logits)
    )
    parts = {
      "test": np.flatnonzero(fold_of == fold),
      "val": np.flatnonzero(fold_of == (fold + 1) % count),
      "train": np.flatnonzero(~np.isin(fold_of, (fold, (fold + 1) % count))),
    }
    _write_run(run, answers, parts, chosen_on)
  return study, runs


def _write_run(run, answers, parts, chosen_on) -> None:
  (run.workdir / "predictions").mkdir(parents=True)
  results = {}
  for part in ("val", "test"):
    of_part = take(answers, parts[part])
    of_part.write(run.workdir / "predictions" / f"{part}.npz")
    metrics = classification.summarize(
      of_part.predictions, positive=answers.positive
    )
    results |= {f"{part}/{k}": v for k, v in metrics.items()}
  groups = answers.names if answers.groups is None else answers.groups
  summary = {
    **toy_summary.FIELDS,
    "seed": run.seed,
    "chosen_on": chosen_on,
    **results,
  }
  split = {
    "sha256": run.member.name,
    "images_sha256": summary["images_sha256"],
    "kind": "kfold",
    "seed": 0,
    "notes": ["all alike", f"only {run.member.name}"],
    "images": {k: len(v) for k, v in parts.items()},
    "groups": {k: sorted(set(groups[v].tolist())) for k, v in parts.items()},
  }
  config = files.read_config("idc_v1").to_dict()
  for name, content in (
    ("summary", summary),
    ("split", split),
    ("config", {"config": config}),
  ):
    records.write_object(run.workdir / f"{name}.json", content)
  lines = [{"step": 5, "train/loss": 0.9}, {"step": 10, "val/loss": 0.8}]
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (run.workdir / "metrics.jsonl").write_text(text)
