"""The mean of several runs, or of views, as a folder that reads like a run's.

Nothing is trained: the folder has predictions of the validation and test part,
their metrics, the split and the config of the first run, and no checkpoints. So
whatever reads finished runs compares ensembles with their members, image by
image. The runs share a split, or some would have been trained on images that
others are tested on.
"""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.augment import views as views_lib
from mn_jax.data import atomic, packing
from mn_jax.errors import InputError
from mn_jax.metrics import classification, ensemble
from mn_jax.metrics import predictions as predictions_lib
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.observe import formatting
from mn_jax.observe.clock import Clock
from mn_jax.run import ensemble_record, records, reopen
from mn_jax.run.workdir import Workdir

_PARTS = ("val", "test")
# Of the first summary what holds for the mean of several too.
_COMMON = ("experiment", "seed", "best_metric", "split", "split_sha256")
_SHARED = (*_COMMON, "images_sha256", "device", "versions")


def write(
  folder: pathlib.Path,
  paths: Sequence[pathlib.Path],
  *,
  views: str,
  progress: packing.Progress,
) -> dict[str, Any]:
  """Averages probabilities of runs and views, and writes the folder.

  Args:
    folder: that of the ensemble; what it had is replaced.
    paths: folders of finished runs, at least one. Without views their
      predictions are read, and ensembles may be among them; else their best
      checkpoints and their images are needed.
    views: symmetries by which each run sees an image, a name in
      `augment.views.KINDS`, or '' for the plain image.
    progress: called while images are decoded.

  Returns:
    The content of `summary.json`.

  Raises:
    InputError: if a run is not finished, was selected on its test, or has
      another split or other classes than the first; for unknown views.
  """
  if views and views not in views_lib.KINDS:
    raise InputError(
      f"--tta: got {views!r}; valid: {', '.join(views_lib.KINDS)}"
    )
  clock = Clock()
  summaries = [records.read_summary(path) for path in paths]
  _check(paths, summaries)
  with clock.section("evaluate"):
    outputs = [_predict(path, views, progress) for path in paths]
  results: dict[str, float] = {}
  opened = Workdir(folder, first_process=True)
  try:
    (folder / "summary.json").unlink(missing_ok=True)
    for part in _PARTS:
      named = _mean([output[part] for output in outputs])
      opened.write_predictions(part, named)
      metrics = classification.summarize(
        named.predictions, positive=named.positive
      )
      results |= {f"{part}/{name}": value for name, value in metrics.items()}
    for name, fields in (
      ("config.json", records.CONFIG),
      ("split.json", records.SPLIT),
    ):
      opened.write_json(name, records.read_object(paths[0] / name, fields))
    atomic.write_text(folder / "metrics.jsonl", "")
    summary = _summarize(summaries, results, views=views, clock=clock)
    summary["ensemble"] = ensemble_record.members(paths, views)
    opened.write_json("summary.json", summary)
  finally:
    opened.close()
  return summary


def _check(
  paths: Sequence[pathlib.Path], summaries: Sequence[Mapping[str, Any]]
) -> None:
  """Refuses runs whose mean would be no test.

  Raises:
    InputError: with the first of them.
  """
  places = [path.resolve() for path in paths]
  for i, (path, summary) in enumerate(zip(paths, summaries, strict=True)):
    if places[i] in places[:i]:
      raise InputError(
        f"--workdir: got {str(path)!r} twice; valid: each run once"
      )
    if summary["chosen_on"] == "test":
      raise InputError(
        f"--workdir: got {str(path)!r}, whose checkpoint was selected on the "
        "test; valid: runs that validation selected"
      )
    # They may see the images in other sizes or colours.
    split, first = summary["split_sha256"], summaries[0]["split_sha256"]
    if split != first:
      raise InputError(
        f"--workdir: got {str(path)!r}, whose split_sha256 is {split[:16]}, "
        f"and {str(paths[0])!r} with {first[:16]}; valid: runs on one split"
      )


def _predict(
  path: pathlib.Path, views: str, progress: packing.Progress
) -> dict[str, NamedPredictions]:
  """Returns a run's predictions by part, the mean of the views."""
  if not views:
    return {
      part: predictions_lib.read(path / "predictions" / f"{part}.npz")
      for part in _PARTS
    }
  run = reopen.open_run(path)
  data = run.data(progress)
  return {
    part: data.named_predictions(
      ensemble.mean(
        [
          run.predict(data, data.part(part), view)
          for view in views_lib.KINDS[views]
        ]
      )
    )
    for part in _PARTS
  }


def _mean(outputs: Sequence[NamedPredictions]) -> NamedPredictions:
  """Returns the mean prediction of one part.

  Raises:
    InputError: if classes, images or their order differ.
  """
  first = outputs[0]
  for output in outputs[1:]:
    if output.classes != first.classes:
      raise InputError(
        f"--workdir: got runs of the classes {', '.join(first.classes)} and "
        f"{', '.join(output.classes)}; valid: of the same in the same order"
      )
  mean = ensemble.mean([output.predictions for output in outputs])
  return dataclasses.replace(first, predictions=mean)


def _summarize(
  summaries: Sequence[Mapping[str, Any]],
  results: Mapping[str, float],
  *,
  views: str,
  clock: Clock,
) -> dict[str, Any]:
  """Returns the content of `summary.json`, but for what it is made of.

  Parameters, mult-adds of an image and steps are those of all members; the time
  is its own.
  """
  seen = len(views_lib.KINDS[views]) if views else 1
  names = [summary["model"] for summary in summaries]
  totals = {
    name: sum(summary[name] for summary in summaries)
    for name in ("steps", "epochs", "params")
  }
  return formatting.jsonable(
    {
      **{name: summaries[0][name] for name in _SHARED},
      **totals,
      "model": "+".join(dict.fromkeys(names)),
      "macs": seen * sum(summary["macs"] for summary in summaries),
      "best_step": 0,  # of no checkpoint of its own
      "chosen_on": "val",
      **results,
      "images_per_sec": None,
      "data_wait_share": None,
      "wall_seconds": clock.wall(),
    }
  )
