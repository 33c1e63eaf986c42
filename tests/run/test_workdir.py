"""Tests of a run's folder."""

import contextlib
import dataclasses
import json
import os
import pathlib
import subprocess
import sys

import pytest

from mn_jax import config as config_lib
from mn_jax.errors import InputError
from mn_jax.run.workdir import Workdir

_HOLD = """
import pathlib, sys
from mn_jax.run.workdir import Workdir

folder = Workdir(pathlib.Path(sys.argv[1]), first_process=True)
print("held", flush=True)
sys.stdin.readline()
if "close" in sys.argv:
  folder.close()
"""


@pytest.fixture
def folder(tmp_path):
  workdir = Workdir(tmp_path / "a" / "run", first_process=True)
  yield workdir
  workdir.close()


def _config(**changes) -> config_lib.Config:
  return dataclasses.replace(
    config_lib.Config(),
    train=config_lib.TrainConfig(steps=10),
    **changes,
  )


@contextlib.contextmanager
def _held_by_another(path: pathlib.Path):
  with subprocess.Popen(
    [sys.executable, "-c", _HOLD, str(path)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as process:
    assert process.stdout.readline() == "held\n"
    yield process


def test_the_folder_is_created(folder, tmp_path):
  assert folder.path == tmp_path / "a" / "run"
  assert folder.path.is_dir()


def test_a_folder_held_by_another_process_is_refused(tmp_path):
  with _held_by_another(tmp_path) as process:
    with pytest.raises(
      InputError, match="in which another process is training; valid: anot"
    ):
      Workdir(tmp_path, first_process=True)
    # The other processes of one run do not lock.
    Workdir(tmp_path, first_process=False).close()
    process.communicate("\n")
  # A process that ended without `close` holds nothing.
  Workdir(tmp_path, first_process=True).close()


def test_one_process_may_hold_it_again_after_close(tmp_path):
  for _ in range(2):
    folder = Workdir(tmp_path / "run", first_process=True)
    folder.write_json("a.json", {})
    folder.close()
  assert [p.name for p in (tmp_path / "run").iterdir()] == ["a.json"]


def test_close_leaves_no_empty_folder(tmp_path):
  Workdir(tmp_path / "run", first_process=True).close()
  assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("first_process", [True, False])
def test_a_file_is_no_folder(tmp_path, first_process):
  path = tmp_path / "run"
  path.write_text("mine")
  with pytest.raises(InputError, match=r"cannot be written \(File exists\)"):
    Workdir(path, first_process=first_process)
  with pytest.raises(InputError, match=r"cannot be written \(Not a director"):
    Workdir(path / "below", first_process=first_process)
  assert path.read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
  tmp_path.chmod(0o500)
  with pytest.raises(InputError, match=r"cannot be written \(Permission"):
    Workdir(tmp_path / "run", first_process=True)


def test_the_config_that_began_it_is_accepted(folder):
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


def test_another_config_is_refused_with_every_difference(folder):
  folder.write_config(_config(seed=1))
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
  assert "seed: 1 there, 2 now)" in message
  assert message.count(" there, ") == 3
  assert "\n" not in message


def test_fields_that_change_no_number_may_differ(folder):
  folder.write_config(_config())
  folder.check_config(
    _config(
      experiment="renamed", data=config_lib.DataConfig(path="/moved/to.zip")
    )
  )


def test_a_field_of_another_version_is_a_difference(folder):
  folder.write_config(_config())
  content = folder.read_json("config.json")
  del content["result_fields"]["model.width"]
  content["result_fields"]["model.depth"] = 3
  folder.write_json("config.json", content)
  with pytest.raises(InputError) as error:
    folder.check_config(_config())
  assert "model.depth: 3 there, None now" in str(error.value)
  assert "model.width: None there, 1.0 now" in str(error.value)


SPLIT = {"sha256": "a" * 64, "images_sha256": "c" * 64}
DIGESTS = {"split": "a" * 64, "images": "c" * 64}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"config": {}}'])
def test_a_config_that_cannot_be_read_is_refused(folder, text):
  (folder.path / "config.json").write_text(text)
  with pytest.raises(InputError, match=r"whose config\.json cannot be read"):
    folder.check_config(_config())


def test_the_split_that_began_it_is_accepted(folder):
  folder.check_data(DIGESTS)
  folder.write_json("split.json", SPLIT)
  folder.check_data(DIGESTS)


@pytest.mark.parametrize(
  ("split", "images", "shown"),
  [
    ("b", "c", "the split is b{16},.* with a{16};"),
    ("a", "d", "the images is d{16},.* with c{16};"),
  ],
)
def test_other_images_are_refused_with_both_digests(
  folder, split, images, shown
):
  folder.write_json("split.json", SPLIT)
  with pytest.raises(InputError, match=shown):
    folder.check_data({"split": split * 64, "images": images * 64})


def test_a_checkpoint_knows_its_split_whatever_the_file_says(folder):
  folder.write_json("split.json", SPLIT)
  folder.check_data(DIGESTS, DIGESTS)
  with pytest.raises(InputError, match=r"split is a{16},.* with b{16};"):
    folder.check_data(DIGESTS, {"split": "b" * 64, "images": "c" * 64})


def test_the_weights_that_began_it_are_accepted(folder):
  folder.check_weights("e" * 64)
  folder.write_json("network.json", {"weights": {"sha256": "e" * 64}})
  folder.check_weights("e" * 64)


def test_other_weights_are_refused_with_both_digests(folder):
  folder.write_json("network.json", {"weights": {"sha256": "e" * 64}})
  with pytest.raises(InputError, match=r"sha256 f{16}, but .* with e{16};"):
    folder.check_weights("f" * 64)


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_network_that_cannot_be_read_is_refused(folder, text):
  (folder.path / "network.json").write_text(text)
  with pytest.raises(InputError, match=r"whose network\.json cannot be read"):
    folder.check_weights("e" * 64)


def test_checkpoints_without_a_config_are_refused(folder):
  (folder.path / "checkpoints" / "3").mkdir(parents=True)
  with pytest.raises(InputError, match=r"checkpoints but no config\.json"):
    folder.check_config(_config())


def test_json_is_written_at_once_or_not_at_all(folder):
  folder.write_json("a.json", {"x": 1})
  with pytest.raises(TypeError):
    folder.write_json("a.json", {"x": object()})
  assert folder.read_json("a.json") == {"x": 1}
  folder.write_json("a.json", {"x": [2, None, "ü"]})
  assert folder.read_json("a.json") == {"x": [2, None, "ü"]}
  assert {p.name for p in folder.path.iterdir()} == {".lock", "a.json"}


def test_a_torn_write_leaves_the_old_file(folder, monkeypatch):
  folder.write_json("a.json", {"x": 1})

  def killed(self, target):
    raise KeyboardInterrupt

  monkeypatch.setattr(pathlib.Path, "replace", killed)
  with pytest.raises(KeyboardInterrupt):
    folder.write_json("a.json", {"x": 2})
  assert folder.read_json("a.json") == {"x": 1}


def test_no_json_is_none(folder):
  assert folder.read_json("summary.json") is None
