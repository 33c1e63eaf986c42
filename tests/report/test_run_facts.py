"""Tests of what a page says of a run's set-up, and of its command."""

import dataclasses
import shlex

import ml_collections

from mn_jax.config import changes, checks, files
from mn_jax.report import run_analysis, run_command, run_facts
from tests.report import toy_runs as toy


def of_config(tmp_path, name, **sections):
  """An analysis of a run of a config; the rest is a toy's."""
  analysis = run_analysis.analyze(toy.write(tmp_path / "run"))
  config = changes.plain(files.read_config(name).to_dict())
  for section, fields in sections.items():
    config[section] |= fields
  return dataclasses.replace(analysis, config={"config": config})


def test_facts_name_what_was_chosen(tmp_path):
  analysis = of_config(
    tmp_path,
    "idc_v1",
    optim={"name": "sgd", "momentum": 0.8, "weight_decay": 5e-4},
    train={"label_smoothing": 0.1, "batch_size": 48, "patience": 2},
    augment={"stain": 0.2},
    model={"width": 0.5},
  )
  facts = dict(run_facts.facts(analysis))
  assert facts["optimizer"] == (
    "sgd, momentum 0.8, nesterov, weight decay 0.0005, batches of 48"
  )
  assert facts["learning rate"] == ("0.001, cosine, after a warm-up of 1 epoch")
  assert "width 0.5" in facts["network"]
  assert "stain 0.2" in facts["augmentation"]
  assert facts["also"] == "label smoothing 0.1"
  assert "ends after 2 validations without a better one" in facts["length"]
  assert facts["weights"] == "none: randomly initialised"
  assert facts["images"] == "idc: training 300, validation 60, test 91"


def test_facts_name_what_was_done_to_images_and_rates(tmp_path):
  analysis = of_config(
    tmp_path,
    "idc_v1",
    data={"stain_normalisation": "macenko", "sampling": "balanced"},
    optim={
      "name": "rmsprop",
      "schedule": "exponential",
      "decay_factor": 0.97,
      "decay_every_epochs": 2.4,
    },
  )
  facts = dict(run_facts.facts(analysis))
  assert "stain normalisation macenko" in facts["also"]
  assert "sampling balanced" in facts["also"]
  assert facts["optimizer"].startswith("rmsprop, momentum 0.9, ")
  assert facts["learning rate"] == (
    "0.001, exponential times 0.97 every 2.4 epochs, after a warm-up of 1 epoch"
  )


def test_groups_are_counted_by_their_name(tmp_path):
  analysis = of_config(tmp_path, "idc_v1")
  split = {**analysis.split, "kind": "fixed"}
  split["groups"] = {"train": ["a", "b"], "val": ["c"], "test": ["b", "d"]}
  shared = dataclasses.replace(analysis, split=split)
  assert run_facts.unit(shared) == "patient"
  facts = dict(run_facts.facts(shared))
  assert "test 91 of 2 patients" in facts["images"]
  assert "1 patient of the test in training or validation too" in facts["split"]
  # As it is kept: numbers alone.
  del split["groups"]
  split["group_counts"] = {"train": 2, "val": 1, "test": 2}
  assert run_facts.shared_groups(split) is None
  assert "training 300 of 2 patients" in run_facts.images(shared)
  without = dataclasses.replace(
    shared, test=dataclasses.replace(shared.test, groups=None)
  )
  assert run_facts.unit(without) == "image"


def test_the_command_repeats_the_config(tmp_path):
  """Read back, it has the fields of the run."""
  analysis = of_config(
    tmp_path,
    "idc_v1",
    data={"path": "/secret/place", "split": "random"},
    train={"epochs": 7.0},
    optim={"rules": [".*/kernel", ".* wd=0 lr=0.5"]},
  )
  command = shlex.split(run_command.of_run(analysis))
  assert command[:4] == ["python", "-m", "mn_jax.main", "--config=idc_v1"]
  assert "secret" not in " ".join(command)
  config = files.load_config("idc_v1", command[4:])
  wanted = analysis.config["config"]
  wanted["data"]["path"] = ""
  assert config == checks.from_config_dict(ml_collections.ConfigDict(wanted))


def test_the_command_of_images_of_ones_own(tmp_path):
  analysis = of_config(
    tmp_path,
    "idc_v1",
    data={"name": "image_folder", "path": "/secret/photos"},
  )
  analysis = dataclasses.replace(
    analysis, summary={**analysis.summary, "experiment": "photos"}
  )
  command = run_command.of_run(analysis)
  assert command.startswith("python -m mn_jax.main --data=photos ")
  assert "secret" not in command
  kept = {**analysis.summary, "kept": {"command": "repeat it"}}
  analysis = dataclasses.replace(analysis, summary=kept)
  assert run_command.of_run(analysis) == "repeat it"
