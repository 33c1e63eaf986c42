"""Tests of cross-validation."""

import json
import types

import numpy as np
import pytest

from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.run import records, split_data
from mn_jax.tools import crossval
from tests import programs, toy_labels
from tests.tools.short_runs import TWO_STEPS


def run(*arguments):
  return programs.run("mn_jax.tools.crossval", *arguments)


@pytest.mark.slow
def test_folds_are_run_and_gathered(tmp_path):
  arguments = (
    "--config=configs/idc_v1.py:test",
    "--folds=2",
    f"--workdir={tmp_path}",
    *(f"{name}={value}" for name, value in TWO_STEPS.items()),
  )
  done = run(*arguments)
  assert done.returncode == 0, done.stderr
  assert "all folds together" in done.stdout
  saved = records.read_object(tmp_path / "crossval.json")
  assert saved["groups"] == 40
  assert (tmp_path / "report" / "report.html").is_file()
  assert set(saved["baselines"]) == {
    "majority class",
    "mean colour",
    "colour histogram",
  }
  groups = []
  for fold in range(2):
    split = json.loads((tmp_path / f"fold{fold}/seed0/split.json").read_text())
    assert split["kind"] == "kfold"
    groups.append(set(split["groups"]["test"]))
  assert not groups[0] & groups[1]
  assert len(groups[0] | groups[1]) == 40
  # The same command runs nothing again and says the same.
  again = run(*arguments)
  assert again.stdout.count(": complete") == 2
  results = [
    x.stdout.partition("Cross-validation of")[2] for x in (done, again)
  ]
  assert results[0] == results[1] != ""
  assert records.read_object(tmp_path / "crossval.json") == saved


def test_data_are_split_before_the_first_fold(tmp_path, capsys, monkeypatch):
  """So that what is wrong with it is said once, not in the log of each fold."""

  def fail(*_):
    raise AssertionError("a fold was trained")

  monkeypatch.setattr(crossval.runner, "run_all", fail)
  runs = tmp_path / "runs"
  options = ["--config=idc_v1:test", f"--workdir={runs}", "data.image_size=16"]
  assert crossval.main([*options, "--folds=41"]) == 2
  out, err = capsys.readouterr()
  assert "data.folds: got 41 for 40 groups" in err
  assert err.count("\n") == 1
  with pytest.raises(AssertionError, match="a fold was trained"):
    crossval.main([*options, "--folds=2"])
  out, _ = capsys.readouterr()
  assert (
    "2,000 images of 40 patients; each patient is tested in one fold." in out
  )
  assert not runs.exists()


def test_mistakes_are_one_line(capsys):
  for arguments, message in (
    (["--config=none"], "config: got 'none'"),
    (["--config=README.md"], "config: got 'README.md'"),
    (["--config=idc_v1", "--folds=1"], "--folds: got 1"),
    (["--config=idc_v1", "--seeds=0"], "--seeds: got 0"),
    (["--config=idc_v1", "x"], "got 'x'; valid: SECTION.FIELD"),
    (["--config=idc_v1", "data.fold=1"], "data.fold: got 1; valid: --folds"),
    (["--config=idc_v1", "eval.part=test"], "eval.part: got 'test'"),
    (["--config=idc_v1", "train.replicas=2"], "train.replicas: got 2"),
  ):
    assert crossval.main(arguments) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.count("\n") == 1


def test_the_first_of_several_labels_are_refused(tmp_path, capsys, monkeypatch):
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path / "cache"))
  toy_labels.write(tmp_path / "data", 6)
  arguments = [
    f"--data={tmp_path / 'data' / 'columns.csv'}",
    f"--workdir={tmp_path / 'runs'}",
    "--folds=0",
    f"data.label={','.join(toy_labels.NAMES)}",
    "data.group=patient",
    "data.classes=2",
  ]
  assert crossval.main(arguments) == 2
  err = capsys.readouterr().err
  assert "data.classes: got 2 of images with several labels" in err
  assert err.count("\n") == 1


def test_one_fold_per_group_counts_the_groups(monkeypatch):
  """Of the classes that are used, and only where there are groups."""
  config = files.load_config("idc_v1", ["data.classes=2"])
  console = crossval.Console(quiet=True)

  def count(groups):
    labels = np.arange(len(groups)) % 3
    packed = types.SimpleNamespace(
      groups=np.array(groups),
      labels=labels,
      classes=("a", "b", "c"),
      multi_label=False,
    )
    monkeypatch.setattr(split_data, "load_packed", lambda *_: packed)
    return crossval._count_folds(console, config, 0)

  assert count(["a", "b", "other", "a", "b", "other", "c"]) == 3
  with pytest.raises(InputError, match="got 0, one per group, but each image"):
    count(["a", "b", "other", "c"])
