"""A new user's story: a table of patients and sites, cross-validated by group.

One command, then sensitivity at a fixed specificity with an interval by
patient, a ROC as a figure, and the numbers of each site.
"""

import csv
import json
import pathlib

import numpy as np
import pytest
import scipy.special
import sklearn.metrics
from PIL import Image

from mn_jax.metrics import bootstrap
from tests import programs

PATIENTS, EACH, FOLDS = 48, 6, 2
OPTIONS = (
  f"--folds={FOLDS}",
  "--model=simple_cnn",
  "data.group=patient",
  "data.positive=tumour",
  "data.attributes=site,age",
  "data.image_size=16",
  "model.resolution=16",
  "data.val_fraction=0.35",
  "train.steps=60",
  "train.batch_size=32",
  "optim.learning_rate=0.003",
)


def image(rng: np.random.Generator, tint: np.ndarray, *, tumour: bool):
  """Tissue of a patient's tint; tumours are often darker in the middle."""
  pixels = rng.normal(150, 25, (16, 16, 3)) + tint
  if tumour:
    pixels[4:12, 4:12] -= rng.uniform(0, 45)
  return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


@pytest.fixture
def folder(tmp_path) -> pathlib.Path:
  """Images of patients from two sites, in no order, and their table."""
  rng, rows = np.random.default_rng(0), []
  (tmp_path / "images").mkdir()
  for patient in range(PATIENTS):
    tint, age = rng.normal(0, 12, 3), int(rng.integers(30, 90))
    for _ in range(EACH):
      tumour = bool(rng.random() < (0.2, 0.6)[patient % 2])
      name = f"images/{rng.integers(1 << 40):x}.png"
      image(rng, tint, tumour=tumour).save(tmp_path / name)
      label = "tumour" if tumour else "healthy"
      site = ("north", "south")[patient % 3 == 0]
      rows.append((name, label, f"P{patient:03}", site, age))
  order = rng.permutation(len(rows))
  with (tmp_path / "cohort.csv").open("w", newline="") as file:
    table = csv.writer(file)
    table.writerow(("path", "label", "patient", "site", "age"))
    table.writerows([rows[i] for i in order])
  return tmp_path


def by_hand(folder: pathlib.Path, least: float) -> tuple[float, float, float]:
  """Sensitivity of each fold's own threshold, and its interval by patient."""
  hits, positives, patients = [], [], []
  for fold in range(FOLDS):
    files = folder / f"fold{fold}" / "seed0" / "predictions"
    scores, labels = {}, {}
    for part in ("val", "test"):
      with np.load(files / f"{part}.npz", allow_pickle=False) as saved:
        place = saved["classes"].tolist().index("tumour")
        logits = saved["logits"].astype(np.float64)
        scores[part] = scipy.special.softmax(logits, axis=1)[:, place]
        labels[part] = saved["labels"] == place
        groups = saved["groups"]
    negatives = scores["val"][~labels["val"]]
    threshold = min(
      cut
      for cut in scores["val"]
      if (negatives < cut).sum() / len(negatives) >= least
    )
    hits += ((scores["test"] >= threshold) & labels["test"]).tolist()
    positives += labels["test"].tolist()
    patients += groups.tolist()
  hits, positives = np.array(hits), np.array(positives)
  names, codes = np.unique(patients, return_inverse=True)
  samples = []
  for number in range(2000):
    weights = bootstrap.draw(len(names), seed=0, number=number)[codes]
    samples.append((weights * hits).sum() / (weights * positives).sum())
  value = hits.sum() / positives.sum()
  return value, *np.quantile(samples, [0.025, 0.975])


@pytest.mark.extended
def test_patients_are_cross_validated_by_one_command(folder, monkeypatch):
  monkeypatch.setenv("MN_JAX_CACHE", str(folder / "cache"))
  runs = folder / "runs"
  command = (f"--data={folder / 'cohort.csv'}", f"--workdir={runs}", *OPTIONS)
  done = programs.run("mn_jax.tools.crossval", *command, timeout=900)
  assert (done.returncode, done.stderr) == (0, "")
  results = json.loads((runs / "crossval.json").read_text())
  assert results["images"] == PATIENTS * EACH
  assert results["groups"] == PATIENTS

  # No patient is on both sides, and each is tested once.
  tested = []
  for fold in range(FOLDS):
    path = runs / f"fold{fold}" / "seed0" / "split.json"
    groups = json.loads(path.read_text())["groups"]
    assert not set(groups["test"]) & {*groups["train"], *groups["val"]}
    tested += groups["test"]
  assert sorted(tested) == [f"P{i:03}" for i in range(PATIENTS)]

  # Sensitivity at a fixed specificity, with an interval by patient.
  point = results["operating_points"]["tumour"][0]
  assert (point["fixed"], point["at_least"]) == ("specificity", 0.9)
  assert point["threshold_from"] == "validation"
  found = point["sensitivity"]
  value, low, high = by_hand(runs, 0.9)
  assert found["value"] == pytest.approx(value)
  assert (found["low"], found["high"]) == pytest.approx((low, high))
  assert "Sensitivity at specificity 0.9, each fold's threshold" in done.stdout

  # It has learnt something, or all of this would say nothing.
  assert results["over_folds"]["auroc"]["mean"] > 0.6
  aurocs = []
  for fold in range(FOLDS):
    files = runs / f"fold{fold}" / "seed0" / "predictions" / "test.npz"
    with np.load(files, allow_pickle=False) as saved:
      place = saved["classes"].tolist().index("tumour")
      margin = saved["logits"][:, place] - saved["logits"][:, 1 - place]
      aurocs.append(
        sklearn.metrics.roc_auc_score(saved["labels"] == place, margin)
      )
  assert results["over_folds"]["auroc"]["mean"] == pytest.approx(
    np.mean(aurocs)
  )

  # Every site, and ranges of the ages.
  sites = results["by_attribute"]["site"]["subsets"]
  assert [x["value"] for x in sites] == ["north", "south"]
  assert sum(x["images"] for x in sites) == PATIENTS * EACH
  ages = results["by_attribute"]["age"]
  assert len(ages["subsets"]) == 4
  assert "quartiles" in ages["note"]

  # The ROC is a figure of the page.
  text = (runs / "report" / "report.md").read_text()
  assert "](figures/decisions.webp)" in text
  with Image.open(runs / "report" / "figures" / "decisions.webp") as figure:
    colours = figure.convert("RGB").getcolors(1 << 20)
    assert figure.width == 1000
  assert len(colours) > 20

  # The same command runs nothing again, and says the same.
  again = programs.run("mn_jax.tools.crossval", *command, timeout=900)
  assert again.returncode == 0
  assert again.stdout.count(": complete") == FOLDS
  assert json.loads((runs / "crossval.json").read_text()) == results
