"""Tests of the page of a cross-validation."""

import dataclasses
import json

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import classification
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.report import cross_validation_pages, decisions
from mn_jax.run import open_data, records, split_data
from mn_jax.studies import cross_validation, split_baselines
from mn_jax.tools import report
from tests.studies import toy_folds as toy


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def found(folder):
  study, runs = toy.write(folder)
  written, path = cross_validation_pages.write(
    folder, study, runs, Console(quiet=True), resamples=100
  )
  assert path == folder / "report" / "report.html"
  return written


@pytest.fixture(scope="module")
def text(found, folder):
  del found
  return (folder / "report" / "report.md").read_text()


def test_the_page_has_every_fold_once(found, text):
  for fold in found.folds:
    auroc = formatting.number(fold.metric("auroc"))
    (row,) = [x for x in text.splitlines() if x.startswith(f"| {fold.name} |")]
    assert f"| {len(fold.test.names)} | 10 |" in row
    assert f"| {auroc} |" in row
  mean = found.over_folds["auroc"]
  assert formatting.mean_std(mean.mean, mean.std) in text
  assert "Nadeau and Bengio" in text
  assert "all alike" in text  # a note of every fold once, without its name
  assert "fold1: only fold1" in text
  assert text.count("all alike") == 1


def test_the_page_has_all_folds_together(found, text):
  pooled, mean = found.intervals["auroc"], found.over_folds["auroc"]
  cells = (
    "AUROC",
    formatting.number(pooled.value),
    formatting.interval(pooled.low, pooled.high),
    formatting.number(mean.mean),
    formatting.interval(mean.low, mean.high),
  )
  assert f"| {' | '.join(cells)} |" in text
  assert "240 images of 30 patients" in text
  assert "does not put them on one scale" in text


def test_the_page_has_each_folds_thresholds(found, text):
  target = decisions.TARGETS[0]
  values = found.thresholds[1][target]
  assert (
    f"{target.title()}: {', '.join(map(formatting.number, values))}" in text
  )
  point = found.points[1][0]
  assert (
    f"| {target.title()} | threshold of validation | - | "
    f"{decisions.with_interval(point.sensitivity)} |"
  ) in text


def test_the_numbers_are_json_with_a_checksum(found, folder):
  saved = records.read_object(folder / cross_validation_pages.NAME)
  json.dumps(saved, allow_nan=False)
  assert saved["pooled"]["auroc"]["low"] == found.intervals["auroc"].low
  assert saved["over_folds"]["auroc"]["mean"] == found.over_folds["auroc"].mean
  assert saved["by_attribute"]["site"]["subsets"][0]["value"] == "north"
  assert saved["groups"] == 30
  assert [fold["name"] for fold in saved["folds"]] == [
    "fold0",
    "fold1",
    "fold2",
  ]
  assert not saved["baselines"]


def test_report_writes_the_page_again(found, folder, tmp_path, capsys):
  del found
  arguments = [str(folder), f"--output={tmp_path / 'again'}", "--numbers"]
  assert report.main(arguments) == 0
  assert "Report: file:///" in capsys.readouterr().out
  again = (tmp_path / "again" / "report.md").read_text()
  before = (folder / "report" / "report.md").read_text()
  # But for the intervals, which have more resamples.
  assert again.splitlines()[:4] == before.splitlines()[:4]
  assert len(again.splitlines()) == len(before.splitlines())


def test_baselines_are_compared_on_the_same_images(
  tmp_path, monkeypatch, capsys
):
  """Of the images if they are there, and the same."""
  study, runs = toy.write(tmp_path)
  splits = iter(["fold0", "fold1", "fold2", "fold0", "changed"])

  class Data:
    def __init__(self):
      self.split = self
      self.sha256 = next(splits)

  monkeypatch.setattr(open_data, "open_packed", lambda *_: None)
  monkeypatch.setattr(split_data, "divide", lambda *_: Data())
  answers, fold_of = toy.everything(), np.arange(toy.IMAGES) // 8 % 3
  others = toy.everything(9).predictions.logits
  outputs = dataclasses.replace(answers.predictions, logits=others)
  answers = dataclasses.replace(answers, predictions=outputs)

  def predict(data):
    fold = int(data.sha256.removeprefix("fold"))
    return {"mean colour": toy.take(answers, np.flatnonzero(fold_of == fold))}

  monkeypatch.setattr(split_baselines, "predict", predict)
  console = Console()
  found, _ = cross_validation_pages.write(
    tmp_path, study, runs, console, places={}, resamples=20
  )
  text = (tmp_path / "report" / "report.md").read_text()
  metrics = classification.summarize(answers.predictions, positive=1)
  whole = classification.summarize(found.test.predictions, positive=1)
  for name in ("balanced_accuracy", "auroc"):
    gap = formatting.number(whole[name] - metrics[name], signed=True)
    title = formatting.metric_name(name)
    value = formatting.number(metrics[name])
    assert f"| mean colour | {title} | {value} | {gap} |" in text
  assert text.count("| mean colour |") == 2
  saved = records.read_object(tmp_path / "crossval.json")["baselines"]
  ours = [fold.metric("auroc") for fold in found.folds]
  theirs = saved["mean colour"]["by_fold"]["auroc"]
  mean = saved["mean colour"]["ahead_by_fold"]["auroc"]
  assert mean["mean"] == pytest.approx(np.mean(ours) - np.mean(theirs))
  # As far to both sides, up to 1: no metric but a difference of two.
  other_end = min(1, 2 * mean["mean"] - mean["low"])
  assert mean["high"] == pytest.approx(other_end)
  assert mean["low"] < 0
  cross_validation_pages.write(
    tmp_path, study, runs, console, places={}, resamples=20
  )
  assert "Note: baselines are left out: data.path" in capsys.readouterr().out
  text = (tmp_path / "report" / "report.md").read_text()
  assert "| mean colour |" not in text


def test_the_page_starts_with_what_the_folds_show(found, text):
  pooled, mean = found.intervals["auroc"], found.over_folds["auroc"]
  assert f"AUROC {decisions.with_interval(pooled)}. Mean over 3 folds" in text
  assert f"and {formatting.number(mean.mean)} (" in text
  assert "python -m mn_jax.tools.crossval --config=idc_v1 --folds=5" in text
  assert "- weights: none: randomly initialised" in text


def test_classes_and_images_without_groups(tmp_path):
  named = toy.everything(grouped=False, classes=("a", "b", "c"))
  study, runs = toy.write(tmp_path, named=named)
  cross_validation_pages.write(
    tmp_path, study, runs, Console(quiet=True), resamples=20
  )
  text = (tmp_path / "report" / "report.md").read_text()
  assert "Nothing is known of which images belong together" in text
  assert "| b | sensitivity at specificity 0.9 | threshold of" in text
  assert "## Classes" in text
  assert "## Worst groups" not in text


def test_labels_have_metrics_of_their_own(tmp_path):
  named = toy.everything(classes=("a", "b", "c"))
  numbers = np.random.default_rng(0)
  labels = (numbers.random((toy.IMAGES, 3)) < 0.3).astype(np.uint8)
  logits = numbers.normal(size=labels.shape) + 1.5 * labels - 1
  outputs = dataclasses.replace(
    named.predictions, labels=labels, logits=logits.astype(np.float32)
  )
  named = dataclasses.replace(named, predictions=outputs)
  study, runs = toy.write(tmp_path, named=named)
  labelled = cross_validation.plan(
    "idc_v1", "toy", {}, folds=3, count=3, positive=False, multi_label=True
  )
  study = dataclasses.replace(study, metrics=labelled.metrics)
  found, _ = cross_validation_pages.write(
    tmp_path, study, runs, Console(quiet=True), resamples=20
  )
  text = (tmp_path / "report" / "report.md").read_text()
  assert "| fold | test images | patients | macro AUROC |" in text
  assert "exact match" in text
  assert list(found.points) == [0, 1, 2]
  (site, *_), hits = found.attributes, labels == (logits >= 0)
  for subset in site.subsets:
    rows = named.attributes["site"] == subset.value
    exact = hits[rows].all(axis=1).mean()
    assert subset.metrics["exact_match"].value == pytest.approx(exact)


def test_a_folder_that_is_none_is_refused(tmp_path):
  (tmp_path / cross_validation_pages.NAME).write_text("{}")
  with pytest.raises(InputError, match=r"whose crossval\.json cannot be read"):
    cross_validation_pages.reopen(tmp_path)
