"""A new user's story: a table of images with several labels, end to end."""

import contextlib
import csv
import dataclasses
import io
import json

import jax
import numpy as np
import pytest
import sklearn.metrics

from mn_jax.metrics import predictions
from mn_jax.run import reopen, split_data
from mn_jax.tools import embed, evaluate, predict, report, saliency
from tests import programs
from tests import toy_labels as toy

# Two runs are trained, and every program is compiled for them.
pytestmark = pytest.mark.extended

SHRUNK = (
  "--config=image_folder_v2",
  "model.name=simple_cnn",
  "data.image_size=24",
  "data.group=patient",
  "train.batch_size=32",
  "train.epochs=0",
  "train.steps=60",
  "eval.every_epochs=0",
  "eval.every_steps=30",
  "optim.warmup_epochs=0",
  "optim.learning_rate=0.01",
  "augment.flip=horizontal",
  "augment.crop_scale=1.0",
)
COLUMNS = f"data.label={toy.NAMES}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("labels")
  toy.write(folder / "scans", 60)
  toy.write(folder / "new", 12, seed=1)
  return folder


def train(*arguments):
  """Runs the program that trains; returns its code and what it printed."""
  ended = programs.run("mn_jax.main", *SHRUNK, *map(str, arguments))
  return ended.returncode, ended.stdout, ended.stderr


def start(program, *arguments):
  """Runs another program; returns its code and what it printed."""
  out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
  with (
    jax.numpy_dtype_promotion("standard"),
    contextlib.redirect_stdout(out),
    contextlib.redirect_stderr(err),
  ):
    code = program.main([*map(str, arguments)])
  out.flush()
  return code, out.buffer.getvalue().decode(), err.getvalue()


@pytest.fixture(scope="module")
def trained(folder):
  """The workdir of a run on columns of labels, and what it printed."""
  workdir = folder / "run"
  code, out, err = train(
    f"--workdir={workdir}",
    f"data.path={folder / 'scans' / 'columns.csv'}",
    COLUMNS,
    "data.attributes=('site',)",
    "train.label_smoothing=0.05",
    "train.class_weights=balanced",
  )
  assert code == 0, err
  return workdir, out


def test_a_run_learns_labels_and_says_so(trained):
  workdir, out = trained
  summary = json.loads((workdir / "summary.json").read_text())
  assert summary["best_metric"] == "macro_auroc"
  for text in ("macro AUROC", "label accuracy", "exact match", "; no label "):
    assert text in out
  # Chance is 0.5; of average precision it is the share of images, 0.33.
  assert summary["test/macro_auroc"] > 0.9
  assert summary["test/macro_average_precision"] > 0.75
  assert summary["test/label_accuracy"] > summary["test/majority_rate"]
  test = predictions.read(workdir / "predictions" / "test.npz")
  labels = test.predictions.labels
  assert labels.dtype == np.uint8
  assert set(test.attributes["site"]) == set(toy.SITES)
  assert summary["test/macro_auroc"] == pytest.approx(
    sklearn.metrics.roc_auc_score(labels, test.predictions.probabilities())
  )
  losses = [
    sklearn.metrics.log_loss(y, p)
    for y, p in zip(labels.T, test.predictions.probabilities().T, strict=True)
  ]
  assert summary["test/loss"] == pytest.approx(np.mean(losses), rel=1e-4)
  val = predictions.read(workdir / "predictions" / "val.npz")
  assert not set(test.groups) & set(val.groups)
  logged = (workdir / "metrics.jsonl").read_text()
  assert "train/label_accuracy" in logged
  assert "train/accuracy" not in logged


def test_the_same_labels_in_cells_are_the_same_data(trained, folder):
  section = reopen.open_run(trained[0]).config.data
  in_cells = dataclasses.replace(
    section,
    path=str(folder / "scans" / "cells.csv"),
    label=("findings",),
    label_separator="|",
  )
  columns, cells = (
    split_data.load(x, lambda *_: None) for x in (section, in_cells)
  )
  order = [cells.classes.index(name) for name in columns.classes]
  np.testing.assert_array_equal(
    cells.cache.labels[:, order], columns.cache.labels
  )
  assert cells.multi_label
  shares = cells.cache.labels.mean(axis=0)
  for part in ("train", "test"):
    of_part = cells.cache.labels[cells.part(part)].mean(axis=0)
    np.testing.assert_allclose(of_part, shares, atol=0.15)


def test_evaluate_shows_every_label(trained):
  workdir, _ = trained
  line = (f"--workdir={workdir}", "--part=test")
  code, out, _ = start(evaluate, *line, "--intervals", "--threshold-from-val")
  assert code == 0
  # Tables fit a terminal; other lines are for it to wrap.
  assert max(len(x) for x in out.splitlines() if x[:1] in "│┃┏") <= 80
  for text in ("Labels", "stripes", "95 % interval", "patients resampled"):
    assert text in out
  code, out, _ = start(
    evaluate, *line, "--json", "--threshold-from-val", "--by-group"
  )
  assert code == 0
  found = json.loads(out)
  assert set(found["labels"]) == set(found["thresholds"]) == set(toy.NAMES)
  test = predictions.read(workdir / "predictions" / "test.npz").predictions
  scores = test.probabilities()
  decided = scores >= list(found["thresholds"].values())
  assert found["macro_f1"] == pytest.approx(
    sklearn.metrics.f1_score(test.labels, decided, average="macro")
  )
  areas = sklearn.metrics.roc_auc_score(test.labels, scores, average=None)
  for name, area in zip(toy.NAMES, areas, strict=True):
    assert found["labels"][name]["auroc"] == pytest.approx(area)


def test_new_images_are_evaluated_if_they_have_several_labels(trained, folder):
  workdir, _ = trained
  line = (f"--workdir={workdir}", "--json")
  table = folder / "new" / "columns.csv"
  code, out, err = start(evaluate, *line, f"--data={table}")
  assert code == 0, err
  found = json.loads(out)
  assert found["images"] == 48
  assert found["intervals"]["macro_auroc"]["value"] > 0.85
  code, out, err = start(
    evaluate, *line, f"--data={table}", "data.label=('site',)"
  )
  assert (code, out) == (2, "")
  assert err.count("\n") == 1


def test_predict_prints_a_probability_of_every_label(trained, folder):
  workdir, _ = trained
  images = folder / "new" / "images"
  code, out, err = start(predict, f"--workdir={workdir}", images)
  assert code == 0, err
  rows = list(csv.DictReader(io.StringIO(out)))
  with (folder / "new" / "columns.csv").open(newline="") as file:
    truth = {row["path"]: row for row in csv.DictReader(file)}
  labels, scores = [], []
  for row in rows:
    name = "images/" + row["file"].rpartition("/")[2]
    labels.append([int(truth[name][x]) for x in toy.NAMES])
    scores.append([float(row[x]) for x in toy.NAMES])
  assert len(rows) == len(truth)
  assert sklearn.metrics.roc_auc_score(labels, scores) > 0.85
  assert not np.allclose(np.sum(scores, axis=1), 1, atol=0.05)
  code, _, err = start(predict, f"--workdir={workdir}", "--top=2", images)
  assert code == 2
  assert "--top: got 2 for a run of several labels" in err


@pytest.mark.parametrize(
  ("fields", "said"),
  [
    (["eval.best_metric=balanced_accuracy"], "eval.best_metric: got 'balanced"),
    (["data.sampling=balanced"], "data.sampling: got 'balanced' for images"),
    (["data.positive=red"], "data.positive: got 'red'; valid: ''"),
  ],
)
def test_what_several_labels_do_not_have_is_refused(folder, fields, said):
  code, _, err = train(
    f"--workdir={folder / 'refused'}",
    f"data.path={folder / 'scans' / 'columns.csv'}",
    COLUMNS,
    *fields,
  )
  assert code == 2
  assert err.count("\n") == 1
  assert said in err


def test_pages_and_pictures_of_a_run(trained, tmp_path):
  workdir, _ = trained
  code, _, err = start(report, workdir, f"--output={tmp_path / 'page'}")
  assert code == 0, err
  page = (tmp_path / "page" / "report.md").read_text()
  for text in ("95 % interval", "label shares", "own thresholds", "stripes"):
    assert text in page
  assert (tmp_path / "page" / "figures" / "run_labels.webp").stat().st_size
  numbers = json.loads((tmp_path / "page" / "report.json").read_text())
  (run,) = numbers["runs"].values()
  assert run["confusion_matrix"] is None
  assert len(run["label_intervals"]["auroc"]) == len(toy.NAMES)
  for program in (embed, saliency):
    code, _, err = start(program, f"--workdir={workdir}")
    assert code == 0, err
