"""Folders of runs that nobody trained, with answers that are drawn."""

import dataclasses
import json
import pathlib

import numpy as np

from mn_jax.config import files
from mn_jax.metrics import classification
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.studies import results as study_results
from mn_jax.studies.study import Claim, Member, Study, StudyRun
from tests import toy_summary
from tests.metrics import toy_predictions

CLASSES = ("no", "yes")
STUDY = Study(
  title="A & B: 50 % of <toys>",
  source="nobody, 1999",
  members=(
    Member("a", "idc_v1", published={"val/accuracy": 0.857}, note="x | y_z"),
    Member("b", "idc_v2"),
    Member("never", "idc_v2"),
  ),
  sample={},
  metrics=("accuracy", "auroc"),
  pairs=(("b", "a"), ("b", "never")),
  claims=(
    Claim("b beats a", "b", "a", "test/accuracy"),
    Claim("never beats a", "never", "a", "test/accuracy"),
  ),
)


def predictions(
  count: int, seed: int, classes: tuple[str, ...] = CLASSES
) -> NamedPredictions:
  """Better than chance, in groups of ten."""
  outputs = toy_predictions.random(count, len(classes), seed)
  losses = predictions_lib.losses(outputs.logits, outputs.labels)
  outputs = dataclasses.replace(outputs, losses=losses)
  return NamedPredictions(
    predictions=outputs,
    names=np.array([f"image{i}.png" for i in range(count)]),
    groups=np.array([f"patient{i // 10}" for i in range(count)]),
    classes=classes,
    positive=1 if len(classes) == 2 else None,
  )


def write(
  folder: pathlib.Path,
  seed: int = 0,
  *,
  chosen_on: str = "val",
  classes: tuple[str, ...] = CLASSES,
) -> pathlib.Path:
  """A complete run's folder."""
  (folder / "predictions").mkdir(parents=True)
  results = {}
  for part, count in (("val", 60), ("test", 91)):
    found = predictions(count, 2 * seed + (part == "test"), classes)
    found.write(folder / "predictions" / f"{part}.npz")
    metrics = classification.summarize(
      found.predictions, positive=found.positive
    )
    results |= {f"{part}/{k}": v for k, v in metrics.items()}
    results |= {f"last/{part}/{k}": v for k, v in metrics.items()}
  summary = {
    **toy_summary.FIELDS,
    "seed": seed,
    "chosen_on": chosen_on,
    **results,
    "split_sha256": f"{'5' * 60}{len(classes):04}",
  }
  split = {
    "sha256": summary["split_sha256"],
    "images_sha256": summary["images_sha256"],
    "kind": "grouped",
    "seed": 0,
    "notes": ["two patients are alike"],
    "images": {"train": 300, "val": 60, "test": 91},
  }
  lines = [
    {"step": 5, "train/loss": 0.9, "train/accuracy": 0.5},
    {"step": 10, "val/loss": 0.8, "val/accuracy": 0.6},
    {"step": 20, "val/loss": None, "val/accuracy": 0.7, "note": "x"},
  ]
  (folder / "summary.json").write_text(json.dumps(summary))
  (folder / "split.json").write_text(json.dumps(split))
  config = files.read_config("idc_v1").to_dict()
  config["seed"] = seed
  config["data"] |= {"path": "/secret/place", "split": "random"}
  config["model"]["weights"] = "/secret/place/file.h5"
  (folder / "config.json").write_text(json.dumps({"config": config}))
  text = "".join(json.dumps(line) + "\n" for line in lines)
  (folder / "metrics.jsonl").write_text(text + '{"step": 21, "val/lo')
  return folder


def write_study(
  folder: pathlib.Path, seeds: int = 2, *, sample: bool = False, **options
) -> dict:
  """A study's folder whose third row was never run; its results."""
  runs = [
    StudyRun(member, seed, folder / member.name / f"seed{seed}", ())
    for seed in range(seeds)
    for member in STUDY.members
  ]
  for run in runs:
    if run.member.name != "never":
      place = 10 * (run.member.name == "b") + run.seed
      write(run.workdir, place, **options)
  results = study_results.collect(STUDY, runs, sample=sample)
  (folder / "results.json").write_text(json.dumps(results))
  return results
