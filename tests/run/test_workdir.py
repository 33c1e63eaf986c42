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
from mn_jax.errors import InputError
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


def test_the_config_that_started_the_run_is_accepted(folder):
  config = _config(
    optim=config_lib.OptimConfig(schedule="step", decay_at=(0.1, 0.2))
  )
  folder.check_config(config)
  folder.write_config(config)
  # The tuple comes back from JSON as a list.
  folder.check_config(config)
  assert folder.read_json("config.json")["config"] == json.loads(
    json.dumps(dataclasses.asdict(config))
  )
  # Fields that change no number may differ.
  moved = dataclasses.replace(config.data, path="/moved/to.zip")
  folder.check_config(
    dataclasses.replace(config, experiment="renamed", data=moved)
  )


def test_another_config_is_refused_with_every_difference(folder):
  folder.write_config(_config(seed=1))
  # A field of another version is a difference too.
  content = folder.read_json("config.json")
  content["result_fields"]["model.depth"] = 3
  del content["result_fields"]["model.dropout"]
  folder.write_json("config.json", content)
  other = _config(
    seed=2,
    model=config_lib.ModelConfig(width=0.5),
    optim=config_lib.OptimConfig(decay_at=(0.4,)),
  )
  with pytest.raises(InputError) as error:
    folder.check_config(other)
  message = str(error.value)
  assert "model.width: 1.0 there, 0.5 now; " in message
  assert "optim.decay_at: [0.5, 0.75] there, [0.4] now; " in message
  assert "model.depth: 3 there, None now" in message
  assert "model.dropout: None there, 0.0 now" in message
  assert "seed: 1 there, 2 now" in message
  assert message.count(" there, ") == 5
  assert "\n" not in message


def test_unreadable_descriptions_are_refused(folder):
  def check_weights():
    folder.check_weights("e" * 64)

  for name, check, texts in (
    (
      "config",
      lambda: folder.check_config(_config()),
      ("", "{", "[]", "{}", '{"config": {}}'),
    ),
    ("network", check_weights, ("", "[]", "{}")),
  ):
    for text in texts:
      (folder.path / f"{name}.json").write_text(text)
      with pytest.raises(InputError, match=rf"whose {name}\.json cannot be re"):
        check()
  (folder.path / "config.json").unlink()
  (folder.path / "checkpoints" / "3").mkdir(parents=True)
  with pytest.raises(InputError, match=r"checkpoints but no config\.json"):
    folder.check_config(_config())


def test_other_data_is_refused_with_both_digests(folder):
  digests = {"split": "a" * 64, "images": "c" * 64}
  folder.check_data(digests)
  folder.write_json(
    "split.json", {"sha256": "a" * 64, "images_sha256": "c" * 64}
  )
  folder.check_data(digests)
  for other, shown in (
    ({"split": "b" * 64}, "the split is b{16},.* with a{16};"),
    ({"images": "d" * 64}, "the images is d{16},.* with c{16};"),
  ):
    with pytest.raises(InputError, match=shown):
      folder.check_data({**digests, **other})
  # A checkpoint knows its split whatever the file says.
  folder.check_data(digests, digests)
  with pytest.raises(InputError, match=r"split is a{16},.* with b{16};"):
    folder.check_data(digests, {**digests, "split": "b" * 64})


def test_json_is_written_at_once_or_not_at_all(folder, monkeypatch):
  assert folder.read_json("a.json") is None
  folder.write_json("a.json", {"x": 1})
  with pytest.raises(TypeError):
    folder.write_json("a.json", {"x": object()})
  assert folder.read_json("a.json") == {"x": 1}
  folder.write_json("a.json", {"x": [2, None, "ü"]})
  assert folder.read_json("a.json") == {"x": [2, None, "ü"]}
  assert {p.name for p in folder.path.iterdir()} == {".lock", "a.json"}

  def killed(self, target):
    raise KeyboardInterrupt

  monkeypatch.setattr(pathlib.Path, "replace", killed)
  with pytest.raises(KeyboardInterrupt):
    folder.write_json("a.json", {"x": 3})
  assert folder.read_json("a.json") == {"x": [2, None, "ü"]}
