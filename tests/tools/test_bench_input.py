"""The benchmark of the input path runs; nobody asserts its times here."""

import json

from tests import programs


def test_every_stage_is_measured():
  done = programs.run(
    "mn_jax.tools.bench_input",
    "--config=configs/eurosat_v2.py:test",
    "--images=8",
    "--gathered=64",
    "--repeats=2",
    "--json",
  )
  assert done.returncode == 0, done.stderr
  report = json.loads(done.stdout)
  assert report["data"] == "eurosat_sample"
  assert list(report["images_per_sec"]) == [
    "read",
    "decode",
    "resize",
    "decode to size",
    "gather",
    "loader",
    "pack, all of it",
  ]
  for speeds in report["images_per_sec"].values():
    assert len(speeds) == 2
    assert min(speeds) > 0
