"""Tests of tables: CSV, TSV and Parquet."""

import sys

import pyarrow
import pytest
from pyarrow import parquet

from mn_jax.data.files import table as table_lib
from mn_jax.errors import InputError


@pytest.fixture
def read(tmp_path):
  """Reads a table of some bytes."""

  def read_(data: bytes, name: str = "t.csv") -> table_lib.Table:
    (tmp_path / name).write_bytes(data)
    return table_lib.read(tmp_path / name)

  return read_


def _columns(table: table_lib.Table) -> dict[str, list[str]]:
  return {name: table.column(name, "file") for name in table.names}


def test_text_is_read_as_spreadsheets_write_it(read):
  expected = {"path": ["a.png", "b,;.png", ""], "label": ["cat", "dö\tg", "x"]}
  for data, name in (
    (b'path,label\na.png,cat\n"b,;.png",d\xc3\xb6\tg\n,x\n', "t.csv"),
    (
      b'\xef\xbb\xbfpath , label\r\na.png, cat \r\n"b,;.png",d\xc3\xb6\tg\n,x',
      "t.CSV",
    ),
    (b'path;label\na.png;cat\n"b,;.png";d\xc3\xb6\tg\n;x\n', "t.csv"),
    (b'path\tlabel\na.png\tcat\n\nb,;.png\t"d\xc3\xb6\tg"\n\tx\n\n', "t.tsv"),
  ):
    table = read(data, name)
    assert _columns(table) == expected
    assert len(table) == 3
    assert bool(table.notes) == (b"path;label" in data)
  # Blank lines and line breaks in cells count as lines.
  table = read(b'path,label\n\n"a\nb",x\nc,y\n')
  assert [table.place(row) for row in range(2)] == ["line 3", "line 5"]


def test_what_is_no_table_is_refused(read, tmp_path):
  for data, message in (
    (b"", "has no row; valid: a table"),
    (b"path,label\n", "has no row"),
    (b"path,label\na,b,c\n", "3 cells in line 2; valid: 2, as in the header"),
    (b"path,label\na,b\n\nc\n", "1 cells in line 4; valid: 2"),
    (b"path,label,path\na,b,c\n", "the column 'path' twice"),
    (b"path,label\na,\xe9\n", "no UTF-8 (line 2); valid: a table saved as UTF"),
    ("path,label\na,b\n".encode("utf-16"), "no UTF-8 (line 1)"),
    ("path,label\na,b\n".encode("utf-16-le"), "zero bytes"),
    (b'path,label\na,"b\nc,d\n', "an error in line 2 ("),
    (b'path,label\n"a"b,c\n', "an error in line 2 ("),
    (b'"pa\nth",label\na,b\n', "the column 'pa\\nth' with a control character"),
  ):
    with pytest.raises(InputError) as caught:
      read(data)
    assert message in str(caught.value), data
    assert "\n" not in str(caught.value)
  with pytest.raises(
    InputError, match=r"'labels'; valid: a column of t.csv, '"
  ):
    read(b"path,label\na,b\n").column("labels", "label")
  for data in (b"", b"PAR1" + bytes(50) + b"PAR1", b"path,label\na,b\n"):
    with pytest.raises(InputError, match="has no readable Parquet"):
      read(data, "t.parquet")
  (tmp_path / "d.csv").mkdir()
  assert not table_lib.is_table(tmp_path / "d.csv")
  assert not table_lib.is_table(tmp_path / "d.zip")


def test_parquet_is_read_as_text(tmp_path, monkeypatch):
  path = tmp_path / "t.parquet"
  columns = {
    "path": ["a.png", "b.png", None],
    "label": pyarrow.array(["x", "y", "x"]).dictionary_encode(),
    "number": [1, 2, None],
    # As pandas writes a column of numbers with a gap.
    "share": pyarrow.array([0.5, float("nan"), None]),
    "yes": [True, False, None],
    "list": [[1], [], None],
  }
  parquet.write_table(pyarrow.table(columns), path)
  table = table_lib.read(path)
  with pytest.raises(InputError, match=r"type list.* in the column 'list'"):
    table.column("list", "label")
  assert table.names == tuple(columns)
  assert {n: table.column(n, "label") for n in table.names[:-1]} == {
    "path": ["a.png", "b.png", ""],
    "label": ["x", "y", "x"],
    "number": ["1", "2", ""],
    "share": ["0.5", "", ""],
    "yes": ["True", "False", ""],
  }
  assert table.place(2) == "row 3"
  monkeypatch.setitem(sys.modules, "pyarrow", None)
  with pytest.raises(InputError, match=r"pip install '.\[parquet\]'` in a"):
    table_lib.read(path)
