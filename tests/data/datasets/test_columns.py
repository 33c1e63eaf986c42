"""Tests of which column of a table holds what."""

import pathlib

import pytest

from mn_jax.data.datasets import columns
from mn_jax.data.files import table
from mn_jax.errors import InputError


def test_paths_are_relative_to_the_table_or_to_a_root_that_exists(tmp_path):
  path = tmp_path / "t.csv"
  assert columns.Columns().root_of(path) == tmp_path
  root = tmp_path / "images.zip"
  root.touch()
  assert columns.Columns(root=str(root)).root_of(path) == root
  missing = columns.Columns(root=str(tmp_path / "none"))
  with pytest.raises(InputError, match="none', which does not exist; valid: t"):
    missing.root_of(path)


def test_a_root_may_be_under_the_home_folder(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path))
  (tmp_path / "images").mkdir()
  found = columns.Columns(root="~/images").root_of(pathlib.Path("t.csv"))
  assert found == tmp_path / "images"


@pytest.mark.parametrize(
  ("header", "name"),
  [
    ("Image-Path,label", "Image-Path"),
    ("id,FILE  NAME", "FILE  NAME"),
    ("a,b", None),
    ("path,image", None),
  ],
)
def test_a_column_is_found_by_a_usual_name_alone(tmp_path, header, name):
  path = tmp_path / "t.csv"
  path.write_text(f"{header}\n1,2\n")
  if name is not None:
    assert columns.find(table.read(path), "file") == name
    return
  with pytest.raises(InputError, match=r"data\.file: got nothing, and "):
    columns.find(table.read(path), "file")


def test_a_column_in_use_is_not_pointed_out(tmp_path):
  path = tmp_path / "t.csv"
  path.write_text("path,label,patient,Study ID\na,b,c,d\n")
  read = table.read(path)
  assert len(columns.point_out(read, columns.Columns())) == 2
  used = columns.Columns(attributes=("patient",))
  (note,) = columns.point_out(read, used)
  assert note.startswith("the column 'Study ID' is not used; data.group=Study")
  assert columns.point_out(read, columns.Columns(group="patient")) == []
