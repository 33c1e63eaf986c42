"""Tests of writing a generated data set once, completely or not at all."""

import json
import pathlib
import subprocess
import sys

import pytest

from mn_jax.data.samples import folder

_MARKER = {"sample": "toy", "version": 1, "count": 3}
_FILES = ["SAMPLE.json", "a.txt", "b.txt", "c.txt"]


def _write(temp: pathlib.Path) -> None:
  for name in _FILES[1:]:
    (temp / name).write_text(name)


def _names(root: pathlib.Path) -> list[str]:
  return sorted(path.name for path in root.iterdir())


def test_a_missing_or_empty_folder_is_filled_once(tmp_path):
  (tmp_path / "deep/empty").mkdir(parents=True)
  for name in ("empty", "root"):
    root = tmp_path / "deep" / name
    folder.write_once(root, _write, _MARKER)
    assert _names(root) == _FILES
    assert json.loads((root / "SAMPLE.json").read_text()) == _MARKER
  assert not list(tmp_path.rglob("*.partial"))
  (root / "a.txt").unlink()
  folder.write_once(root, None, _MARKER)  # A call would raise.
  assert "a.txt" not in _names(root)


def test_anything_else_in_its_place_is_refused(tmp_path):
  def refuse(root, message):
    with pytest.raises(FileExistsError, match=message) as error:
      folder.write_once(root, _write, _MARKER)
    assert "\n" not in str(error.value)

  for name in ("patch.png", "SAMPLE.json"):
    path = tmp_path / name
    path.write_text("not ours")
    refuse(tmp_path, "is not a sample")
    refuse(path, "is not a sample")
    assert path.read_text() == "not ours"
    assert _names(tmp_path) == [name]
    path.unlink()
  for other in ({"sample": "x"}, {"version": 0}, {"count": 4}, {"seed": 1}):
    (tmp_path / "SAMPLE.json").write_text(json.dumps({**_MARKER, **other}))
    refuse(tmp_path, "is another sample")


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt])
def test_failure_midway_leaves_nothing(tmp_path, error):
  def fail(temp):
    _write(temp)
    raise error("disk full")

  with pytest.raises(error, match="disk full"):
    folder.write_once(tmp_path / "root", fail, _MARKER)
  assert _names(tmp_path) == ["root.lock"]
  folder.write_once(tmp_path / "root", _write, _MARKER)
  assert _names(tmp_path / "root") == _FILES


def test_what_a_killed_process_left_is_removed(tmp_path):
  (tmp_path / "root.partial/90001").mkdir(parents=True)
  folder.write_once(tmp_path / "root", _write, _MARKER)
  assert _names(tmp_path) == ["root", "root.lock"]
  assert _names(tmp_path / "root") == _FILES


def test_foreign_files_that_appear_meanwhile_are_kept(tmp_path):
  def write_late(temp):
    (tmp_path / "root/foreign").mkdir(parents=True)

  with pytest.raises(OSError, match="not empty"):
    folder.write_once(tmp_path / "root", write_late, _MARKER)
  assert _names(tmp_path / "root") == ["foreign"]
  assert _names(tmp_path) == ["root", "root.lock"]


def test_two_processes_at_once(tmp_path):
  code = (
    "import pathlib, sys; from mn_jax.data.samples import patches;"
    "patches.write_sample(pathlib.Path(sys.argv[1]), num_patients=2,"
    " patches_per_patient=16)"
  )
  command = [sys.executable, "-c", code, str(tmp_path / "root")]
  cwd = pathlib.Path(__file__).parents[3]
  processes = [subprocess.Popen(command, cwd=cwd) for _ in range(2)]
  for process in processes:
    assert process.wait(timeout=60) == 0
  assert _names(tmp_path) == ["root", "root.lock"]
  assert len(list((tmp_path / "root").rglob("*.png"))) == 32
