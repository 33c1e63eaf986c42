"""The model card of a run: what it is, its numbers, limits, and how to load it.

All numbers are of files that the run wrote. No name of an image, a group, a
folder or an attribute is written: they may belong to patients.
"""

import dataclasses
import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import mn_jax
from mn_jax.observe.formatting import count, metric_name, number
from mn_jax.report import run_facts
from mn_jax.report.run_analysis import RunAnalysis
from mn_jax.report.tables import Table

# With fewer images of a class in the test its numbers are mostly chance.
_FEW = 30
_NOT_STATED = (
  "Not stated by its author. A classifier for research on images like those it "
  "was trained on; it is not a medical device, and no decision about a person "
  "should rest on it alone."
)
# Names of the Hub for metrics of the same meaning; others have none.
_HUB_METRICS = {
  "accuracy": "accuracy",
  "f1": "f1",
  "auroc": "roc_auc",
  "precision": "precision",
  "sensitivity": "recall",
}


@dataclasses.dataclass(frozen=True)
class Card:
  """A model card, as the template writes it.

  Attributes:
    front: lines of its YAML front matter.
    title: heading.
    summary: a paragraph below it.
    intended_use: a paragraph.
    results: metrics of the test with intervals.
    tables: below them.
    limits: what the numbers do not show, one sentence each.
    data: (name, value) of the data set and the split.
    training: (name, value) of the training.
    classes: their names, in the order of the outputs.
    place: Python expression for `mn_jax.load`.
    place_in_shell: the same for a command line.
    timm: Python expression for `timm.create_model`; None if timm does not have
      the network.
  """

  front: Sequence[str]
  title: str
  summary: str
  intended_use: str
  results: Table
  tables: Sequence[Table]
  limits: Sequence[str]
  data: Sequence[tuple[str, str]]
  training: Sequence[tuple[str, str]]
  classes: Sequence[str]
  place: str
  place_in_shell: str
  timm: str | None


def build(
  analysis: RunAnalysis,
  *,
  classes: Sequence[str],
  folder: str,
  repository: str,
  timm: bool,
  licence: str,
  intended_use: str,
) -> Card:
  """Makes the card of a finished run.

  Args:
    analysis: of the run.
    classes: their names, in the order of the outputs.
    folder: name of the folder with the files, without its parents.
    repository: 'OWNER/NAME' on the Hub; '' if it is not uploaded.
    timm: whether timm has the network.
    licence: identifier of the weights' licence on the Hub, or ''.
    intended_use: the author's words, or ''.
  """
  summary = analysis.summary
  title = repository.partition("/")[2] or summary["experiment"]
  place = f"hf:{repository}" if repository else folder
  in_timm = None
  if timm:
    source = f"hf-hub:{repository}" if repository else f"local-dir:{folder}"
    in_timm = json.dumps(source)
  return Card(
    front=_front(analysis, title, timm=timm, licence=licence),
    title=title,
    summary=_summary(analysis, classes),
    intended_use=intended_use or _NOT_STATED,
    results=_results(analysis),
    tables=_tables(analysis, classes),
    limits=_limits(analysis, classes),
    data=_data(analysis),
    training=_training(analysis),
    classes=classes,
    place=json.dumps(place),
    place_in_shell=shlex.quote(place),
    timm=in_timm,
  )


def _front(
  analysis: RunAnalysis, title: str, *, timm: bool, licence: str
) -> list[str]:
  """Returns the YAML that the Hub reads; its strings are JSON's."""
  summary = analysis.summary
  results = [
    {
      "type": _HUB_METRICS[name],
      "name": f"test {metric_name(name)}",
      "value": round(interval.value, 4),
    }
    for name, interval in analysis.intervals.items()
    if name in _HUB_METRICS and interval.value == interval.value
  ]
  task = {"type": "image-classification", "name": "Image classification"}
  name = analysis.config["config"]["data"]["name"]
  data_set = {"type": name, "name": name, "split": "test"}
  entry = {"task": task, "dataset": data_set, "metrics": results}
  fields: dict[str, Any] = {
    "library_name": "timm" if timm else "mn_jax",
    "pipeline_tag": "image-classification",
    "tags": ["image-classification", "mn_jax", *(["timm"] if timm else [])],
  }
  if licence:
    fields["license"] = licence
  weights = summary.get("weights") or ""
  if weights.startswith("hf:"):
    repository = weights.removeprefix("hf:").split(" ")[0].partition("@")[0]
    fields["base_model"] = repository
  if results:
    fields["model-index"] = [{"name": title, "results": [entry]}]
  return [f"{name}: {json.dumps(value)}" for name, value in fields.items()]


def _summary(analysis: RunAnalysis, classes: Sequence[str]) -> str:
  summary = analysis.summary
  kind = "labels" if analysis.test.predictions.multi_label else "classes"
  start = summary.get("weights") or ""
  origin = f"fine-tuned from {start}" if start else "trained from scratch"
  if summary.get("transfer") == "frozen":
    origin = f"a new head on the fixed backbone of {start}"
  return (
    f"{summary['model']} for {len(classes)} {kind}, "
    f"{summary['params']:,} parameters, {summary['macs'] / 1e6:,.1f} M "
    f"mult-adds per image; {origin} with mn_jax {mn_jax.__version__}."
  )


def _results(analysis: RunAnalysis) -> Table:
  """Returns the metrics of the test, or that there are none."""
  columns = ("test", "value", "95 % low", "high")
  if analysis.refused:
    note = (
      "The checkpoint was selected on the test part: its numbers there are no "
      "test, and are left out."
    )
    return Table(columns, [], note)
  rows = [
    (metric_name(name), number(x.value), number(x.low), number(x.high))
    for name, x in analysis.intervals.items()
  ]
  unit = run_facts.unit(analysis)
  resamples = next(iter(analysis.intervals.values())).resamples
  majority = "the accuracy of predicting the majority class always"
  if analysis.test.predictions.multi_label:
    majority = "the label accuracy of each label's more frequent answer"
  return Table(
    columns,
    rows,
    f"{len(analysis.test.names):,} images of the test part; intervals by "
    f"bootstrap over {unit}s, {resamples:,} resamples. The majority rate is "
    f"{majority}.",
  )


def _tables(analysis: RunAnalysis, classes: Sequence[str]) -> list[Table]:
  """Returns metrics at the chosen thresholds, and those by class or label."""
  tables, limits = [], analysis.label_thresholds
  if analysis.at_threshold:
    names = ("sensitivity", "specificity", "balanced_accuracy", "f1")
    if limits is not None:
      names = ("label_accuracy", "exact_match", "macro_sensitivity")
      names += ("macro_specificity", "macro_f1")
      note = (
        "With each label predicted from its own threshold on, which has its "
        "best balanced accuracy on validation."
      )
    else:
      positive = classes[analysis.test.positive]
      note = (
        f"With {positive!r} predicted from a probability of "
        f"{analysis.threshold:.3f} on, which has the best balanced accuracy on "
        "validation."
      )
    rows = [(metric_name(n), number(analysis.at_threshold[n])) for n in names]
    title = "at the threshold" if limits is None else "at the thresholds"
    tables.append(Table((f"test, {title}", "value"), rows, note))
  by_class = {
    metric_name(name): analysis.per_class[name]
    for name in ("precision", "recall", "auroc")
    if name in analysis.per_class
  }
  if limits is not None:
    by_class["threshold"] = limits
  if by_class and (len(classes) > 2 or limits is not None):
    support = analysis.per_class["support"]
    rows = [
      (name, f"{support[i]:,.0f}", *(number(x[i]) for x in by_class.values()))
      for i, name in enumerate(classes)
    ]
    kind = "class" if limits is None else "label"
    tables.append(Table((kind, "test images", *by_class), rows))
  return tables


def _limits(analysis: RunAnalysis, classes: Sequence[str]) -> list[str]:
  """Says what the numbers do not show."""
  limits = [
    "The test images are of the same data set as those of training: on images "
    "of other places, devices or preparations the network may do worse.",
    f"One training with seed {analysis.summary['seed']}: the intervals do not "
    "show how much another training would differ.",
  ]
  known = _groups(analysis)
  if not known:
    limits.append(
      "No groups are known: images of one patient or object may be both in "
      "training and in the test, which makes the numbers too good, and the "
      "intervals, over single images, too narrow."
    )
  else:
    seen = known.get("train", set()) | known.get("val", set())
    shared = len(seen & known.get("test", set()))
    if shared:
      limits.append(
        f"{count(shared, 'group')} of the test have images in training or "
        "validation too, which makes the numbers too good."
      )
  support = analysis.per_class.get("support")
  if support is not None:
    few = [
      f"{name} ({support[i]:,.0f})"
      for i, name in enumerate(classes)
      if support[i] < _FEW
    ]
    if few:
      limits.append(
        f"Classes with fewer than {_FEW} test images: {', '.join(few)}."
      )
  if analysis.fake_quant != "none":
    limits.append(
      f"Fine-tuned with model.fake_quant={analysis.fake_quant}: all numbers "
      "here are with that rounding. These weights compute without it: they "
      "predict some images differently."
    )
  if not analysis.refused and "ece" in analysis.intervals:
    limits.append(
      "Probabilities are not calibrated: the expected calibration error is "
      f"{number(analysis.intervals['ece'].value)} on the test, and "
      f"{number(analysis.at_temperature.get('ece'))} with logits divided by "
      f"{analysis.temperature:.2f}, fitted on validation."
    )
  return limits


def _data(analysis: RunAnalysis) -> list[tuple[str, str]]:
  split, config = analysis.split, analysis.config["config"]["data"]
  images = ", ".join(
    f"{part} {number_of:,}" for part, number_of in split["images"].items()
  )
  rows = [
    ("data set", config["name"]),
    ("images", images),
    (
      "split",
      f"{split['kind']}, seed {split['seed']}, sha256 {split['sha256'][:16]}",
    ),
    ("pixels", f"sha256 of all images {split['images_sha256'][:16]}"),
  ]
  groups = _groups(analysis)
  if groups:
    text = ", ".join(f"{part} {len(x):,}" for part, x in groups.items())
    rows.insert(2, ("groups", text))
  return rows


def _groups(analysis: RunAnalysis) -> dict[str, set[str]]:
  """Returns the groups of each part, to be counted; {} if none are known."""
  if analysis.test.groups is None:
    return {}  # the names of the images stand for them in the split
  listed = analysis.split.get("groups") or {}
  groups = {part: {*names} - {""} for part, names in listed.items()}
  return groups if any(groups.values()) else {}


def _training(analysis: RunAnalysis) -> list[tuple[str, str]]:
  summary, config = analysis.summary, analysis.config["config"]
  size = config["model"]["resolution"] or config["data"]["image_size"]
  versions = summary["versions"].items()
  return [
    ("input", f"{size} x {size} pixels"),
    (
      "length",
      f"{summary['steps']:,} steps of {config['train']['batch_size']} images, "
      f"{summary['epochs']:.3g} epochs",
    ),
    (
      "checkpoint",
      f"step {summary['best_step']:,}, selected by "
      f"{metric_name(summary['best_metric'])} on {summary['chosen_on']}",
    ),
    (
      "optimizer",
      f"{config['optim']['name']}, learning rate "
      f"{config['optim']['learning_rate']:g}, {config['optim']['schedule']}",
    ),
    *_teacher(summary.get("teacher")),
    ("seed", str(summary["seed"])),
    ("device", summary["device"]),
    ("versions", ", ".join(f"{name} {v}" for name, v in versions)),
  ]


def _teacher(teacher: Mapping[str, Any] | None) -> list[tuple[str, str]]:
  """Returns what is told of a teacher: not where it lies."""
  if not teacher:
    return []
  text = (
    f"{teacher['model']}, weight {teacher['weight']:g}, temperature "
    f"{teacher['temperature']:g}"
  )
  return [("teacher", "; ".join((text, *teacher["notes"])))]
