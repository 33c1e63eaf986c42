"""Baselines of a study, on the split of each of its runs.

Seeds that split the data anew have different tests, some easier than others: a
network is compared with what a model of colour gets on the same test, trained
on the same images. The predictions are kept in the study's folder, so that all
comparisons can be made again without the data set.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from mn_jax.config import files
from mn_jax.data import packing
from mn_jax.errors import InputError
from mn_jax.metrics import baselines, classification
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe.console import Console
from mn_jax.run import split_data
from mn_jax.run.split_data import SplitData
from mn_jax.studies.resampling import Result
from mn_jax.studies.study import StudyRun

# A linear model of a few numbers learns no more from more images.
_MOST_IMAGES = 20_000
_FOLDER = "baselines"


def predict(data: SplitData) -> dict[str, NamedPredictions]:
  """Predicts the test part by every baseline.

  Args:
    data: packed and split. Of a training part of more than 20,000 images, a
      random choice of so many is used, the same one in every call.
  """
  order = np.random.default_rng(0).permutation(data.part("train"))
  found = baselines.predict(
    data.cache.images,
    data.cache.labels,
    train=np.sort(order[:_MOST_IMAGES]),
    rows=data.part("test"),
    classes=len(data.classes),
  )
  return {name: data.named_predictions(x) for name, x in found.items()}


def folder_of(study: pathlib.Path, split_sha256: str) -> pathlib.Path:
  """Returns the folder of the baselines of a split.

  Args:
    study: the study's folder.
    split_sha256: of the split.
  """
  return study / _FOLDER / split_sha256[:16]


def read(study: pathlib.Path, split_sha256: str) -> dict[str, NamedPredictions]:
  """Reads the baselines of a split; those that cannot be read are left out."""
  found = {}
  for path in sorted(folder_of(study, split_sha256).glob("*.npz")):
    try:
      found[path.stem.replace("_", " ")] = predictions_lib.read(path)
    except InputError:
      continue
  return found


def measure_missing(
  console: Console, study: pathlib.Path, runs: Sequence[StudyRun]
) -> None:
  """Predicts and keeps the baselines of every split that has none yet.

  Args:
    console: for people; it names the runs whose images cannot be opened.
    study: the study's folder.
    runs: of the study; those that are not complete do not count.
  """
  of_split = {}
  for run in runs:
    summary = None if run.parts else run.summary()  # a mean opens no images
    if summary is not None:
      of_split.setdefault(summary["split_sha256"], run)
  missing = {
    sha256: run for sha256, run in of_split.items() if not read(study, sha256)
  }
  for sha256, run in missing.items():
    with console.counting("baselines", "images") as progress:
      try:
        found = predict(_open(run, sha256, progress))
      except InputError as error:
        console.line(f"No baselines for {run.title()}: {error}")
        continue
    folder = folder_of(study, sha256)
    folder.mkdir(parents=True, exist_ok=True)
    for name, named in found.items():
      path = folder / f"{name.replace(' ', '_')}.npz"
      named.write(path, logits=np.float32)


def rows(
  study: pathlib.Path, results: Mapping[str, Mapping[int, Result]]
) -> dict[str, dict[str, dict[int, Result]]]:
  """Returns row -> baseline -> seed -> result on the split of that run.

  Args:
    study: the study's folder.
    results: of its rows, by seed.
  """
  reader = functools.cache(functools.partial(_results, study))
  found: dict[str, dict[str, dict[int, Result]]] = {}
  for row, of_seed in results.items():
    found[row] = {}
    for seed, run in of_seed.items():
      of_split = reader(run.summary["split_sha256"])
      for name, (summary, named) in of_split.items():
        of_run = {x: run.summary[x] for x in ("split", "split_sha256")}
        found[row].setdefault(name, {})[seed] = Result(
          {**summary, **of_run},
          run.images,
          {"test": named}.get,
        )
  return found


def _results(
  study: pathlib.Path, split_sha256: str
) -> dict[str, tuple[dict[str, float | str], NamedPredictions]]:
  found = {}
  for name, named in read(study, split_sha256).items():
    metrics = classification.summarize(
      named.predictions, positive=named.positive
    )
    summary = {
      f"test/{k}": None if np.isnan(v) else v for k, v in metrics.items()
    }
    found[name] = {**summary, "chosen_on": "val"}, named
  return found


def _open(
  run: StudyRun, split_sha256: str, progress: packing.Progress
) -> SplitData:
  """Opens the data of a run.

  Raises:
    InputError: if it is not there any more, or is split otherwise.
  """
  config = files.load_config(run.member.config, run.arguments[1:])
  data = split_data.load(config.data, progress)
  if data.split.sha256 != split_sha256:
    raise InputError(
      f"data: the split is {data.split.sha256[:12]} now, not "
      f"{split_sha256[:12]} as in the run; valid: the same images"
    )
  return data
