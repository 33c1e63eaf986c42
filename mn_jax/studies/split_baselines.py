"""Baselines of a study, on the split of each of its runs.

Seeds that split the data anew have different tests, some easier than others: a
network is compared with what a model of colour gets on the same test, trained
on the same images. Rows may change the images as well, as a normalisation of
stains does; each has the baselines of its own. The predictions are kept in the
study's folder, so that all comparisons can be made again without the data set.
"""

import functools
import pathlib
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

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
# What a baseline shares with the run that it is compared with.
_OF_RUN = ("split", "split_sha256", "images_sha256")


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


def key(summary: Mapping[str, Any]) -> str:
  """Returns 'SPLIT-IMAGES', the digests of what a run's baselines are of.

  Args:
    summary: of the run.
  """
  digests = (summary["split_sha256"], summary["images_sha256"])
  return "-".join(digest[:16] for digest in digests)


def read(study: pathlib.Path, of: str) -> dict[str, NamedPredictions]:
  """Reads kept baselines; those that cannot be read are left out.

  Args:
    study: the study's folder.
    of: `key` of the runs that they are for.
  """
  found = {}
  for path in sorted((study / _FOLDER / of).glob("*.npz")):
    try:
      found[path.stem.replace("_", " ")] = predictions_lib.read(path)
    except InputError:
      continue
  return found


def measure_missing(
  console: Console, study: pathlib.Path, runs: Sequence[StudyRun]
) -> None:
  """Predicts and keeps the baselines of the runs that have none yet.

  Those of a split and its images are kept together or not at all.

  Args:
    console: for people; it names the runs whose images cannot be opened.
    study: the study's folder.
    runs: of the study; those that are not complete do not count.
  """
  firsts: dict[str, tuple[StudyRun, Mapping[str, Any]]] = {}
  for run in runs:
    summary = None if run.parts else run.summary()  # a mean opens no images
    if summary is not None:
      firsts.setdefault(key(summary), (run, summary))
  for of, (run, summary) in firsts.items():
    if read(study, of):
      continue
    with console.counting("baselines", "images") as progress:
      try:
        found = predict(_open(run, summary, progress))
      except InputError as error:
        console.line(f"No baselines for {run.title()}: {error}")
        continue
    _write(found, study / _FOLDER / of)


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
      kept = reader(key(run.summary))
      for name, (summary, named) in kept.items():
        of_run = {x: run.summary[x] for x in _OF_RUN}
        found[row].setdefault(name, {})[seed] = Result(
          {**summary, **of_run},
          run.images,
          {"test": named}.get,
        )
  return found


def _write(found: Mapping[str, NamedPredictions], folder: pathlib.Path) -> None:
  """Writes baselines into a new folder, whole or not at all."""
  partial = folder.with_name(f".{folder.name}.partial")
  shutil.rmtree(partial, ignore_errors=True)
  partial.mkdir(parents=True)
  for name, named in found.items():
    path = partial / f"{name.replace(' ', '_')}.npz"
    named.write(path, logits=np.float32)
  shutil.rmtree(folder, ignore_errors=True)  # with nothing that can be read
  partial.replace(folder)


def _results(
  study: pathlib.Path, of: str
) -> dict[str, tuple[dict[str, float | str], NamedPredictions]]:
  found = {}
  for name, named in read(study, of).items():
    metrics = classification.summarize(
      named.predictions, positive=named.positive
    )
    summary = {
      f"test/{k}": None if np.isnan(v) else v for k, v in metrics.items()
    }
    found[name] = {**summary, "chosen_on": "val"}, named
  return found


def _open(
  run: StudyRun, summary: Mapping[str, Any], progress: packing.Progress
) -> SplitData:
  """Opens the data of a run.

  Raises:
    InputError: if it is not there any more, of other images or split otherwise.
  """
  config = files.load_config(run.member.config, run.arguments[1:])
  data = split_data.load(config.data, progress)
  digests = {"split": data.split.sha256, "images": data.cache.sha256}
  for what, digest in digests.items():
    before = summary[f"{what}_sha256"]
    if digest != before:
      raise InputError(
        f"data: the sha256 of the {what} is {digest[:12]} now, not "
        f"{before[:12]} as in the run; valid: the same images"
      )
  return data
