"""Tests of the JSON files of a run."""

import json
import math

import pytest

from mn_jax.run import records
from tests import toy_summary


def refused(path, *arguments, read=records.read_object) -> str:
  with pytest.raises(records.DamagedError) as error:
    read(path, *arguments)
  message = str(error.value)
  assert "\n" not in message
  assert len(message) < 300 + len(str(path))
  assert error.value.reason in message
  return error.value.reason


def test_objects_come_back_as_they_were_written(tmp_path):
  path = tmp_path / "a.json"
  value = {"b": (1, 2.5, -0.0), "ü\ud800": {"c": [None, "ü\n"]}, "n": math.nan}
  records.write_object(path, value)
  found = records.read_object(path, {"b": list, "n": float | None})
  assert found == {"b": [1, 2.5, 0.0], "ü\ud800": value["ü\ud800"], "n": None}
  json.loads(path.read_bytes(), parse_constant=pytest.fail)
  # An earlier version wrote no checksum.
  path.write_text('{"b": 1}')
  assert records.read_object(path) == {"b": 1}


def test_every_changed_byte_is_noticed(tmp_path):
  path = tmp_path / "a.json"
  value = {"score": 0.593, "steps": [1, 2], "name": "a"}
  records.write_object(path, value)
  content = path.read_bytes()
  for place in range(len(content)):
    for bit in (1, 16, 128):
      flipped = bytearray(content)
      flipped[place] ^= bit
      path.write_bytes(flipped)
      try:
        found = records.read_object(path, dict.fromkeys(value, object))
      except records.DamagedError:
        continue
      # White space, or the checksum's own name.
      assert {name: found[name] for name in value} == value
  for length in range(len(content) - 2):
    path.write_bytes(content[:length])
    refused(path)


def test_what_is_wrong_with_a_file_is_said(tmp_path):
  path = tmp_path / "a.json"
  fields = {"a": int}
  for content, reason in (
    (b"\xff", "it is no JSON in UTF-8: 'utf-8' codec"),
    (b"{", "it is no JSON in UTF-8: Expecting"),
    (b"[" * 10**5, "it is no JSON in UTF-8: maximum recursion"),
    (b"[1]", "it is no object but '[1]'"),
    (b"{}", "it has no 'a'"),
    (b'{"a": "b"}', "its 'a' is 'b'"),
    (b'{"a": 1, "checksum": "0"}', "it is not as it was written"),
  ):
    path.write_bytes(content)
    assert reason in refused(path, fields)
  path.unlink()
  assert "No such file" in refused(path, fields)
  path.mkdir()
  assert "Is a directory" in refused(path, fields)
  path.rmdir()
  path.write_text("")
  assert "Not a directory" in refused(path / "b.json", fields)


def test_summaries_have_all_that_is_read_of_them(tmp_path):
  whole = {**toy_summary.FIELDS, "test/auroc": None}
  records.write_object(tmp_path / "summary.json", whole)
  assert records.read_summary(tmp_path) == whole
  for name in toy_summary.FIELDS:
    for wrong in ({}, {name: [1]}):
      some = {key: value for key, value in whole.items() if key != name}
      records.write_object(tmp_path / "summary.json", some | wrong)
      reason = refused(tmp_path, read=records.read_summary)
      assert f"{name!r}" in reason
  records.write_object(tmp_path / "summary.json", {**whole, "test/f1": "x"})
  assert "its 'test/f1' is 'x'" in refused(tmp_path, read=records.read_summary)
