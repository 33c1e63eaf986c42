"""Tests of files that appear complete or not at all."""

import pytest

from mn_jax.data import atomic


def test_writes_what_it_is_given(tmp_path):
  path = tmp_path / "new" / "folder" / "a.json"
  atomic.write_json(path, {"µ": [1, None]})
  assert path.read_text() == '{\n "\\u00b5": [\n  1,\n  null\n ]\n}\n'
  path.with_name("a.json.partial").write_text("of a killed process")
  atomic.write_text(path, "µ\n")
  assert path.read_bytes() == b"\xc2\xb5\n"
  # Of a file name that is no UTF-8; and a number that JSON does not have.
  atomic.write_text(path, "\udcff\n")
  assert path.read_bytes() == b"\\udcff\n"
  with pytest.raises(ValueError, match="not JSON compliant"):
    atomic.write_json(path, [float("nan")])
  with atomic.writing(path, fsync=True) as file:
    file.write(b"abc")
    assert path.read_bytes() == b"\\udcff\n"
  assert path.read_bytes() == b"abc"
  assert list(path.parent.iterdir()) == [path]


def _fail_half_way(path, error):
  with atomic.writing(path) as file:
    file.write(b"half")
    raise error


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_error_leaves_the_old_file(tmp_path, error):
  path = tmp_path / "a"
  path.write_text("old")
  with pytest.raises(error):
    _fail_half_way(path, error)
  assert path.read_text() == "old"
  assert list(tmp_path.iterdir()) == [path]
