"""Tables in files, CSV, TSV and Parquet, as columns of text."""

import csv
import dataclasses
import io
import pathlib
from collections.abc import Callable, Iterable, Sequence

from mn_jax.data.files import members
from mn_jax.errors import InputError, in_one_line

SUFFIXES = (".csv", ".tsv", ".parquet")
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_MAX_BYTES = 1 << 30
_MOST_NAMED = 20
# What programs write in place of a value, in lower case.
_NO_VALUES = ("nan", "na", "n/a", "<na>", "none", "null")


@dataclasses.dataclass(frozen=True)
class Table:
  """A table that is open, or in memory.

  Attributes:
    path: of its file.
    names: of its columns, unique.
    places: where each row is, counted from 1: its line in a file of text, its
      row in another.
    notes: what a reader should know of how it was read, a line each.
  """

  path: pathlib.Path
  names: tuple[str, ...]
  places: Sequence[int]
  notes: tuple[str, ...]
  _read: Callable[[int], list[str]]

  def __len__(self) -> int:
    return len(self.places)

  def column(self, name: str, field: str) -> list[str]:
    """Returns the cells of a column, without white space around them.

    Args:
      name: of the column.
      field: of the config, for errors.

    Raises:
      InputError: if there is no such column, or its cells are no text.
    """
    if name not in self.names:
      raise InputError(
        f"data.{field}: got {name!r}; valid: a column of {self.path.name}, "
        f"{shown(self.names)}"
      )
    return self._read(self.names.index(name))

  def place(self, row: int) -> str:
    """Returns where a row is: 'line 3'."""
    what = "row" if self.path.suffix.lower() == ".parquet" else "line"
    return f"{what} {self.places[row]}"

  def refuse(self, row: int, problem: str, valid: str) -> InputError:
    """Returns the error that refuses the table because of one row."""
    return InputError(
      f"data.path: {self.path.name}, {self.place(row)}: got {problem}; valid: "
      f"{valid}"
    )


def shown(names: Sequence[str]) -> str:
  """Returns names in one line; of many the first."""
  more = len(names) - _MOST_NAMED
  text = ", ".join(map(repr, names[:_MOST_NAMED]))
  return f"{text} and {more} more" if more > 0 else text


def without_value(cells: Iterable[str]) -> list[str]:
  """Returns in order which texts look as if a value were missing: 'nan'."""
  return sorted(x for x in {*cells} if x.lower() in _NO_VALUES)


def is_table(path: pathlib.Path) -> bool:
  """Returns whether a file is a table by its suffix."""
  return path.suffix.lower() in SUFFIXES and not path.is_dir()


def read(path: pathlib.Path) -> Table:
  """Reads a table: CSV or TSV in UTF-8 with a header, or Parquet.

  Raises:
    InputError: if it cannot be understood.
    OSError: if the file cannot be read.
  """
  if not path.is_file():
    raise InputError(f"data.path: got {str(path)!r}; valid: a file")
  table = (_parquet if path.suffix.lower() == ".parquet" else _text)(path)
  odd = [n for n in table.names if members.has_control_character(n)]
  twice = sorted({n for n in table.names if n and table.names.count(n) > 1})
  if odd or twice:
    problem = "with a control character" if odd else "twice"
    raise _refuse(path, f"the column {(odd or twice)[0]!r} {problem}")
  if not len(table):
    raise _refuse(path, "no row")
  if len(table) > members.MAX_MEMBERS:
    raise _refuse(path, f"more than {members.MAX_MEMBERS} rows")
  return table


def _refuse(
  path: pathlib.Path, problem: str, valid: str = "a table of images"
) -> InputError:
  return InputError(f"data.path: {path} has {problem}; valid: {valid}")


def _text(path: pathlib.Path) -> Table:
  """Reads CSV or TSV."""
  size = path.stat().st_size
  if size > _MAX_BYTES:
    raise _refuse(path, f"{size} bytes", f"at most {_MAX_BYTES}")
  data = path.read_bytes()
  try:
    text = data.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    line = data.count(b"\n", 0, error.start) + 1
    raise _refuse(
      path, f"bytes that are no UTF-8 (line {line})", "a table saved as UTF-8"
    ) from None
  if "\0" in text:
    raise _refuse(path, "zero bytes", "a table saved as UTF-8")
  delimiter = _DELIMITERS[path.suffix.lower()]
  first = text.lstrip().partition("\n")[0]
  notes = ()
  if delimiter not in first and ";" in first:
    delimiter = ";"
    notes = (f"columns of {path.name} are separated by semicolons",)
  reader = csv.reader(
    io.StringIO(text, newline=""), delimiter=delimiter, strict=True
  )
  header, rows, lines = None, [], []
  start = 1
  try:
    for cells in reader:
      if header is None and cells:
        header = cells
      elif cells:
        if len(cells) != len(header):
          raise _refuse(
            path,
            f"{len(cells)} cells in line {start}",
            f"{len(header)}, as in the header",
          )
        rows.append(cells)
        lines.append(start)
      start = reader.line_num + 1
  except csv.Error as error:
    raise _refuse(path, f"an error in line {start} ({error})") from None
  return Table(
    path,
    tuple(name.strip() for name in header or ()),
    lines,
    notes,
    lambda column: [cells[column].strip() for cells in rows],
  )


def _parquet(path: pathlib.Path) -> Table:
  """Opens a Parquet file; columns are read when they are asked for."""
  try:
    import pyarrow
    from pyarrow import parquet
  except ImportError:
    raise InputError(
      f"data.path: got {path.name!r}, which needs pyarrow; valid: after `pip "
      "install '.[parquet]'` in a checkout, or the table as .csv"
    ) from None
  try:
    file = parquet.ParquetFile(path)
    schema, count = file.schema_arrow, file.metadata.num_rows
  except (pyarrow.ArrowException, OSError) as error:
    raise _damaged(path, error) from None

  def read_column(index: int) -> list[str]:
    kind, types = schema.types[index], pyarrow.types
    if types.is_dictionary(kind):
      kind = kind.value_type
    if not any(
      test(kind)
      for test in (
        *(types.is_string, types.is_large_string, types.is_integer),
        *(types.is_floating, types.is_boolean, types.is_null),
      )
    ):
      raise _refuse(
        path,
        f"values of type {kind} in the column {schema.names[index]!r}",
        "text or numbers",
      )
    try:
      table = file.read([schema.names[index]])
    except (pyarrow.ArrowException, OSError) as error:
      raise _damaged(path, error) from None
    cells = []
    for value in table.column(0).to_pylist():
      # What pandas has no value for is NaN in a column of numbers.
      is_missing = value is None or value != value
      cells.append("" if is_missing else str(value).strip())
    return cells

  return Table(path, tuple(schema.names), range(1, count + 1), (), read_column)


def _damaged(path: pathlib.Path, error: Exception) -> Exception:
  """Returns what to raise for a Parquet file that pyarrow does not read."""
  if isinstance(error, OSError) and error.errno is not None:
    return error  # the system's fault
  return _refuse(path, f"no readable Parquet ({in_one_line(error)})")
