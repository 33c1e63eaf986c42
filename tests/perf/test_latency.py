"""Files are timed in turn with the network, in a process of one core."""

import math

import pytest

from mn_jax.errors import RunError
from mn_jax.export import files
from mn_jax.export.options import Options
from mn_jax.perf import latency
from tests.export import toy_networks as toy

pytestmark = pytest.mark.usefixtures("standard_promotion")


def spent(seconds: float, spans: list[str], name: str):
  def call():
    spans.append(name)
    end = latency.time.process_time() + seconds
    while latency.time.process_time() < end:
      pass

  return call


def test_turns_begin_with_another_each_time(monkeypatch):
  monkeypatch.setattr(latency, "_TURN", 0.0)
  spans = []
  calls = {name: spent(1e-3, spans, name) for name in "abc"}
  found = latency._time(calls, turns=3)
  warm_up = 3 * (latency._WARM_UP + 1)
  assert "".join(spans[warm_up:]) == "abcbcacab"
  assert {name: len(x) for name, x in found["seconds"].items()} == {
    "a": 3,
    "b": 3,
    "c": 3,
  }
  assert all(x >= 1e-3 for x in found["seconds"]["a"])
  assert 0 < found["computing"] <= 1.01


def test_ratios_are_to_the_network_and_to_float32():
  made = toy.trained()
  chosen = [
    files.make(made, "stablehlo", Options(name))
    for name in ("float32", "float16")
  ]
  names = [x.name for x in chosen]
  measured = {
    "1": {
      "seconds": {
        "network": [0.02, 0.02, 0.03],
        names[0]: [0.01, 0.01, 0.02],
        names[1]: [0.005, 0.005, 0.005],
      },
      "computing": 0.5,
    }
  }
  found = latency._latencies(chosen, measured)
  first, second = (found[name][1] for name in names)
  assert first.milliseconds == pytest.approx(10)
  assert first.of_network == pytest.approx(20)
  assert first.to_network.value == pytest.approx(0.5)
  assert first.to_network.low <= 0.5 <= first.to_network.high
  assert first.to_float32 is None
  assert second.to_network.value == pytest.approx(0.25)
  assert second.to_float32.value == pytest.approx(0.5)
  assert (second.turns, second.computing) == (3, 0.5)
  written = latency.as_json(found[names[1]])
  assert written["threads"] == 1
  assert written["batches"]["1"]["to_float32"]["value"] == pytest.approx(0.5)


@pytest.mark.extended
def test_files_are_timed_for_the_batches_that_they_take():
  made = toy.trained()
  anything = files.make(made, "stablehlo", Options())
  fixed = files.make(
    made, "stablehlo", Options("float16", batch=2, input="normalised")
  )
  found = latency.measure(made, [anything], turns=2, batches=(1, 3))
  assert {*found[anything.name]} == {1, 3}
  assert all(x.milliseconds > 0 for x in found[anything.name].values())
  found = latency.measure(made, [fixed], turns=2)
  assert {*found[fixed.name]} == {2}
  assert found[fixed.name][2].to_float32 is None
  assert math.isfinite(found[fixed.name][2].to_network.value)


def test_a_process_that_fails_is_one_line(monkeypatch):
  made = toy.trained()
  file = files.make(made, "stablehlo", Options())
  broken = files.File(file.form, file.options, b"broken", file.description)
  with pytest.raises(RunError, match="latency: its process failed") as caught:
    latency.measure(made, [broken], turns=1)
  assert "no StableHLO of this package" in str(caught.value)
  assert "\n" not in str(caught.value)
