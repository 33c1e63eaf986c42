"""Tests of a run's folder."""

import dataclasses
import functools
import json
import os
import pathlib
import subprocess
import sys

import pytest

from mn_jax import config as config_lib
from mn_jax.config import changes
from mn_jax.data import manifest
from mn_jax.errors import InputError
from mn_jax.run import records, workdir
from mn_jax.run.workdir import Workdir

_config = functools.partial(
  config_lib.Config, train=config_lib.TrainConfig(steps=10)
)
_HOLD = """
import pathlib, sys
from mn_jax.run.workdir import Workdir

folder = Workdir(pathlib.Path(sys.argv[1]), first_process=True)
print("held", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def folder(tmp_path):
  workdir = Workdir(tmp_path / "a" / "run", first_process=True)
  yield workdir
  workdir.close()


def test_a_folder_held_by_another_process_is_refused(tmp_path):
  with subprocess.Popen(
    [sys.executable, "-c", _HOLD, str(tmp_path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == "held\n"
    with pytest.raises(
      InputError, match="in which another process is training; valid: anot"
    ):
      Workdir(tmp_path, first_process=True)
    # The other processes of one run do not lock.
    Workdir(tmp_path, first_process=False).close()
    process.communicate("\n")
  # A process that ended without `close` holds nothing.
  Workdir(tmp_path, first_process=True).close()


def test_close_releases_the_folder_and_removes_it_if_empty(tmp_path):
  path = tmp_path / "a" / "run"
  for content in ([], ["a.json"], ["a.json"]):
    folder = Workdir(path, first_process=True)
    assert folder.path == path
    assert path.is_dir()
    for name in content:
      folder.write_json(name, {})
    folder.close()
    assert path.exists() == bool(content)
  assert [p.name for p in path.iterdir()] == ["a.json"]


def test_a_path_that_cannot_be_written_is_refused(tmp_path):
  path = tmp_path / "run"
  path.write_text("a file")
  for first_process in (True, False):
    with pytest.raises(InputError, match=r"cannot be written \(File exists\)"):
      Workdir(path, first_process=first_process)
    with pytest.raises(InputError, match=r"cannot be written \(Not a director"):
      Workdir(path / "below", first_process=first_process)
  assert path.read_text() == "a file"
  if os.geteuid():  # root may write anywhere
    tmp_path.chmod(0o500)
    with pytest.raises(InputError, match=r"cannot be written \(Permission"):
      Workdir(tmp_path / "other", first_process=True)


def checked(folder, config, **options):
  """What differs from the config that the folder has."""
  another = Workdir(folder.path, first_process=False)
  another.check_config(config, **options)
  return another.changes


def saved(folder, name="config.json"):
  return records.read_object(folder.path / name)


def test_the_config_that_started_the_run_is_accepted(folder):
  config = _config(
    optim=config_lib.OptimConfig(schedule="step", decay_at=(0.1, 0.2))
  )
  assert checked(folder, config) == {}
  folder.write_config(config, step=0)
  # The tuple comes back from JSON as a list.
  assert checked(folder, config) == {}
  assert saved(folder)["config"] == json.loads(
    json.dumps(dataclasses.asdict(config))
  )


def test_fields_that_change_nothing_trained_may_change(folder):
  config = _config()
  folder.write_config(config, step=0)
  steps = []
  for step, other, fields in (
    (4, dataclasses.replace(config, experiment="b"), {"experiment": ["", "b"]}),
    (6, _config(train=config_lib.TrainConfig(steps=20, patience=2)), None),
    (5, _config(train=config_lib.TrainConfig(steps=30)), None),
  ):
    workdir = Workdir(folder.path, first_process=False)
    workdir.check_config(other)
    workdir.write_config(other, step)
    history = saved(folder)["history"]
    steps.append([entry["step"] for entry in history])
    assert fields in (None, history[-1]["fields"])
  # An older checkpoint was taken the last time: what came after it is gone.
  assert steps == [[4], [4, 6], [4, 5, 5]]
  assert history[-1]["fields"] == {
    "train.patience": [2, 0],
    "train.steps": [20, 30],
  }
  # From the start nothing was trained with other values.
  workdir.write_config(config, 0)
  assert saved(folder)["history"] == []


def test_what_changes_what_was_trained_is_refused(folder):
  cosine = config_lib.OptimConfig(schedule="cosine")
  for before, now, expected in (
    ({}, {"train": {"steps": 9}}, "10 there, 9 now, and a run can only grow"),
    ({}, {"train": {"epochs": 2.0}}, "10 there, 0 now, and a run can only g"),
    (
      {"optim": cosine},
      {"train": {"steps": 11}, "optim": cosine},
      "11 now, on which the learning rate of optim.schedule 'cosine' depends",
    ),
    ({}, {"optim": cosine}, "optim.schedule: 'constant' there, 'cosine' now"),
    ({}, {"seed": 2}, "seed: 0 there, 2 now"),
  ):
    folder.write_config(_config(**before), step=0)
    if "train" in now:
      now = {**now, "train": config_lib.TrainConfig(**now["train"])}
    with pytest.raises(InputError) as error:
      checked(folder, _config(**now))
    assert expected in str(error.value)
    assert str(error.value).count(" there, ") == 1
    assert "\n" not in str(error.value)
  # A complete run of a sweep must be the same in all that changes results.
  folder.write_config(_config(), step=0)
  longer = _config(train=config_lib.TrainConfig(steps=11))
  assert checked(folder, longer) == {"train.steps": (10, 11)}
  with pytest.raises(InputError, match="10 there, 11 now"):
    checked(folder, longer, same=True)


def test_another_config_is_refused_with_every_difference(folder):
  folder.write_config(_config(seed=1), step=0)
  other = _config(
    seed=2,
    model=config_lib.ModelConfig(width=0.5),
    optim=config_lib.OptimConfig(decay_at=(0.4,)),
  )
  with pytest.raises(InputError) as error:
    checked(folder, other)
  message = str(error.value)
  assert "model.width: 1.0 there, 0.5 now; " in message
  assert "optim.decay_at: [0.5, 0.75] there, [0.4] now; " in message
  assert "seed: 1 there, 2 now" in message
  assert message.count(" there, ") == 3
  assert "\n" not in message


def test_a_config_of_another_version(folder):
  """Fields added since have their defaults; those removed decide by kind."""
  folder.write_config(_config(), step=0)
  content = saved(folder)
  del content["config"]["model"]["dropout"]
  del content["config"]["checkpoint"]
  content["config"]["observe"]["colour"] = "red"
  folder.write_json("config.json", content)
  assert checked(folder, _config()) == {"observe.colour": ("red", None)}
  dropout = config_lib.ModelConfig(dropout=0.5)
  with pytest.raises(InputError, match=r"model\.dropout: 0\.0 there, 0\.5 n"):
    checked(folder, _config(model=dropout))
  content["result_fields"]["observe.colour"] = "red"
  folder.write_json("config.json", content)
  with pytest.raises(InputError, match=r"colour: 'red' there, unknown to thi"):
    checked(folder, _config())
  content["config"]["train"] = {"steps": "many"}
  folder.write_json("config.json", content)
  with pytest.raises(InputError, match=r"train\.steps: got 'many' of type str"):
    checked(folder, _config())


def test_a_lost_config_is_made_up_for_by_a_checkpoint(folder):
  path = folder.path / "config.json"
  digests = {"config": changes.sha256(_config())}
  (folder.path / "checkpoints" / "3").mkdir(parents=True)
  for damage in (path.unlink, lambda: path.write_text("{")):
    folder.write_config(_config(), step=0)
    damage()
    workdir = Workdir(folder.path, first_process=False)
    workdir.check_config(_config())
    assert workdir.config_is_lost
    workdir.check_origin(digests, digests)
    for before in ({}, {"config": changes.sha256(_config(seed=3))}):
      with pytest.raises(InputError, match=r"no config\.json that can be read"):
        workdir.check_origin(digests, before)
  # Without checkpoints a run that has ended cannot be told from another.
  (folder.path / "checkpoints" / "3").rmdir()
  checked(folder, _config())
  folder.write_json("summary.json", {})
  with pytest.raises(InputError, match=r"whose config\.json cannot be read"):
    checked(folder, _config())


def test_other_data_is_refused_with_both_digests(folder):
  digests = {"split": "a" * 64, "images": "c" * 64, "weights": "e" * 64}
  digests |= {"labels": "1" * 64}
  workdir.check_data(folder.path, digests)
  content = {"sha256": "a" * 64, "images_sha256": "c" * 64}
  content |= {"seed": 0, "notes": [], "images": {}}
  # Earlier versions did not write down the labels.
  folder.write_json("split.json", content)
  workdir.check_data(folder.path, {**digests, "labels": "2" * 64})
  folder.write_json("split.json", {**content, "labels_sha256": "1" * 64})
  workdir.check_data(folder.path, digests)
  for other, shown in (
    ({"split": "b" * 64}, "another split than .* b{16}, not a{16}"),
    ({"images": "d" * 64}, "other images than .* d{16}, not c{16}"),
    ({"weights": "f" * 64}, "other weights than .* f{16}, not e{16}"),
    ({"labels": "2" * 64}, "other labels than .* 2{16}, not 1{16}"),
  ):
    with pytest.raises(InputError, match=shown):
      folder.check_origin({**digests, **other}, digests)
    if "weights" not in other:
      with pytest.raises(InputError, match=shown):
        workdir.check_data(folder.path, {**digests, **other})
  # What a damaged file, or an older version, does not tell is not compared.
  (folder.path / "split.json").write_text("{")
  workdir.check_data(folder.path, {**digests, "split": "b" * 64})
  folder.check_origin(digests, {"split": "a" * 64})


def test_json_is_written_at_once_or_not_at_all(folder, monkeypatch):
  path = folder.path / "a.json"
  folder.write_json("a.json", {"x": 1})
  with pytest.raises(TypeError):
    folder.write_json("a.json", {"x": object()})
  assert records.read_object(path) == {"x": 1}
  folder.write_json("a.json", {"x": [2, None, "ü"]})
  assert records.read_object(path) == {"x": [2, None, "ü"]}
  assert {p.name for p in folder.path.iterdir()} == {".lock", "a.json"}

  def killed(self, target):
    raise KeyboardInterrupt

  monkeypatch.setattr(pathlib.Path, "replace", killed)
  with pytest.raises(KeyboardInterrupt):
    folder.write_json("a.json", {"x": 3})
  assert records.read_object(path) == {"x": [2, None, "ü"]}


@pytest.mark.parametrize(
  "name", ["a[1]", "a*", "a?", "a\\b", "gs:", "gs:/b", "caf\udce9"]
)
def test_a_folder_where_checkpoints_would_be_lost_is_refused(name, tmp_path):
  """All were found damaged when they were read."""
  for path in (tmp_path / name, tmp_path / name / "run"):
    with pytest.raises(InputError, match="where no checkpoint can be saved"):
      Workdir(path, first_process=True)
  assert not [*tmp_path.iterdir()]


def test_a_folder_of_the_images_is_no_workdir(tmp_path):
  data, cache = tmp_path / "data", tmp_path / "cache"
  for name in ("train/cat", "train/dog"):
    (data / name).mkdir(parents=True)
    (data / name / "1.PNG").touch()
  manifest.write(
    "image_folder", cache, {"path": str(data), "fingerprint": "", "schema": 1}
  )
  (tmp_path / "link").symlink_to(data)
  before = sorted(tmp_path.rglob("*"))
  tables = (tmp_path / "t.csv", data / "t.csv")
  for source, root in (
    *((source, "") for source in (str(data), str(tmp_path / "link"), "")),
    *zip(map(str, tables), (str(data), ""), strict=True),
  ):
    section = config_lib.DataConfig(
      name="image_folder", path=source, root=root, cache_dir=str(cache)
    )
    config = _config(data=section)
    for place in (".", "../link", "train", "train/cat"):
      with (
        pytest.raises(InputError, match="a folder of the images in"),
        workdir.opened(config, data / place, first_process=True),
      ):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    for place in (data / "runs/1", tmp_path):
      with workdir.opened(config, place, first_process=True):
        pass
    (data / "runs").rmdir()
