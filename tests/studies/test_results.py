"""Tests of the results of a study: means, intervals and verdicts."""

import json

import numpy as np
import scipy.stats

from mn_jax.observe.console import Console
from mn_jax.studies import results, study
from tests.studies.test_study import TOY, expand, finish


def test_results_are_means_with_intervals(tmp_path):
  runs = expand(folder=tmp_path, seeds=4)
  values = {"a": [0.7, 0.8, 0.75, 0.85], "b": [0.8, 0.82, 0.9, None]}
  for run in runs:
    finish(run, values[run.member.name][run.seed], 0.9)
  collected = results.collect(TOY, runs)
  json.dumps(collected, allow_nan=False)
  first, second = collected["members"]
  assert first["seeds"] == [0, 1, 2, 3]
  found = first["metrics"]["accuracy"]
  interval = scipy.stats.ttest_1samp(values["a"], 0).confidence_interval(0.95)
  np.testing.assert_allclose(
    [found["mean"], found["std"], found["low"], found["high"]],
    [0.775, np.std(values["a"], ddof=1), *interval],
  )
  assert second["metrics"]["accuracy"]["values"] == [0.8, 0.82, 0.9]
  (pair,) = collected["pairs"]
  compared = pair["metrics"]["accuracy"]
  assert compared["seeds"] == [0, 1, 2]  # those that both have
  test = scipy.stats.ttest_rel([0.8, 0.82, 0.9], [0.7, 0.8, 0.75])
  np.testing.assert_allclose(compared["mean"], 0.09)
  np.testing.assert_allclose(compared["p"], test.pvalue)
  assert compared["p_holm"] == compared["p"]  # the only comparison
  assert pair["metrics"]["auroc"]["p"] is None  # no difference at all


def test_one_seed_has_no_standard_deviation_and_none_no_mean(tmp_path):
  runs = expand(folder=tmp_path, seeds=2)
  finish(runs[0], 0.7, 0.9)
  members = results.collect(TOY, runs)["members"]
  one, none = (member["metrics"]["accuracy"] for member in members)
  assert (one["mean"], one["std"], one["low"]) == (0.7, None, None)
  assert (none["mean"], none["values"]) == (None, [])
  assert members[0]["wanted"] == 2
  assert "params" not in members[1]


def test_damaged_summaries_are_named_and_do_not_count(tmp_path, capsys):
  runs = expand(folder=tmp_path, seeds=2)
  for run in runs:
    finish(run, 0.7, 0.9)
  path = runs[0].workdir / "summary.json"
  for content in (b"{", b"\xff", b"[]", b'{"chosen_on": 3}'):
    path.write_bytes(content)
    results.finish(Console(), TOY, runs)
    assert f"Left out: {runs[0].title()}: --workdir" in capsys.readouterr().out
    assert not runs[0].is_complete()
  written = json.loads((tmp_path / "results.json").read_text())
  assert [member["seeds"] for member in written["members"]] == [[1], [0, 1]]


def judged(relation, value, first, second=None, **changes):
  """The verdict on a claim of two rows with these values by seed."""
  claim = study.Claim(
    "text", "a", "b" if second else "", "test/auroc", relation, value
  )
  done = {
    name: {
      seed: {"test/auroc": number, "chosen_on": "val", **changes}
      for seed, number in enumerate(numbers or ())
    }
    for name, numbers in (("a", first), ("b", second))
  }
  return results.judge_claim(claim, done)


def test_claims_are_decided_by_their_interval():
  one, lower, close = [0.8, 0.81, 0.82], [0.7, 0.71, 0.73], [0.8, 0.812, 0.819]
  for relation, value, first, second, verdict in (
    (">", 0.0, one, lower, results.HOLDS),
    ("<", 0.0, one, lower, results.FAILS),
    (">", 0.2, one, lower, results.FAILS),
    (">", 0.0, [0.8, 0.6, 0.82], lower, results.OPEN),
    (">", 0.0, [0.8], [0.7], results.OPEN),
    (">", 0.0, [], [0.7], results.NOT_RUN),
    (">", 0.75, one, None, results.HOLDS),
    ("<", 0.75, one, None, results.FAILS),
    ("=", 0.05, one, close, results.HOLDS),
    ("=", 0.05, one, lower, results.FAILS),
    ("=", 0.001, one, close, results.OPEN),
  ):
    found = judged(relation, value, first, second)
    assert found["verdict"] == verdict
    assert found["text"] == "text"
    json.dumps(found, allow_nan=False)


def test_runs_selected_on_the_test_decide_nothing(tmp_path):
  found = judged(">", 0.5, [0.8, 0.81], chosen_on="test")
  assert (found["verdict"], found["seeds"]) == (results.NOT_RUN, [])
  runs = expand(folder=tmp_path, seeds=2)
  for run in runs:
    finish(run, 0.7, 0.9)
  path = runs[0].workdir / "summary.json"
  changed = {**json.loads(path.read_text()), "chosen_on": "test"}
  path.write_text(json.dumps(changed | {"val/f1": 0.4, "test/f1": 0.3}))
  first = results.collect(TOY, runs)["members"][0]
  assert (first["seeds"], first["refused"]) == ([0, 1], [0])
  assert first["metrics"]["accuracy"]["values"] == [0.7]  # of seed 1 alone
  assert first["published"]["test/f1"]["values"] == []
