import pathlib

import pytest

from mn_jax.perf import ratio
from mn_jax.perf.bench import comparison


def test_summary_of_seconds():
  summary = comparison.summarize([0.1, 0.5, 0.2, 0.3, 0.4], batch=6)
  assert summary["images_per_sec"] == pytest.approx(20)
  assert summary["median_seconds"] == 0.3
  assert (summary["min_seconds"], summary["max_seconds"]) == (0.1, 0.5)
  assert summary["quartile_seconds"] == pytest.approx([0.2, 0.4])
  assert summary["repeats"] == 5


def test_ratios_and_their_intervals():
  # Above one where the peer is slower.
  value, interval = ratio.paired_ratio([1.0, 1.0, 1.0], [2.0, 2.0, 2.0])
  assert (value, interval) == (2.0, (2.0, 2.0))
  # A machine whose speed drifts by ten: both libraries slow down together.
  drift = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0]
  _, interval = ratio.paired_ratio(drift, [2 * x for x in drift])
  assert interval == pytest.approx((2, 2))
  value, (low, high) = ratio.paired_ratio(
    [1.0, 1.1, 0.9, 1.2, 0.8], [2.0, 1.5, 2.5, 1.8, 2.1]
  )
  assert low < value < high


def test_programs_of_peers_exist():
  root = pathlib.Path(comparison.__file__).parents[3]
  for name, peer in comparison.PEERS.items():
    assert (root / f"{peer.module.replace('.', '/')}.py").is_file(), name
