"""Tests of reading pickles without running their code."""

import os
import pickle  # noqa: TID251 - to write what must not be loaded
import pickletools

import numpy as np
import pytest

from mn_jax.data.datasets.restricted_pickle import PickleError, load_dict


class _Evil:
  def __init__(self, function, *arguments):
    self._call = (function, arguments)

  def __reduce__(self):
    return self._call


@pytest.mark.parametrize("protocol", range(5))
def test_plain_values_and_arrays_of_bytes_are_read(protocol):
  array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
  value = {
    "numbers": [1, 300, 70_000, -1, 2.5, None, True],
    "text": "naïve",
    "bytes": b"\x00\xff\x80",
    "many": ["x"] * 3000,
  }
  content = load_dict(pickle.dumps({**value, "data": array}, protocol))
  data = content.pop("data")
  assert content == value
  assert data.dtype == np.uint8
  np.testing.assert_array_equal(data, array)


def test_strings_of_python_2_are_latin_1():
  data = b"\x80\x02}q\x01(U\x04nameq\x02U\x03\xe9t\xffq\x03u."
  assert load_dict(data) == {"name": "ét\xff"}


@pytest.mark.parametrize("protocol", range(6))
def test_no_code_of_a_pickle_runs(protocol, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "here").touch()
  for evil in (
    _Evil(os.system, "touch owned"),
    _Evil(eval, "open('owned', 'w')"),
    _Evil(exec, "open('owned', 'w')"),
    _Evil(getattr, "text", "upper"),
    [_Evil(os.remove, "here")],
    np.zeros,
    np.float64(3),
    np.zeros(3),
    np.zeros(3, "u2"),
    np.array([None]),
    np.zeros((2, 3), np.uint8, order="F"),
    object(),
  ):
    data = pickle.dumps({"fine": 1, "data": evil}, protocol)
    with pytest.raises(PickleError):
      load_dict(data)
    assert [path.name for path in tmp_path.iterdir()] == ["here"]


def test_every_instruction_that_names_code_is_refused():
  names = {"GLOBAL", "INST", "OBJ", "NEWOBJ", "EXT1", "PERSID", "STACK_GLOBAL"}
  codes = [o.code for o in pickletools.opcodes if o.name in names]
  assert len(codes) == len(names)
  for code in codes:
    with pytest.raises(PickleError):
      load_dict(b"\x80\x02" + code.encode("latin-1") + b"os\nsystem\n.")


def test_broken_pickles_are_refused():
  whole = pickle.dumps({"a": [1], "data": np.zeros((2, 2), np.uint8)}, 2)
  cut = [whole[:end] for end in range(len(whole))]
  for data in (
    *cut,
    whole + b"more",
    b"no pickle",
    b"\x80\x02u.",
    b"\x80\x02](.",
    b"\x80\x02K\x01K\x02s.",
    b"\x80\x02h\x05.",
    b"\x80\x02cnumpy\nndarray\n.",
    b"\x80\x02T\xff\xff\xff\x7fshort.",
  ):
    with pytest.raises(PickleError):
      load_dict(data)
