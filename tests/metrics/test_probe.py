"""Tests of cross-validated classifiers of features."""

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import probe
from mn_jax.metrics.feature_table import FeatureTable

CLASSES = ("a", "b", "c")


def table_of(groups: int, *, leak: float, per_group: int = 12) -> FeatureTable:
  """Features that tell classes a little and groups as much as `leak` says.

  A class of a group has a place of its own: who knows the group can look it up.
  """
  rng = np.random.default_rng(0)
  labels = np.tile(np.arange(per_group) % 3, groups).astype(np.int32)
  group = np.repeat(np.arange(groups), per_group)
  places = rng.normal(size=(groups, 3, 6))
  features = rng.normal(size=(len(labels), 6)) * 0.3
  features[:, :3] += np.eye(3)[labels] * 0.3
  features += leak * places[group, labels]
  features[5, 2] = np.nan
  return FeatureTable(
    sets={"x": features},
    labels=labels,
    classes=CLASSES,
    names=np.array([f"{row:04}" for row in range(len(labels))]),
    groups=group.astype(np.str_),
  )


def accuracy(table: FeatureTable, found: probe.Probe) -> float:
  return float((found.predictions.predicted() == table.labels).mean())


@pytest.mark.parametrize("name", probe.CLASSIFIERS)
def test_a_random_split_promises_what_groups_give_away(name):
  table = table_of(8, leak=2.0)
  classifier = probe.CLASSIFIERS[name]
  folds = probe.random_folds(table, seed=0, count=4)
  random = probe.cross_validate(
    table, table.sets["x"], classifier, folds, by_group=False
  )
  folds = probe.group_folds(table, seed=0, count=0)
  by_group = probe.cross_validate(
    table, table.sets["x"], classifier, folds, by_group=True
  )
  assert accuracy(table, random) > accuracy(table, by_group) + 0.1
  assert len(random.chosen) == 4
  assert len(by_group.chosen) == 8
  known = classifier.grid(6)
  for values in (*random.chosen, *by_group.chosen):
    assert values.keys() == known.keys()
    assert all(value in known[key] for key, value in values.items())


def test_no_image_is_predicted_by_what_trained_on_it():
  # Noise that a nearest neighbour of itself would tell: none does.
  table = table_of(6, leak=0.0)
  noise = np.random.default_rng(1).normal(size=(len(table.labels), 40))
  folds = probe.random_folds(table, seed=0, count=6)
  found = probe.cross_validate(
    table, noise, probe.CLASSIFIERS["svm"], folds, by_group=False
  )
  assert accuracy(table, found) < 0.5
  np.testing.assert_array_equal(found.folds, folds)
  assert np.bincount(folds).tolist() == [12] * 6


def test_parameters_are_chosen_without_the_group_that_is_tested(monkeypatch):
  table = table_of(4, leak=1.0)
  seen = []
  inner = probe._inner_splits

  def record(rows, by_group, seed):
    splits = list(inner(rows, by_group, seed))
    seen.append((rows, splits))
    return iter(splits)

  monkeypatch.setattr(probe, "_inner_splits", record)
  folds = probe.group_folds(table, seed=0, count=0)
  probe.cross_validate(
    table, table.sets["x"], probe.CLASSIFIERS["lda"], folds, by_group=True
  )
  assert len(seen) == 4
  for fold, (rows, splits) in enumerate(seen):
    assert str(fold) not in rows.groups
    assert len(splits) == 3
    for train, val in splits:
      assert not {*rows.groups[train]} & {*rows.groups[val]}


def test_a_class_that_training_lacks_is_never_predicted():
  table = table_of(3, leak=0.0)
  labels = table.labels.copy()
  labels[table.groups != "2"] %= 2
  table = FeatureTable(
    table.sets, labels, table.classes, table.names, table.groups
  )
  for name in ("lda", "svm"):
    found = probe.cross_validate(
      table,
      table.sets["x"],
      probe.CLASSIFIERS[name],
      probe.group_folds(table, seed=0, count=0),
      by_group=True,
    )
    predicted = found.predictions.predicted()
    assert 2 not in predicted[table.groups == "2"]
    assert np.isfinite(found.predictions.logits).all()


def test_what_is_refused():
  table = table_of(3, leak=0.0)
  with pytest.raises(InputError, match="--folds: got 99; valid: 2 to 36"):
    probe.random_folds(table, seed=0, count=99)
  alone = table.take(np.arange(12))
  with pytest.raises(InputError, match="--groups: got no two groups"):
    probe.group_folds(alone, seed=0, count=0)
  with pytest.raises(InputError, match="fold 0, which leaves a single class"):
    probe.cross_validate(
      table,
      table.sets["x"],
      probe.CLASSIFIERS["lda"],
      np.where(table.labels == 0, 1, 0),
      by_group=False,
    )
  unknown = table.sets["x"].copy()
  unknown[:, 3] = np.nan
  folds = probe.random_folds(table, seed=0, count=3)
  with pytest.raises(InputError, match="a feature without a value"):
    probe.cross_validate(
      table, unknown, probe.CLASSIFIERS["lda"], folds, by_group=False
    )
