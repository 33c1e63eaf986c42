"""Tests of reading pickles without running them."""

import os
import pickle  # noqa: TID251 - to write what must not be loaded
import pickletools

import numpy as np
import pytest

from mn_jax.data.datasets import inert_pickle
from mn_jax.data.datasets.inert_pickle import PickleError


class _Evil:
  def __init__(self, function, *arguments):
    self._call = (function, arguments)

  def __reduce__(self):
    return self._call


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize(
  "value",
  [
    {},
    [],
    (),
    {"a": [1, 2, 300, 70_000, -1], "b": (1,), "c": (1, 2), "d": (1, 2, 3)},
    {"e": (1, 2, 3, 4), "f": None, "g": [True, False], "h": 2.5},
    {"text": "naïve", "bytes": b"\x00\xff\x80", 7: ["x"] * 3000},
    {"same": [["shared"]] * 2},
    [[]] * 2,
  ],
)
def test_plain_values_come_back(value, protocol):
  assert inert_pickle.read(pickle.dumps(value, protocol)) == value


@pytest.mark.parametrize("protocol", [2, 3])
def test_arrays_of_bytes_come_back(protocol):
  array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
  found = inert_pickle.read(pickle.dumps({"data": array}, protocol))["data"]
  assert found.dtype == np.uint8
  np.testing.assert_array_equal(found, array)


def test_texts_of_python_2_are_latin_1():
  data = b"\x80\x02}q\x01(U\x04nameq\x02U\x03\xe9t\xffq\x03u."
  assert inert_pickle.read(data) == {"name": "ét\xff"}


@pytest.mark.parametrize(
  "evil",
  [
    _Evil(os.system, "touch owned"),
    _Evil(eval, "open('owned', 'w')"),
    _Evil(exec, "open('owned', 'w')"),
    _Evil(getattr, os, "system"),
    {"fine": 1, "data": [_Evil(os.remove, "kept")]},
    np.zeros,
    np.float64(3),
    np.zeros(3),
    np.zeros(3, "u2"),
    np.array([None]),
    np.zeros((2, 3), np.uint8, order="F"),
    {1, 2},
    {(1, 2): 3},
    object(),
  ],
  ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("protocol", range(6))
def test_nothing_runs(evil, protocol, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "kept").touch()
  try:
    data = pickle.dumps(evil, protocol)
  except TypeError:  # a module in an argument
    pytest.skip("Python does not write it")
  with pytest.raises(PickleError):
    inert_pickle.read(data)
  assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_instructions_that_are_not_known_are_refused():
  names = {"INST", "OBJ", "NEWOBJ", "EXT1", "PERSID", "STACK_GLOBAL"}
  codes = [o.code for o in pickletools.opcodes if o.name in names]
  assert len(codes) == len(names)
  for code in codes:
    with pytest.raises(PickleError):
      inert_pickle.read(b"\x80\x02" + code.encode("latin-1") + b"os\nsystem\n.")


@pytest.mark.parametrize(
  "data",
  [
    b"",
    b"no pickle",
    b"\x80\x02",
    b"\x80\x02.",
    b"\x80\x02}}.",
    b"\x80\x02u.",
    b"\x80\x02](.",
    b"\x80\x02K\x01K\x02s.",
    b"\x80\x02h\x05.",
    b"\x80\x02}.trailing",
    b"\x80\x02cnumpy\nndarray\n.",
    b"\x80\x02T\xff\xff\xff\x7fshort.",
    b"\x80\x02" + b"]" + b"]" * 40 + b"a" * 40 + b".",
  ],
)
def test_broken_pickles_are_refused(data):
  with pytest.raises(PickleError):
    inert_pickle.read(data)


def test_every_cut_is_refused():
  data = pickle.dumps({"a": [1], "data": np.zeros((2, 2), np.uint8)}, 2)
  for end in range(len(data)):
    with pytest.raises(PickleError):
      inert_pickle.read(data[:end])
