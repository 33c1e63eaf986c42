"""Tests of ensembles that are written as folders like those of runs."""

import numpy as np
import pytest
import scipy.special

from mn_jax.augment import views
from mn_jax.errors import InputError
from mn_jax.evaluation import run_ensemble
from mn_jax.metrics import predictions
from mn_jax.report import (
  run_analysis,
  run_command,
  run_facts,
  run_report,
)
from mn_jax.run import ensemble_record, records


def write(folder, paths, kind=""):
  return run_ensemble.write(
    folder, paths, views=kind, progress=lambda done, total: None
  )


def probabilities(logits):
  return scipy.special.softmax(logits.astype(np.float64), axis=1)


def read(folder, part="test"):
  return predictions.read(folder / "predictions" / f"{part}.npz")


def test_probabilities_of_runs_are_averaged(workdirs, tmp_path):
  one, other, _ = workdirs
  summary = write(tmp_path / "both", [one, other])
  for part in ("val", "test"):
    members = [read(path, part) for path in (one, other)]
    mean = read(tmp_path / "both", part)
    np.testing.assert_allclose(
      probabilities(mean.predictions.logits),
      np.mean([probabilities(x.predictions.logits) for x in members], axis=0),
      atol=1e-6,
    )
    assert mean.names.tolist() == members[0].names.tolist()
  logits = read(tmp_path / "both").predictions
  right = logits.logits.argmax(axis=1) == logits.labels
  assert summary["test/accuracy"] == pytest.approx(right.mean())
  single = records.read_summary(one)
  assert summary["params"] == 2 * single["params"]
  assert summary["split_sha256"] == single["split_sha256"]


def test_it_is_analyzed_like_a_run(workdirs, tmp_path):
  summary = write(tmp_path / "both", workdirs[:2])
  analysis = run_analysis.analyze(tmp_path / "both")
  found = analysis.intervals["balanced_accuracy"]
  assert found.value == pytest.approx(summary["test/balanced_accuracy"])
  facts = dict(run_facts.facts(analysis))
  assert facts["mean of"].startswith("the probabilities of runs/a, runs/b;")
  assert "learning rate" not in facts
  section = run_report.section("both", "both", [analysis], None)
  assert not any("curves" in x.name for x in section.figures[:1])
  assert run_command.of_run(analysis) == (
    "python -m mn_jax.tools.ensemble --output=DIR --workdir runs/a runs/b"
  )


def test_views_are_those_of_the_symmetries(workdirs, runs, tmp_path):
  summary = write(tmp_path / "seen", workdirs[:1], "flips")
  run, found = runs[0], read(tmp_path / "seen").predictions
  data = run.data(lambda done, total: None)
  seen = [
    probabilities(run.predict(data, data.part("test"), view).logits)
    for view in views.KINDS["flips"]
  ]
  assert np.ptp(seen, axis=0).max() > 1e-4  # or the test would see no views
  np.testing.assert_allclose(
    probabilities(found.logits), np.mean(seen, axis=0), atol=1e-6
  )
  assert summary["macs"] == 4 * records.read_summary(workdirs[0])["macs"]


def test_an_ensemble_of_ensembles_weighs_all_alike(workdirs, tmp_path):
  one, other, _ = workdirs
  for name, path in (("one", one), ("other", other)):
    write(tmp_path / name, [path], "horizontal")
  write(tmp_path / "nested", [tmp_path / "one", tmp_path / "other"])
  write(tmp_path / "flat", [one, other], "horizontal")
  nested, flat = (read(tmp_path / x).predictions for x in ("nested", "flat"))
  np.testing.assert_allclose(
    probabilities(nested.logits), probabilities(flat.logits), atol=1e-6
  )


def test_it_knows_whether_it_is_of_these_runs(workdirs, tmp_path):
  one, other, _ = workdirs
  summary = write(tmp_path / "both", [one, other])
  current = ensemble_record.is_current
  assert current(summary, [one, other], "")
  assert not current(summary, [one, other], "flips")
  assert not current(summary, [one], "")
  assert not current(records.read_summary(one), [one], "")
  # It outlives its runs, but is not of others that are not there.
  gone = [tmp_path.joinpath(*path.parts[-2:]) for path in (one, other)]
  assert current(summary, gone, "")
  assert not current(summary, [*gone, tmp_path / "third"], "")
  assert not current(summary, [tmp_path / "gone", gone[1]], "")


def test_what_would_be_no_test_is_refused(workdirs, tmp_path):
  one, _, elsewhere = workdirs
  for paths, kind, message in (
    ([one, elsewhere], "", "split_sha256"),
    ([one, one], "", "twice"),
    ([one], "upside", "--tta: got 'upside'; valid: horizontal"),
    ([tmp_path], "", "summary.json"),
  ):
    with pytest.raises(InputError, match=message):
      write(tmp_path / "refused", paths, kind)
  assert not (tmp_path / "refused").exists()
