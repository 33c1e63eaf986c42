"""Tests of cross-validation."""

import json
import pathlib

import pytest

from mn_jax.config import files
from mn_jax.tools import crossval
from tests import programs

ROOT = pathlib.Path(__file__).parents[2]
TINY = (
  "data.image_size=16",
  "model.width=0.1",
  "train.epochs=0",
  "train.steps=2",
  "eval.every_epochs=0",
  "eval.every_steps=2",
  "checkpoint.every_epochs=0",
  "checkpoint.every_steps=2",
)


def run(*arguments):
  return programs.run("mn_jax.tools.crossval", *arguments)


@pytest.mark.slow
def test_folds_are_run_and_gathered(tmp_path):
  arguments = (
    "--config=configs/idc_v1.py:test",
    "--folds=2",
    f"--workdir={tmp_path}",
    *TINY,
  )
  done = run(*arguments)
  assert done.returncode == 0, done.stderr
  assert "balanced accuracy over folds: 0." in done.stdout
  groups = []
  for fold in range(2):
    split = json.loads((tmp_path / f"fold{fold}/seed0/split.json").read_text())
    assert split["kind"] == "kfold"
    groups.append(set(split["groups"]["test"]))
  assert not groups[0] & groups[1]
  assert len(groups[0] | groups[1]) == 40
  again = run(*arguments, "--collect")
  assert again.stdout.splitlines()[-1] == done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config=configs/none.py"], "config: got 'configs/none.py'"),
    (["--config=README.md"], "config: got 'README.md'"),
    (["--config=configs/idc_v1.py", "--folds=1"], "--folds: got 1"),
    (["--config=configs/idc_v1.py", "--seeds=0"], "--seeds: got 0"),
    (["--config=configs/idc_v1.py", "x"], "got 'x'; valid: SECTION.FIELD"),
    (
      ["--config=configs/eurosat_v2.py:test", "--folds=0"],
      "--folds: got 0, one per group, but each image",
    ),
  ],
)
def test_mistakes_are_one_line(capsys, monkeypatch, arguments, message):
  monkeypatch.chdir(ROOT)
  assert crossval.main(arguments) == 2
  said = capsys.readouterr().err
  assert message in said
  assert len(said.strip().splitlines()) == 1


def test_one_fold_per_group_counts_the_groups(monkeypatch):
  monkeypatch.chdir(ROOT)
  config = files.load_config("idc_v1:test")
  console = crossval.Console(quiet=True)
  assert crossval._count_folds(console, config, 0) == 40
