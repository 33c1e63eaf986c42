"""Tests of the manifests of prepared data sets."""

from mn_jax.data import manifest


def test_a_damaged_manifest_counts_as_none(tmp_path):
  assert manifest.read("idc", tmp_path) is None
  for text in (
    "",
    "[]",
    "{}",
    '{"schema": 2, "path": "", "fingerprint": ""}',
    '{"schema": 1, "path": 3, "fingerprint": ""}',
  ):
    (tmp_path / "idc.json").write_text(text)
    assert manifest.read("idc", tmp_path) is None
  manifest.write("idc", tmp_path, {"path": "data", "fingerprint": "f"})
  assert manifest.read("idc", tmp_path)["path"] == "data"
