import json

import pytest
from absl.testing import flagsaver

from mn_jax.ops import depthwise
from mn_jax.tools import bench


@pytest.fixture
def small(monkeypatch):
  from absl import flags

  if not flags.FLAGS.is_parsed():
    flags.FLAGS(["test"])
  with flagsaver.flagsaver(
    resolution=8, batch=4, repeats=2, json=True, model="mobilenet_v1"
  ):
    yield


@pytest.mark.usefixtures("small", "standard_promotion")
def test_json_has_every_variant_and_ratios(capsys):
  before = dict(depthwise.FORMULATIONS)
  bench.main([])
  variants = json.loads(capsys.readouterr().out)["variants"]
  assert set(variants) == {"shifted", "grouped"}
  assert variants["shifted"]["ratio"] == 1
  for row in variants.values():
    assert 0 < row["min_seconds"] <= row["median_seconds"]
    assert row["median_seconds"] <= row["max_seconds"]
    assert row["images_per_sec"] == pytest.approx(4 / row["median_seconds"])
  assert before == depthwise.FORMULATIONS


def test_variants_take_turns():
  order = []
  runs = {"a": lambda: order.append("a"), "b": lambda: order.append("b")}
  seconds = bench.measure(runs, 2)
  assert order == ["a", "b"] * 3
  assert {name: len(taken) for name, taken in seconds.items()} == {
    "a": 2,
    "b": 2,
  }
