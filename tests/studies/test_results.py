"""Tests of the results of a study: means, intervals and verdicts."""

import dataclasses
import json

import numpy as np
import pytest
import scipy.stats

from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.studies import results
from mn_jax.studies.study import Claim
from tests.studies.test_study import TOY, expand, finish


def test_results_are_means_with_intervals(tmp_path):
  runs = expand(folder=tmp_path, seeds=4)
  values = {"a": [0.7, 0.8, 0.75, 0.85], "b": [0.8, 0.82, 0.9, None]}
  for run in runs:
    if (value := values[run.member.name][run.seed]) is not None:
      finish(run, value, 0.9)
  collected = results.collect(TOY, runs)
  json.dumps(collected, allow_nan=False)
  first, second = collected["members"]
  assert first["seeds"] == [0, 1, 2, 3]
  found = first["metrics"]["accuracy"]
  np.testing.assert_allclose(
    [found["mean"], found["std"]], [0.775, np.std(values["a"], ddof=1)]
  )
  # By hand: t of 3 degrees 3.182446, times the error on the logit scale,
  # 0.0322749 / (0.775 x 0.225).
  np.testing.assert_allclose(
    [found["low"], found["high"]], [0.656498, 0.861260], rtol=1e-5
  )
  assert found["over_seeds"] == [found["low"], found["high"]]
  assert found["over_groups"] == [None, None]  # there are no predictions
  assert second["metrics"]["accuracy"]["values"] == [0.8, 0.82, 0.9]
  (pair,) = collected["pairs"]
  compared = pair["metrics"]["accuracy"]
  assert compared["seeds"] == [0, 1, 2]  # those that both have
  test = scipy.stats.ttest_rel([0.8, 0.82, 0.9], [0.7, 0.8, 0.75])
  np.testing.assert_allclose(compared["mean"], 0.09)
  np.testing.assert_allclose(compared["p"], test.pvalue)
  assert compared["p_holm"] == compared["p"]  # the only comparison
  assert pair["metrics"]["auroc"]["p"] == 1  # no difference at all


def test_what_a_run_leaves_undefined_is_no_result_of_its_pairs(tmp_path):
  runs = expand(folder=tmp_path, seeds=4)
  for run in runs:
    finish(run, None if (run.member.name, run.seed) == ("b", 1) else 0.8, 0.9)
  collected = results.collect(TOY, runs)
  found = collected["members"][1]["metrics"]["accuracy"]
  assert (found["seeds"], found["undefined"]) == ([0, 2, 3], [1])
  compared = collected["pairs"][0]["metrics"]["accuracy"]
  assert (compared["undefined"], compared["p"]) == ([1], None)


def test_seeds_of_other_images_are_refused(tmp_path):
  runs = expand(folder=tmp_path, seeds=2)
  for run in runs:
    finish(run, 0.8, 0.9)
  path = runs[-1].workdir / "summary.json"
  summary = json.loads(path.read_text())
  path.write_text(json.dumps({**summary, "images_sha256": "more"}))
  with pytest.raises(InputError, match=r"of the images more, and .*seed0"):
    results.collect(TOY, runs)


def test_one_seed_has_no_standard_deviation_and_none_no_mean(tmp_path):
  runs = expand(folder=tmp_path, seeds=2)
  finish(runs[0], 0.7, 0.9)
  members = results.collect(TOY, runs)["members"]
  one, none = (member["metrics"]["accuracy"] for member in members)
  assert (one["mean"], one["std"], one["low"]) == (0.7, None, None)
  assert (none["mean"], none["values"]) == (None, [])
  assert members[0]["wanted"] == 2
  assert "params" not in members[1]


def test_rows_that_are_not_selected_are_not_shown(tmp_path, capsys):
  runs = [x for x in expand(folder=tmp_path, seeds=2) if x.member.name == "a"]
  claims = (Claim("of both", "b", "a", "test/accuracy"),)
  made = dataclasses.replace(TOY, claims=claims)
  results.show(Console(), results.collect(made, runs))
  shown = capsys.readouterr().out
  assert "│ a " in shown
  assert "│ b " not in shown
  assert "Claims" not in shown


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


def test_metrics_of_runs_selected_on_the_test_do_not_count(tmp_path):
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


def test_seeds_that_a_claim_needs_are_at_most_its_folds():
  claim = {"spread_from": "measured", "seeds_alone": 4, "seeds_needed": 7}
  assert results.seeds_needed(claim) == "4 (7)"
  assert results.seeds_needed({**claim, "most": 5}) == "4 (over 5)"
  assert results.seeds_needed({**claim, "most": 3}) == "over 3"
  none = {**claim, "seeds_alone": None, "seeds_needed": None}
  assert results.seeds_needed(none) == "over 100"
  assert results.seeds_needed({**claim, "spread_from": ""}) == "not known"


def test_comparisons_to_come_count_as_those_that_are_made():
  differences = [{"p": 0.01}, {"p": None}, {"p": 0.02}]
  results._adjust(differences, 2)
  found = [x["p_holm"] for x in differences]
  assert found == [pytest.approx(0.05), None, pytest.approx(0.08)]
