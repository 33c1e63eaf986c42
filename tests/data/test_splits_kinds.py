"""Tests of folds, published parts, shares of the training part, classes."""

import dataclasses

import numpy as np
import pytest

from mn_jax.data import splits, strata
from mn_jax.data.datasets import chest_xray
from mn_jax.data.datasets.listing import PARTS
from mn_jax.data.files import archive
from mn_jax.errors import InputError
from tests.data import toy_tables as toy


@pytest.mark.parametrize("grouped", [True, False])
@pytest.mark.parametrize("folds", [2, 5, 10])
def test_folds_are_disjoint_tests_of_everything(folds, grouped):
  table = toy.table(40, classes=3)
  table = table if grouped else toy.ungrouped(table)
  seen = []
  for fold in range(folds):
    split = toy.make("kfold", table, folds=folds, fold=fold)
    toy.assert_partition(split, len(table))
    assert splits.leaks(split.parts, table.groups) == []
    seen.append(split.parts["test"])
  np.testing.assert_array_equal(
    np.sort(np.concatenate(seen)), np.arange(len(table))
  )


def test_folds_have_similar_sizes_and_classes():
  def count(table, **options):
    """i64[folds, classes]: images of each class in the tests."""
    return np.array(
      [
        np.bincount(table.labels[split.parts["test"]])
        for fold in range(5)
        for split in [toy.make("kfold", table, folds=5, fold=fold, **options)]
      ]
    )

  counts = count(toy.ungrouped(toy.table(40, classes=4)))
  assert (np.ptp(counts, axis=0) <= 1).all()
  assert np.ptp(counts.sum(1)) <= 1
  for seed in range(3):
    counts = count(toy.table(200, classes=3, seed=seed), seed=seed)
    np.testing.assert_allclose(counts / counts.sum(0), 0.2, atol=0.02)


def test_one_fold_per_group_leaves_one_out():
  table = toy.table(10)
  for fold in range(10):
    split = toy.make("kfold", table, folds=0, fold=fold)
    assert set(table.groups[split.parts["test"]]) == {f"g{fold:03}"}
    assert len(set(table.groups[split.parts["val"]])) >= 1


def test_folds_that_are_not_there():
  table = toy.table(10)
  for options, images, message in (
    ({"folds": 11}, table, "data.folds: got 11 for 10 groups; valid: 2 to 10"),
    ({"folds": 5, "fold": 5}, table, "data.fold: got 5; valid: 0 to 4"),
    ({"folds": 0, "fold": 10}, table, "data.fold: got 10; valid: 0 to 9"),
    ({"folds": 0}, toy.ungrouped(table), "data.folds: got 0, one fold per gr"),
  ):
    with pytest.raises(InputError) as caught:
      toy.make("kfold", images, **options)
    assert message in str(caught.value)


def _published(table: splits.ImageTable, share: float) -> splits.ImageTable:
  """The first groups are published as training, the others as a test."""
  place = np.unique(table.groups, return_inverse=True)[1]
  parts = np.where(place < share * (place.max() + 1), "train", "test")
  return dataclasses.replace(table, parts=parts)


@pytest.mark.parametrize("grouped", [True, False])
def test_missing_validation_is_drawn_from_training(grouped):
  table = _published(toy.table(60), 0.7)
  table = table if grouped else toy.ungrouped(table)
  split = toy.make("fixed", table, val_fraction=0.25)
  toy.assert_partition(split, len(table))
  np.testing.assert_array_equal(
    split.parts["test"], np.flatnonzero(table.parts == "test")
  )
  assert splits.leaks(split.parts, table.groups) == []
  share = len(split.parts["val"]) / (table.parts == "train").sum()
  assert abs(share - 0.25) < 0.06
  other = toy.make("fixed", table, val_fraction=0.25, seed=1)
  np.testing.assert_array_equal(split.parts["test"], other.parts["test"])
  assert other.sha256 != split.sha256


def test_groups_in_training_and_test_are_noted_or_dropped():
  table = _published(toy.table(20), 0.5)
  groups = table.groups.copy()
  groups[np.flatnonzero(table.parts == "train")[:30]] = table.groups[-1]
  table = dataclasses.replace(table, groups=groups)
  split = toy.make("fixed", table)
  assert splits.leaks(split.parts, table.groups) == [table.groups[-1]]
  (note,) = split.notes
  assert note.startswith("1 of ")
  assert "shared_groups=drop" in note
  rule = splits.Rule("fixed", shared_groups="drop")
  dropped = splits.make(rule, table)
  assert splits.leaks(dropped.parts, table.groups) == []
  assert dropped.notes == (
    "30 train images are left out: their groups are in the test",
  )
  np.testing.assert_array_equal(dropped.parts["test"], split.parts["test"])


@pytest.mark.parametrize("kind", ["grouped", "kfold", "stratified", "random"])
def test_smaller_shares_of_training_are_part_of_larger_ones(kind):
  table = toy.table(80, classes=3)
  whole = toy.make(kind, table)
  all_rows = whole.parts["train"]
  inner: set[int] = set()
  for share in (0.05, 0.1, 0.25, 0.5, 0.9):
    split = toy.make(kind, table, train_fraction=share)
    for part in ("val", "test"):
      np.testing.assert_array_equal(split.parts[part], whole.parts[part])
    rows = split.parts["train"]
    assert inner <= set(rows.tolist()) <= set(all_rows.tolist())
    inner = set(rows.tolist())
    count, expected = len(rows), share * len(all_rows)
    if kind in ("grouped", "kfold"):
      used = np.isin(table.groups[all_rows], table.groups[rows])
      assert used.sum() == len(rows)  # groups are whole
      count = len(set(table.groups[rows]))
      expected = share * len(set(table.groups[all_rows]))
    assert abs(count - expected) <= 3
  # A share per image keeps every class.
  table = toy.ungrouped(table)
  split = toy.make("stratified", table, train_fraction=0.001)
  assert np.bincount(table.labels[split.parts["train"]]).tolist() == [1] * 3


def test_first_classes_only():
  table = toy.table(40, classes=6)
  split = toy.make("stratified", table, classes=2)
  rows = np.concatenate([split.parts[part] for part in PARTS])
  np.testing.assert_array_equal(np.sort(rows), np.flatnonzero(table.labels < 2))
  # The other classes do not matter.
  few = table.take(np.flatnonzero(table.labels < 2))
  assert toy.make("stratified", few).sha256 == split.sha256


def test_kinds_never_change():
  # A published number belongs to a split: these may not move between versions.
  names = np.array([f"{i // 5}_{i}" for i in range(200)])
  groups = np.array([f"{i // 5}" for i in range(200)])
  labels = (np.arange(200) % 7 % 3).astype(np.int32)
  parts = np.where(np.arange(200) < 150, "train", "test")
  table = splits.ImageTable(names, groups, labels, parts)
  for kind, options, images, expected in (
    ("kfold", {"fold": 1}, table, "8b282e36d323792c"),
    ("kfold", {"folds": 0, "fold": 7}, table, "ab85930e6c6b6b2c"),
    ("kfold", {"fold": 1}, toy.ungrouped(table), "77cdcf9d23642f47"),
    ("fixed", {}, table, "6549f8feb22567ee"),
    ("grouped", {"train_fraction": 0.3}, table, "10e885dcfbe33ccb"),
    ("stratified", {"train_fraction": 0.3}, table, "db7ac1cda303563a"),
  ):
    split = toy.make(kind, images, **options)
    assert split.sha256[:16] == expected, (kind, options)


def test_real_xrays_have_a_validation_part_of_use(shared_data):
  files = archive.open_files(shared_data / "chest-xray-pneumonia.zip")
  listing = chest_xray.SPEC.open(files).listing
  files.close()
  table = splits.ImageTable(
    listing.names, listing.groups, listing.labels, listing.parts
  )
  for seed in range(5):
    split = toy.make("fixed", table, seed=seed)
    assert len(split.parts["test"]) == 624
    assert len(split.parts["val"]) >= 500
    names = listing.names[split.parts["val"]]
    assert sum(name.startswith("val/") for name in names) < 17
    train = set(listing.groups[split.parts["train"]])
    assert train.isdisjoint(listing.groups[split.parts["val"]])
    share = [listing.labels[split.parts[p]].mean() for p in ("train", "val")]
    assert abs(share[0] - share[1]) < 0.06


def test_parts_of_few_groups_have_all_classes_if_that_is_possible():
  drawn_again = 0
  for seed in range(20):
    # Five groups of one class and four of another; a third class in two.
    groups = np.repeat([f"g{i}" for i in range(11)], 3)
    labels = np.repeat([0, 1, 0, 1, 0, 1, 0, 1, 0, 2, 2], 3)
    table = toy.of_groups(groups, labels)
    split = toy.make("grouped", table, seed=seed, val_fraction=0.25)
    toy.assert_partition(split, len(table))
    assert splits.leaks(split.parts, groups) == []
    found = [{*labels[split.parts[part]].tolist()} for part in PARTS]
    assert all(classes >= {0, 1} for classes in found)
    assert sum(2 in classes for classes in found) == 2
    drawn_again += bool(split.notes)
    again = toy.make("grouped", table, seed=seed, val_fraction=0.25)
    assert again.sha256 == split.sha256
  assert 5 < drawn_again < 20
  assert "the first of " in split.notes[0] or not split.notes
  # Where the first seed does it, nothing else is looked at.
  for seed in range(3):
    table = toy.table(60, classes=3, seed=seed)
    ids, _, members = strata.group_strata(table.groups, table.labels, seed)
    first = strata.assign_parts(ids, members, seed, {"test": 0.2, "val": 0.15})
    split = toy.make("grouped", table, seed=seed)
    for part in PARTS:
      assert {*table.groups[split.parts[part]]} == {*ids[first[part]]}
    assert split.notes == ()
