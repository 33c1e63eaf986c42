"""Tests of writing a generated data set once, completely or not at all."""

import json
import pathlib
import subprocess
import sys

import pytest

from mn_jax.data.samples import folder

_OPTIONS = {"name": "toy", "version": 1, "seed": (0, 0, 9), "count": (3, 1, 9)}
_MARKER = {"sample": "toy", "version": 1, "seed": 0, "count": 3}
_FILES = ["SAMPLE.json", "a.txt", "b.txt", "c.txt"]


def _write(temp: pathlib.Path) -> None:
  for name in _FILES[1:]:
    (temp / name).write_text(name)


def _names(root: pathlib.Path) -> list[str]:
  return sorted(path.name for path in root.iterdir())


def test_files_and_marker_are_written(tmp_path):
  folder.write_once(tmp_path / "deep/root", _write, **_OPTIONS)
  assert _names(tmp_path / "deep") == ["root", "root.lock"]
  assert _names(tmp_path / "deep/root") == _FILES
  assert json.loads((tmp_path / "deep/root/SAMPLE.json").read_text()) == _MARKER


def test_a_finished_folder_is_left_alone(tmp_path):
  root = tmp_path / "root"
  folder.write_once(root, _write, **_OPTIONS)
  (root / "a.txt").unlink()
  folder.write_once(root, None, **_OPTIONS)  # A call would raise.
  assert "a.txt" not in _names(root)


def test_an_empty_folder_is_filled(tmp_path):
  folder.write_once(tmp_path, _write, **_OPTIONS)
  assert _names(tmp_path) == _FILES


@pytest.mark.parametrize("name", ["patch.png", "SAMPLE.json"])
def test_a_foreign_folder_is_refused(tmp_path, name):
  (tmp_path / name).write_text("not ours")
  with pytest.raises(FileExistsError, match="is not a sample") as error:
    folder.write_once(tmp_path, _write, **_OPTIONS)
  assert "\n" not in str(error.value)
  assert _names(tmp_path) == [name]
  assert (tmp_path / name).read_text() == "not ours"


def test_a_file_in_place_of_the_folder_is_refused(tmp_path):
  root = tmp_path / "root"
  root.write_text("not ours")
  with pytest.raises(FileExistsError, match="is not a sample"):
    folder.write_once(root, _write, **_OPTIONS)
  assert root.read_text() == "not ours"


def test_a_sample_of_another_name_version_or_parameter_is_refused(tmp_path):
  for other in ({"sample": "x"}, {"version": 0}, {"seed": 1}, {"count": 4}):
    (tmp_path / "SAMPLE.json").write_text(json.dumps({**_MARKER, **other}))
    with pytest.raises(FileExistsError, match="is another sample") as error:
      folder.write_once(tmp_path, _write, **_OPTIONS)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt])
def test_failure_midway_leaves_nothing(tmp_path, error):
  def fail(temp):
    _write(temp)
    raise error("disk full")

  with pytest.raises(error, match="disk full"):
    folder.write_once(tmp_path / "root", fail, **_OPTIONS)
  assert _names(tmp_path) == ["root.lock"]
  folder.write_once(tmp_path / "root", _write, **_OPTIONS)
  assert _names(tmp_path / "root") == _FILES


def test_what_a_killed_process_left_is_removed(tmp_path):
  (tmp_path / "root.partial/90001").mkdir(parents=True)
  folder.write_once(tmp_path / "root", _write, **_OPTIONS)
  assert _names(tmp_path) == ["root", "root.lock"]
  assert _names(tmp_path / "root") == _FILES


def test_foreign_files_that_appear_meanwhile_are_kept(tmp_path):
  def write_late(temp):
    (tmp_path / "root/foreign").mkdir(parents=True)

  with pytest.raises(OSError, match="not empty"):
    folder.write_once(tmp_path / "root", write_late, **_OPTIONS)
  assert _names(tmp_path / "root") == ["foreign"]
  assert _names(tmp_path) == ["root", "root.lock"]


def test_two_processes_at_once(tmp_path):
  code = (
    "import pathlib, sys; from mn_jax.data.samples import patches;"
    "print(patches.write_sample(pathlib.Path(sys.argv[1]), num_patients=2,"
    " patches_per_patient=16))"
  )
  command = [sys.executable, "-c", code, str(tmp_path / "root")]
  cwd = pathlib.Path(__file__).parents[3]
  processes = [
    subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    for _ in range(2)
  ]
  for process in processes:
    assert process.communicate(timeout=60)[0] == "32\n"
    assert process.returncode == 0
  assert _names(tmp_path) == ["root", "root.lock"]
  assert len(list((tmp_path / "root").rglob("*.png"))) == 32


@pytest.mark.parametrize("wrong", [{"seed": (-1, 0, 9)}, {"count": (10, 1, 9)}])
def test_a_number_out_of_range_is_refused(tmp_path, wrong):
  with pytest.raises(ValueError, match=rf"{next(iter(wrong))} must be in \["):
    folder.write_once(tmp_path / "root", _write, **{**_OPTIONS, **wrong})
  assert _names(tmp_path) == []
