"""The report of exported files tells of those alone that are there."""

import hashlib
import json
import math

from mn_jax.export import results


def add(folder, name, **values):
  content = name.encode()
  (folder / name).write_bytes(content)
  entry = {
    "sha256": hashlib.sha256(content).hexdigest(),
    "weights": "w",
    "parts": {},
    **values,
  }
  return results.write(folder, {name: entry})


def test_entries_stay_while_their_files_do(tmp_path):
  path = add(tmp_path, "b", value=1)
  add(tmp_path, "a", value=2)
  assert path.name == "report.json"
  assert [*json.loads(path.read_text())["files"]] == ["a", "b"]
  assert {k: x["value"] for k, x in results.read(tmp_path).items()} == {
    "a": 2,
    "b": 1,
  }
  (tmp_path / "a").write_bytes(b"another")
  assert [*results.read(tmp_path)] == ["b"]
  add(tmp_path, "c")
  assert [*json.loads(path.read_text())["files"]] == ["b", "c"]
  (tmp_path / "b").unlink()
  assert [*results.read(tmp_path)] == ["c"]


def test_entries_are_of_one_network_and_the_same_images(tmp_path):
  def judged(digest):
    return {"val": {"images_sha256": digest}}

  add(tmp_path, "a", parts=judged("1"))
  add(tmp_path, "b")  # not judged
  add(tmp_path, "c", parts=judged("1"))
  assert [*results.read(tmp_path)] == ["a", "b", "c"]
  add(tmp_path, "d", parts=judged("2"))
  assert [*results.read(tmp_path)] == ["b", "d"]
  add(tmp_path, "e", weights="others")
  assert [*results.read(tmp_path)] == ["e"]


def test_undefined_numbers_are_null(tmp_path):
  add(tmp_path, "a", value=math.nan)
  assert results.read(tmp_path)["a"]["value"] is None


def test_a_damaged_report_is_none(tmp_path):
  assert results.read(tmp_path / "nowhere") == {}
  path = add(tmp_path, "a", value=1)
  text = path.read_text()
  for damaged in (
    "{",
    text.replace('"value": 1', '"value": 2'),
    json.dumps({"version": results.VERSION + 1, "files": {}}),
    json.dumps([]),
  ):
    path.write_text(damaged)
    assert results.read(tmp_path) == {}
