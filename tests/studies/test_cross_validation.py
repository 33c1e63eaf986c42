"""Tests of folds put together."""

import dataclasses

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import (
  bootstrap,
  by_attribute,
  calibration,
  operating_point,
  predictions,
)
from mn_jax.metrics.operating_point import Target
from mn_jax.run import records
from mn_jax.studies import cross_validation
from tests.studies import toy_folds as toy

TARGETS = (Target("specificity", 0.8), Target("sensitivity", 0.9))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("folds")


@pytest.fixture(scope="module")
def found(folder):
  study, runs = toy.write(folder)
  return cross_validation.measure(
    study.title, cross_validation.read(runs), TARGETS, resamples=200
  )


def test_every_image_is_tested_once_by_its_fold(found):
  whole = toy.everything()
  np.testing.assert_array_equal(found.test.predictions.ids, np.arange(240))
  np.testing.assert_array_equal(found.test.names, whole.names)
  np.testing.assert_array_equal(found.test.groups, whole.groups)
  np.testing.assert_array_equal(
    found.test.attributes["site"], whole.attributes["site"]
  )
  np.testing.assert_array_equal(
    found.test.predictions.labels, whole.predictions.labels
  )
  for fold in found.folds:
    rows = fold.test.predictions.ids
    np.testing.assert_array_equal(
      found.test.predictions.logits[rows], fold.test.predictions.logits
    )


def test_each_fold_has_the_temperature_of_its_validation(found, folder):
  for fold in found.folds:
    path = folder / fold.name / "seed0" / "predictions"
    val, test = (predictions.read(path / f"{x}.npz") for x in ("val", "test"))
    fitted = calibration.fit_temperature(val.predictions)
    assert fold.temperature == fitted
    scaled = calibration.scale(test.predictions, fitted)
    np.testing.assert_array_equal(fold.test.predictions.logits, scaled.logits)


def test_scales_of_the_folds_scores_do_not_matter(found, tmp_path):
  study, runs = toy.write(tmp_path, scales=(1.0, 1.0, 1.0))
  alike = cross_validation.measure(
    study.title, cross_validation.read(runs), (), resamples=5
  )
  np.testing.assert_allclose(
    alike.test.predictions.logits, found.test.predictions.logits, rtol=1e-5
  )
  assert [f.temperature for f in found.folds] == pytest.approx(
    [f.temperature * s for f, s in zip(alike.folds, (1, 4, 0.25), strict=True)]
  )


def test_intervals_resample_the_groups_of_all_folds(found):
  expected = bootstrap.intervals(
    found.test.predictions,
    positive=1,
    groups=found.test.groups,
    resamples=200,
  )
  assert found.intervals == expected
  assert found.unit == "group"
  assert found.attributes == [
    by_attribute.measure(found.test, "site", resamples=200)
  ]
  assert sum(images for _, images, _ in found.groups) == 0  # of eight each


def test_means_are_over_the_folds_own_metrics(found, folder):
  for name in ("auroc", "balanced_accuracy", "loss"):
    values = [
      records.read_summary(folder / f"fold{i}" / "seed0")[f"test/{name}"]
      for i in range(3)
    ]
    assert found.over_folds[name].mean == pytest.approx(np.mean(values))
    assert found.over_folds[name].std == pytest.approx(np.std(values, ddof=1))


def test_each_fold_applies_its_own_threshold(found):
  hits = found.test.predictions.labels == 1
  for place, target in enumerate(TARGETS):
    decided = np.zeros(240, bool)
    for fold, threshold in zip(
      found.folds, found.thresholds[1][target], strict=True
    ):
      own = operating_point.choose_threshold(
        fold.val.predictions, target, positive=1
      )
      assert threshold == own
      outputs = fold.test.predictions
      decided[outputs.ids] = outputs.probabilities()[:, 1] >= threshold
    point = found.points[1][2 * place]
    assert point.sensitivity.value == decided[hits].mean()
    assert point.specificity.value == (~decided[~hits]).mean()
    assert np.isnan(point.threshold)
    assert point.sensitivity.low < point.sensitivity.value
    pooled = operating_point.from_own_roc(
      found.test.predictions,
      target,
      positive=1,
      groups=found.test.groups,
      resamples=200,
    )
    assert found.points[1][2 * place + 1] == pooled


def test_a_fold_without_a_threshold_leaves_the_point_undefined(tmp_path):
  study, runs = toy.write(tmp_path)
  found = cross_validation.measure(
    study.title,
    cross_validation.read(runs),
    [Target("specificity", 0.99)],
    resamples=20,
  )
  point = found.points[1][0]
  assert np.isnan(point.sensitivity.value)
  assert point.note.startswith("fold0: validation has")
  assert "takes at least 100" in point.note


def test_seeds_are_means_of_folds(tmp_path):
  study, runs = toy.write(tmp_path, seeds=2)
  found = cross_validation.measure(
    study.title, cross_validation.read(runs), (), resamples=20
  )
  first = found.folds[0]
  assert list(first.summaries) == [0, 1]
  values = [s["test/auroc"] for s in first.summaries.values()]
  assert values[0] != values[1]
  assert first.metric("auroc") == pytest.approx(np.mean(values))
  assert len(found.test.names) == 240  # of the first seed
  assert not found.points


def test_images_without_groups_are_resampled_by_themselves(tmp_path):
  study, runs = toy.write(tmp_path, named=toy.everything(grouped=False))
  found = cross_validation.measure(
    study.title, cross_validation.read(runs), TARGETS, resamples=50
  )
  assert found.unit == "image"
  assert found.groups is None


def test_classes_without_a_positive_one_are_read_against_the_rest(tmp_path):
  named = toy.everything(classes=("a", "b", "c"))
  study, runs = toy.write(tmp_path, named=named)
  found = cross_validation.measure(
    study.title, cross_validation.read(runs), TARGETS[:1], resamples=20
  )
  assert list(found.points) == [0, 1, 2]
  assert "macro_auroc" in found.intervals


def test_a_temperature_at_the_end_of_the_range_is_none(tmp_path):
  """One that saturates all probabilities would leave nothing to rank."""
  named = toy.everything()
  labels = named.predictions.labels
  outputs = dataclasses.replace(
    named.predictions, logits=np.eye(2, dtype=np.float32)[labels]
  )
  named = dataclasses.replace(named, predictions=outputs)
  _, runs = toy.write(tmp_path, named=named)
  for fold in cross_validation.read(runs):
    assert fold.temperature == 1


def _change(path, **fields):
  records.write_object(path, {**records.read_object(path), **fields})


def test_folds_that_are_not_of_one_are_refused(tmp_path):
  _, runs = toy.write(tmp_path / "test", chosen_on="test")
  with pytest.raises(InputError, match="selected on the test"):
    cross_validation.read(runs)

  _, runs = toy.write(tmp_path / "images")
  _change(runs[1].workdir / "split.json", images_sha256="other")
  with pytest.raises(InputError, match="fold1: its images, classes or groups"):
    cross_validation.read(runs)

  _, runs = toy.write(tmp_path / "both")
  split = records.read_object(runs[2].workdir / "split.json")
  groups = split["groups"]
  groups["train"] = [*groups["train"], groups["test"][0]]
  _change(runs[2].workdir / "split.json", groups=groups)
  with pytest.raises(InputError, match="fold2: 1 groups are in its test and"):
    cross_validation.read(runs)

  _, runs = toy.write(tmp_path / "twice")
  source = runs[0].workdir / "predictions" / "test.npz"
  target = runs[1].workdir / "predictions" / "test.npz"
  target.write_bytes(source.read_bytes())
  with pytest.raises(InputError, match="and so does fold0"):
    cross_validation.read(runs)
