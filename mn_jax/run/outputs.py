"""What a run prints and writes before its first step and after its last."""

import dataclasses
import importlib.metadata
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import clu.parameter_overview
import numpy as np
from PIL import Image

from mn_jax.config import changes
from mn_jax.data import atomic
from mn_jax.metrics import classification
from mn_jax.metrics.predictions import Predictions
from mn_jax.observe import figures, formatting, writers
from mn_jax.observe.clock import Clock
from mn_jax.observe.console import Console
from mn_jax.parallel import mesh
from mn_jax.run.setup import Setup
from mn_jax.run.split_data import SplitData
from mn_jax.run.workdir import Workdir
from mn_jax.train import state as state_lib
from mn_jax.train.checkpoint import Position

# Of more classes only the smallest are named.
_MOST_CLASSES = 20
_SMALLEST = 5
_MOST_NAMED = 8  # classes without an image
# Metrics of a teacher that are shown where it has them.
_SHOWN = ("accuracy", "balanced_accuracy", "auroc", "macro_auroc")


def print_data(console: Console, data: SplitData) -> None:
  """Prints a line per part of the split, and notes on the data."""
  for part, counts in data.counts().items():
    groups = ""
    if data.spec.group is not None:
      groups = f" of {len(data.groups(part)):3} {data.spec.group}s"
    rows = data.part(part)
    text = _counts(data.classes, counts)
    if data.multi_label:
      none = (~data.cache.labels[rows].any(axis=1)).sum()
      text += f"; no label {none:,}"
    console.line(f"{part:5} {len(rows):7,} images{groups}: {text}")
  for note in data.notes():
    console.line(f"Note: {note}")


def write_beginning(
  setup: Setup, folder: Workdir, writer: writers.MetricWriter, step: int
) -> None:
  """Writes config, split, network, parameter overview and some images.

  Args:
    setup: of the run.
    folder: its workdir; a summary in it is deleted, as the run goes on.
    writer: of metrics.
    step: that the run starts or resumes from.
  """
  config, data = setup.config, setup.data
  digests = data.digests()
  (folder.path / "summary.json").unlink(missing_ok=True)
  folder.write_config(config, step)
  folder.write_json(
    "split.json",
    {
      "sha256": digests["split"],
      "images_sha256": digests["images"],
      "labels_sha256": digests["labels"],
      "kind": data.kind,
      "seed": config.data.split_seed,
      "notes": (*data.split.notes, *data.cache.notes),
      "images": {part: len(data.part(part)) for part in data.split.parts},
      "groups": {part: data.groups(part) for part in data.split.parts},
      "left_out": data.cache.left_out,
      "quarantine": data.cache.quarantine,
      "dropped": data.cache.dropped,
    },
  )
  origin = setup.pretrained
  folder.write_json(
    "network.json",
    {
      "network": dataclasses.asdict(setup.network),
      "classes": data.classes,
      "multi_label": data.multi_label,
      "image_size": config.data.image_size,
      "other_sizes": config.data.other_sizes,
      "resolution": config.model.resolution or config.data.image_size,
      "dtype": config.model.dtype,
      "weights": None if origin is None else dataclasses.asdict(origin),
      "teacher": None if setup.teacher is None else setup.teacher.described,
    },
  )
  state = setup.initial_state
  overview = clu.parameter_overview.get_parameter_overview(
    {"params": state.params, "batch_stats": state.batch_stats}
  )
  atomic.write_text(folder.path / "parameters.txt", f"{overview}\n")
  writer.write_hparams(dataclasses.asdict(config))
  writer.write_texts(0, {"parameters": f"```\n{overview}\n```"})
  first = data.cache.images[setup.loader.ids(0)[:32]]
  _write_figure(folder, writer, 0, "train/images", figures.image_grid(first))


def print_network(console: Console, setup: Setup, seeds: Sequence[int]) -> None:
  """Prints what is trained, from which weights and for how long.

  Args:
    console: for people.
    setup: of the run.
    seeds: all that are trained in this program.
  """
  config, data = setup.config, setup.data
  origin = setup.pretrained
  if origin is not None:
    head = setup.network.head
    own = head == origin.head
    reused = own and origin.num_classes == len(data.classes)
    loaded = "its last layer too" if reused else "new logits"
    console.line(
      f"Weights: {origin.described()}, {config.model.transfer}; head: {head}, "
      f"{loaded}"
    )
    if origin.note:
      console.line(f"Note: {origin.note}")
    if own and origin.head_problem:
      console.line(
        f"Note: all of the head is new. The one in {origin.file} is not that "
        f"of {config.model.name}: {origin.head_problem}"
      )
  if setup.teacher is not None:
    console.line(f"Teacher: {described_teacher(setup.teacher.described)}")
    for note in setup.teacher.notes:
      console.line(f"Note: {note}")
  if config.eval.watch_test:
    console.line(
      "Note: the test part is evaluated at every validation (eval.watch_test); "
      "it chooses nothing"
    )
  if setup.cached_features:
    console.line("The backbone's features are computed once and kept.")
  if setup.note:
    console.line(f"Note: {setup.note}")
  console.line(
    f"{config.model.name}: {setup.num_params:,} parameters, "
    f"{setup.macs / 1e6:,.1f} M mult-adds; "
    f"{setup.plan.total_steps} steps of {config.train.batch_size} on "
    f"{mesh.device_kind()}"
  )
  if len(seeds) > 1:
    console.line(f"Trained together: seeds {', '.join(map(str, seeds))}")


def described_teacher(teacher: Mapping[str, Any]) -> str:
  """Names a teacher, its test metrics and its part of the loss, in one line.

  Args:
    teacher: as `network.json` and `summary.json` have it.
  """
  width = "" if teacher["width"] == 1 else f" {teacher['width']:g}"
  # Where it lies on this machine is nobody else's concern.
  name = "/".join(pathlib.PurePath(teacher["name"]).parts[-2:])
  text = (
    f"{teacher['model']}{width} at {teacher['resolution']} pixels of {name} "
    f"(sha256 {teacher['sha256'][:16]}"
  )
  for metric in _SHOWN:
    value = teacher.get("metrics", {}).get(f"test/{metric}")
    if value is not None:
      shown = formatting.number(value)
      text += f", test {formatting.metric_name(metric)} {shown}"
  return text + (
    f"); weight {teacher['weight']:g}, temperature "
    f"{teacher['temperature']:g}, split: {teacher['overlap']}"
  )


def print_resumed(
  console: Console, setup: Setup, folder: Workdir, step: int
) -> None:
  """Prints where a run resumes, and which fields have other values from then.

  Args:
    console: for people.
    setup: of the run.
    folder: its workdir, whose config was compared.
    step: of the checkpoint.
  """
  console.line(
    f"Resuming {folder.path} from step {step} of {setup.plan.total_steps}"
  )
  if folder.changes:
    console.line(f"Note: from here on with {changes.describe(folder.changes)}")


def describe_skipped(count: float) -> str:
  """Says how many updates were skipped, and why."""
  return f"skipped updates: {count:.0f} (loss or gradient not finite)"


def write_figures(
  setup: Setup,
  folder: Workdir,
  writer: writers.MetricWriter,
  step: int,
  part: str,
  predictions: Predictions,
) -> None:
  """Draws the confusion matrix and, with a positive class, the PR curve.

  Of several labels per image it draws the areas under each label's curves.
  """
  classes, positive = setup.data.classes, setup.data.spec.positive
  title = f"{setup.config.experiment} {part}"
  if predictions.multi_label:
    image = figures.label_areas(
      classification.per_class(predictions),
      predictions.labels.mean(axis=0),
      classes,
      title,
    )
    _write_figure(folder, writer, step, f"{part}/labels", image)
    return
  matrix = classification.confusion_matrix(
    predictions.labels, predictions.predicted(), len(classes)
  )
  _write_figure(
    folder,
    writer,
    step,
    f"{part}/confusion_matrix",
    figures.confusion_matrix(matrix, classes, title),
  )
  if positive is not None:
    curve = figures.pr_curve(
      predictions.labels == positive,
      predictions.probabilities()[:, positive],
      title,
    )
    _write_figure(folder, writer, step, f"{part}/pr_curve", curve)


def summarize(
  setup: Setup,
  state: state_lib.TrainState,
  position: Position,
  results: dict[str, float],
  clock: Clock,
  *,
  seeds: int,
) -> dict[str, Any]:
  """The content of `summary.json`.

  Args:
    setup: of the run.
    state: the final one.
    position: the final one.
    results: 'train/...', 'val/...' and 'test/...' of the best checkpoint,
      'last/...' of the final state.
    clock: of the run.
    seeds: number of seeds that were trained in the same program, whose time
      they share.
  """
  config, data = setup.config, setup.data
  return formatting.jsonable(
    {
      "experiment": config.experiment,
      "model": config.model.name,
      "seed": config.seed,
      "steps": position.batch,
      "epochs": round(position.batch / setup.plan.steps_per_epoch, 3),
      "best_step": position.best_step or position.batch,
      "lost_best": position.lost_best or None,
      "skipped_updates": position.skipped,
      "best_metric": config.eval.best_metric,
      "chosen_on": config.eval.part,
      **results,
      "split": data.kind,
      "split_sha256": data.split.sha256,
      "images_sha256": data.cache.sha256,
      "state_sha256": state_lib.sha256(state),
      "metrics_sha256": position.logged,
      "params": setup.num_params,
      "batch_stats": setup.num_stats,
      "transfer": config.model.transfer,
      "weights_sha256": (
        None if setup.pretrained is None else setup.pretrained.sha256
      ),
      "weights": (
        None if setup.pretrained is None else setup.pretrained.described()
      ),
      "teacher": None if setup.teacher is None else setup.teacher.described,
      "cached_features": setup.cached_features,
      "macs": setup.macs,
      "images_per_sec": clock.images_per_sec(),
      "data_wait_share": clock.data_wait_share(),
      "mfu": setup.mfu(clock.images_per_sec()),
      "replicas": seeds,
      "compile_seconds": clock.seconds("compile"),
      "wall_seconds": clock.wall(),
      "device": mesh.device_kind(),
      "versions": {
        name: importlib.metadata.version(name)
        for name in ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")
      },
    }
  )


def _counts(classes: tuple[str, ...], counts: np.ndarray) -> str:
  """Formats the images of each class; of many classes the smallest."""
  if len(classes) <= _MOST_CLASSES:
    return ", ".join(f"{c} {n:,}" for c, n in zip(classes, counts, strict=True))
  empty, found = np.flatnonzero(counts == 0), np.argsort(counts, kind="stable")
  found = found[len(empty) :]
  text = f"{len(found)} classes of {counts[found[0]]:,} to {counts.max():,}"
  if counts[found[0]] < counts.max():
    smallest = (f"{classes[i]} {counts[i]:,}" for i in found[:_SMALLEST])
    text += f", the smallest {', '.join(smallest)}"
  if len(empty):
    names = [classes[i] for i in empty[:_MOST_NAMED]]
    if len(empty) > len(names):
      names.append(f"{len(empty) - len(names)} more")
    text += f"; none of {', '.join(names)}"
  return text


def _write_figure(
  folder: Workdir,
  writer: writers.MetricWriter,
  step: int,
  name: str,
  image: np.ndarray,
) -> None:
  writer.write_images(step, {name: image})
  path = folder.path / "figures" / f"{name.replace('/', '_')}.png"
  with atomic.writing(path) as file:
    Image.fromarray(image).save(file, "PNG")
