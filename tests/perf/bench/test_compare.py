import pytest

from mn_jax.perf.bench import compare


def test_summary_of_seconds():
  found = compare.summarize([0.1, 0.5, 0.2, 0.3, 0.4], batch=6)
  assert found["images_per_sec"] == pytest.approx(20)
  assert found["median_seconds"] == 0.3
  assert (found["min_seconds"], found["max_seconds"]) == (0.1, 0.5)
  assert found["quartile_seconds"] == pytest.approx([0.2, 0.4])
  assert found["turns"] == 5


def test_ratio_is_above_one_where_the_peer_is_slower():
  found = compare.ratio([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
  assert found == {"ratio": 2.0, "ratio_interval": [2.0, 2.0]}


def test_turns_are_drawn_in_pairs():
  # A machine whose speed drifts by ten: both sides slow down together.
  drift = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
  found = compare.ratio(drift, [2 * x for x in drift])
  assert found["ratio_interval"] == pytest.approx([2, 2])


def test_the_interval_has_the_ratio_and_some_width():
  found = compare.ratio([1.0, 1.1, 0.9, 1.2, 0.8], [2.0, 1.5, 2.5, 1.8, 2.1])
  low, high = found["ratio_interval"]
  assert low < found["ratio"] < high


def test_peers_that_need_torch_have_an_interpreter_of_their_own():
  for name, peer in compare.PEERS.items():
    assert peer.foreign == ("torch" in peer.packages), name
