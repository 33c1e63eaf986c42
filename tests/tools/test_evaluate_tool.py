"""`tools.evaluate`, as its users run it."""

import contextlib
import dataclasses
import functools
import io
import json

import jax
import numpy as np
import pytest

from mn_jax.data.datasets import registry
from mn_jax.metrics import (
  bootstrap,
  calibration,
  comparison,
  predictions,
  thresholds,
)
from mn_jax.observe import formatting
from mn_jax.run import open_data, reopen
from mn_jax.tools import evaluate
from tests import toy_transfer as toy
from tests.tools.inspecting import content, refuse

pytestmark = pytest.mark.usefixtures("standard_promotion")
FITTED = ("--temperature-from-val", "--threshold-from-val")


@pytest.fixture(scope="module")
def evaluated(run, tmp_path_factory):
  """Evaluates a part with options, once; returns numbers and predictions."""

  @functools.cache
  def evaluated(part, *options):
    path = tmp_path_factory.mktemp("evaluated") / "predictions.npz"
    line = [f"--workdir={run}", f"--part={part}", "--json", f"--output={path}"]
    with contextlib.redirect_stdout(io.StringIO()) as out:
      assert evaluate.main([*line, *options]) == 0
    return json.loads(out.getvalue()), predictions.read(path)

  return evaluated


def test_evaluate_gives_the_metrics_of_the_summary(start, run, tmp_path):
  """And writes the predictions that they are of, and nothing else."""
  before = content(run)
  path = tmp_path / "new" / "predictions"
  code, out, _ = start("evaluate", "--part=test", "--json", f"--output={path}")
  assert code == 0
  found, summary = json.loads(out), toy.read(run, "summary.json")
  assert found["part"] == "test"
  assert found["step"] == summary["best_step"]
  names = [n.removeprefix("test/") for n in summary if n.startswith("test/")]
  assert len(names) > 10
  for name in names:
    assert found[name] == summary[f"test/{name}"], name
  assert content(run) == before
  data = reopen.open_run(run).data(lambda *_: None)
  rows = data.part("test")
  with np.load(path, allow_pickle=False) as written:
    np.testing.assert_array_equal(written["ids"], rows)
    np.testing.assert_array_equal(written["names"], data.cache.names[rows])
    np.testing.assert_array_equal(written["labels"], data.cache.labels[rows])
    assert written["classes"].tolist() == list(data.classes)
    correct = written["logits"].argmax(axis=1) == written["labels"]
  assert correct.mean() == summary["test/accuracy"]


def test_evaluate_resamples_patients_and_lists_the_worst(start, evaluated):
  found, answers = evaluated("test", "--intervals", "--by-group")
  expected = bootstrap.intervals(
    answers.predictions, positive=1, groups=answers.groups
  )
  assert found["resampled"] == "patient"
  assert found["intervals"].keys() == expected.keys()
  for name, interval in found["intervals"].items():
    ends = {end: getattr(expected[name], end) for end in ("low", "high")}
    assert interval | formatting.jsonable(ends) == interval, name
  assert found["intervals"]["auroc"]["low"] < found["auroc"]
  single = bootstrap.intervals(answers.predictions, positive=1)
  assert single["loss"].low != expected["loss"].low
  groups = found["groups"]
  assert {g["group"] for g in groups} == set(answers.groups.tolist())
  hits = answers.predictions.logits.argmax(axis=1) == answers.predictions.labels
  for group in groups:
    members = answers.groups == group["group"]
    assert group["images"] == members.sum()
    assert group["accuracy"] == pytest.approx(hits[members].mean())
  shares = [group["accuracy"] for group in groups]
  assert shares == sorted(shares)
  code, out, _ = start("evaluate", "--part=test", "--intervals", "--by-group")
  assert code == 0
  assert "low, high: 95 % intervals, patients resampled" in out
  loss = expected["loss"]
  assert f"{loss.value:.3f} │ {loss.low:.3f} │ {loss.high:.3f} │" in out
  assert f"Least accurate of {len(groups)} patients" in out
  assert f"│ {groups[0]['group']} " in out


def test_evaluate_takes_temperature_and_threshold_from_val(start, evaluated):
  _, val = evaluated("val")
  plain, test = evaluated("test")
  found, scaled = evaluated("test", *FITTED, "--by-group", "--intervals")
  temperature = calibration.fit_temperature(val.predictions)
  assert found["temperature"] == temperature
  np.testing.assert_array_equal(
    scaled.predictions.logits,
    calibration.scale(test.predictions, temperature).logits,
  )
  threshold = thresholds.best_balanced_accuracy(
    calibration.scale(val.predictions, temperature), positive=1
  )
  assert found["threshold"] == threshold
  decided = scaled.predictions.probabilities()[:, 1] >= threshold
  hits = decided == scaled.predictions.labels
  assert found["accuracy"] == hits.mean()
  assert found["accuracy"] != plain["accuracy"]
  correct = sum(g["images"] * g["accuracy"] for g in found["groups"])
  assert correct == pytest.approx(hits.sum())
  expected = bootstrap.intervals(
    scaled.predictions,
    positive=1,
    groups=scaled.groups,
    predicted=decided.astype(np.int64),
  )
  assert found["intervals"]["accuracy"]["low"] == expected["accuracy"].low
  assert found["auroc"] == pytest.approx(plain["auroc"], abs=1e-3)
  code, out, _ = start("evaluate", *FITTED)
  assert code == 0
  for text in (
    "balanced accuracy",
    f"idc from a probability of {threshold:.4g} on, from val",
    f"Temperature: {temperature:.4g}, from val",
    "Note: found on these very images, which flatters them.",
  ):
    assert text in out


def test_evaluate_by_batch_statistics(start, evaluated, monkeypatch):
  """This network has none: that they are used is all that is tested here."""
  real = reopen.open_run
  seen = []

  class Recalibrated(reopen.SavedRun):
    def with_batch_statistics(self, data, count):
      seen.append(count)
      params = jax.tree.map(lambda x: 2 * x, self.variables["params"])
      changed = {**self.variables, "params": params}
      return dataclasses.replace(self, variables=changed), count - 1

  def open_run(*arguments, **options):
    return Recalibrated(**vars(real(*arguments, **options)))

  plain, _ = evaluated("test")
  monkeypatch.setattr(reopen, "open_run", open_run)
  options = ("--recalibrate=20", "--temperature-from-val")
  found, _ = evaluated("test", *options)
  assert seen == [20]
  assert found["recalibrated_images"] == 19
  assert found["auroc"] != plain["auroc"]
  # Of the changed network, not of that of the run.
  _, val = evaluated("val", "--recalibrate=20")
  assert found["temperature"] == calibration.fit_temperature(val.predictions)
  code, out, _ = start("evaluate", "--recalibrate=20", "--step=6")
  assert code == 0
  assert "step 6" in out
  assert "statistics of batches of 19 training images" in out


def test_evaluate_measures_what_a_precision_changes(start, evaluated):
  plain, trained = evaluated("test")
  options = ("--precision=int8", "--intervals")
  found, answers = evaluated("test", *options)
  assert found["precision"] == "int8"
  for name, value in found["as_trained"].items():
    assert value == plain[name], name
    if name in ("count", "majority_rate"):
      assert name not in found["difference"]
    elif value is None or found[name] is None:
      assert found["difference"][name] is None
    else:
      assert found["difference"][name] == found[name] - value
  assert found["difference"]["loss"] != 0
  alike = comparison.agreement(answers.predictions, trained.predictions)
  assert found["changed_share"] == alike.changed_share
  largest = found["largest_probability_difference"]
  assert largest == alike.largest_probability_difference
  assert 0 < largest < 0.1
  again, _ = evaluated("test", "--precision=float32")
  assert again["largest_probability_difference"] < 1e-5
  code, out, _ = start("evaluate", "--part=test", *options)
  assert code == 0
  assert f"step {plain['step']}, test" in out
  assert "as trained: in float32, BatchNorm not folded. " in out
  assert f"{alike.changed_share:.2%} of {plain['count']:,.0f} images get" in out
  assert f"differ by {largest:.1e} at most" in out
  row = f"{found['loss']:.3f} │ {found['intervals']['loss']['low']:.3f} │ "
  assert row in out


def test_evaluate_fits_a_precision_to_its_own_predictions(evaluated):
  small, _ = evaluated("test", *FITTED, "--precision=int8")
  _, val = evaluated("val", "--precision=int8")
  assert small["temperature"] == calibration.fit_temperature(val.predictions)
  plain, _ = evaluated("test", *FITTED, "--by-group", "--intervals")
  assert small["temperature"] != plain["temperature"]
  assert small["as_trained"]["accuracy"] == plain["accuracy"]


def test_evaluate_refuses_what_the_data_do_not_have(start, monkeypatch):
  for option, changed, text in (
    ("--threshold-from-val", {"positive": None}, "which has no positive class"),
    ("--by-group", {"group": None}, "of which no groups are known"),
  ):
    with monkeypatch.context() as patch:
      spec = dataclasses.replace(registry.get("idc_sample"), **changed)
      patch.setattr(open_data, "describe", lambda *_, spec=spec: spec)
      refuse(start("evaluate", option), "evaluate", text)
