"""Tests of the program that classifies given features."""

import json

import numpy as np
import pytest

from mn_jax.tools import probe
from tests.metrics.test_probe import table_of


@pytest.fixture
def path(tmp_path):
  table = table_of(5, leak=2.0)
  path = tmp_path / "features.npz"
  np.savez(
    path,
    texture=table.sets["x"],
    noise=np.random.default_rng(2).normal(size=(len(table.labels), 2)),
    labels=table.labels,
    slides=table.groups,
    names=table.names,
    classes=np.array(table.classes),
  )
  return path


def test_both_protocols_are_on_the_page(path, tmp_path, capsys):
  arguments = [
    "--groups=slides",
    "--unit=slide",
    "--sets=texture,texture+noise",
    "--classifiers=lda",
    "--folds=3",
    "--title=Toy features",
  ]
  assert probe.main([str(path), *arguments]) == 0
  folder = tmp_path / "probe"
  numbers = json.loads((folder / "report.json").read_text())
  first, second = numbers["rows"]
  assert (first["features"], second["features"]) == (6, 8)
  for row in (first, second):
    random, by_group = row["random"]["accuracy"], row["by_group"]["accuracy"]
    assert random["low"] < random["value"] < random["high"]
    gap = row["difference"]["accuracy"]
    assert gap["value"] == pytest.approx(random["value"] - by_group["value"])
    assert gap["value"] > 0.1
    assert [group["images"] for group in row["groups"]] == [12] * 5
    mean = np.mean([group["by_group"] for group in row["groups"]])
    assert mean == pytest.approx(by_group["value"])
  text = (folder / "report.md").read_text()
  assert text.startswith("# Toy features\n")
  assert "one slide left out at a time" in text
  assert "5 slides are few" in text
  assert (
    f"| texture | 6 | lda | {first['random']['accuracy']['value']:.3f}"
    in (text)
  )
  assert (folder / "figures" / "accuracy.webp").stat().st_size > 1_000
  kept = np.load(folder / "predictions.npz")
  right = kept["texture, lda, by_group"] == kept["labels"]
  assert right.mean() == pytest.approx(first["by_group"]["accuracy"]["value"])
  assert "texture" in capsys.readouterr().out


def test_without_groups_there_is_one_protocol(path, tmp_path):
  output = tmp_path / "page"
  arguments = ["--sets=texture", "--classifiers=lda", f"--output={output}"]
  assert probe.main([str(path), *arguments]) == 0
  (row,) = json.loads((output / "report.json").read_text())["rows"]
  assert "by_group" not in row
  assert (
    "Nothing says which of them belong together"
    in (output / "report.md").read_text()
  )


def test_only_the_images_of_another_table(path, tmp_path):
  arrays = dict(np.load(path))
  other = tmp_path / "other.npz"
  np.savez(other, **{name: x[:36] for name, x in arrays.items() if x.ndim})
  np.savez(other, **{**dict(np.load(other)), "classes": arrays["classes"]})
  arguments = [
    "--sets=texture",
    "--classifiers=lda",
    "--groups=slides",
    f"--among={other}",
  ]
  assert probe.main([str(path), *arguments]) == 0
  report = tmp_path / "probe" / "report.json"
  numbers = json.loads(report.read_text())
  assert numbers["images"] == 36
  assert len(numbers["rows"][0]["groups"]) == 3


@pytest.mark.parametrize(
  ("argument", "message"),
  [
    ("--sets=lbp", "--sets: got 'lbp'; valid: texture, noise, or several"),
    ("--groups=patients", "--groups: got 'patients'; valid: an array of"),
    ("--classifiers=tree", "got 'tree'; valid: lda, logistic, svm"),
    ("--folds=61", "--folds: got 61; valid: 2 to 60"),
    ("--folds=1", "--folds: got 1; valid: 2 or more"),
  ],
)
def test_what_is_refused(path, capsys, argument, message):
  assert probe.main([str(path), argument]) == 2
  assert message in capsys.readouterr().err
