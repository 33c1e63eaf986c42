"""Tests of splits."""

import numpy as np
import pytest

from mn_jax.data import splits
from mn_jax.data.datasets import idc, registry
from mn_jax.data.files import archive
from mn_jax.errors import InputError

_PARTS = ("train", "val", "test")


def _table(num_groups: int, seed: int = 0) -> dict[str, np.ndarray]:
  """Names, groups and labels, in the order of the groups.

  Groups differ in size and in their share of class 1; some have none of it.
  """
  rng = np.random.default_rng(seed)
  sizes = rng.integers(1, 40, num_groups)
  groups = np.repeat([f"{i + 100}" for i in range(num_groups)], sizes)
  share = np.repeat(rng.beta(0.5, 1, num_groups).clip(0.1) - 0.1, sizes)
  labels = (rng.random(len(groups)) < share).astype(np.int32)
  names = np.array([f"{group}_{i}" for i, group in enumerate(groups)])
  return {"names": names, "groups": groups, "labels": labels}


def _make(
  kind: str,
  table: dict[str, np.ndarray],
  lists: dict[str, list[str]] | None = None,
  **options,
) -> splits.Split:
  """A split; `lists` has the groups of each published part."""
  parts = np.full(len(table["names"]), "", "U5")
  for part, listed in (lists or {}).items():
    parts[np.isin(table["groups"], listed)] = part
  full = splits.ImageTable(**{"parts": parts, **table})
  return splits.make(splits.Rule(kind, **options), full)


def _names(split: splits.Split, table) -> dict[str, set[str]]:
  return {p: set(table["names"][split.parts[p]].tolist()) for p in _PARTS}


def _count_groups(split: splits.Split, table) -> dict[str, int]:
  return {p: len(set(table["groups"][split.parts[p]])) for p in _PARTS}


def _assert_partition(split: splits.Split, count: int) -> None:
  together = np.concatenate([split.parts[part] for part in _PARTS])
  np.testing.assert_array_equal(np.sort(together), np.arange(count))
  for rows in split.parts.values():
    assert rows.dtype == np.int64
    assert (np.diff(rows) > 0).all()


@pytest.mark.parametrize("num_groups", [3, 7, 20, 39, 40, 239])
@pytest.mark.parametrize("seed", range(5))
def test_grouped_split_does_not_leak(num_groups, seed):
  table = _table(num_groups, seed)
  options = {"val_fraction": 0.34, "test_fraction": 0.34, "seed": seed}
  split = _make("grouped", table, **options)
  _assert_partition(split, len(table["names"]))
  assert splits.leaks(split.parts, table["groups"]) == []
  assert split.notes == ()


@pytest.mark.parametrize(
  ("num_groups", "val", "test"),
  [(239, 0.15, 0.2), (239, 0.02, 0.02), (100, 0.1, 0.1), (1000, 0.25, 0.33)],
)
def test_grouped_fractions_do_not_drift(num_groups, val, test):
  table = _table(num_groups)
  split = _make("grouped", table, val_fraction=val, test_fraction=test)
  counts = _count_groups(split, table)
  assert counts["val"] == round(val * num_groups)
  assert counts["test"] == round(test * num_groups)
  assert sum(counts.values()) == num_groups


@pytest.mark.parametrize("kind", ["grouped", "stratified", "random"])
@pytest.mark.parametrize("seed", range(5))
def test_order_of_rows_does_not_matter(kind, seed):
  table = _table(60)
  order = np.random.default_rng(seed).permutation(len(table["names"]))
  shuffled = {key: values[order] for key, values in table.items()}
  split, other = _make(kind, table), _make(kind, shuffled)
  assert _names(split, table) == _names(other, shuffled)
  assert split.sha256 == other.sha256


@pytest.mark.parametrize("kind", ["grouped", "stratified", "random"])
def test_seed_decides(kind):
  table = _table(60)
  first, again, other = (_make(kind, table, seed=seed) for seed in (1, 1, 2))
  assert first.sha256 == again.sha256
  for part in _PARTS:
    np.testing.assert_array_equal(first.parts[part], again.parts[part])
    assert not np.array_equal(first.parts[part], other.parts[part])
  assert first.sha256 != other.sha256


def test_seed_decides_between_groups_of_equal_share():
  groups = np.repeat([f"{i}" for i in range(10)], 4)
  table = {
    "names": np.array([f"n{i}" for i in range(40)]),
    "groups": groups,
    "labels": np.zeros(40, np.int32),
  }
  tests = [
    frozenset(groups[_make("grouped", table, seed=seed).parts["test"]])
    for seed in range(50)
  ]
  # Every group gets its turn, and no pair stands out.
  assert set().union(*tests) == set(groups.tolist())
  assert len(set(tests)) > 20


def test_strata_balance_the_share_of_positives():
  def spread(table, kind, seed):
    parts = _make(kind, table, seed=seed).parts
    by_group = {
      group: table["labels"][table["groups"] == group].mean()
      for group in set(table["groups"].tolist())
    }
    shares = [
      np.mean([by_group[g] for g in set(table["groups"][parts[p]].tolist())])
      for p in _PARTS
    ]
    return np.ptp(shares)

  table = _table(240)
  # Without strata they differ by 0.06 on average.
  spreads = [spread(table, "grouped", seed) for seed in range(20)]
  assert np.mean(spreads) < 0.02
  assert np.max(spreads) < 0.05


def test_every_class_above_zero_counts_as_positive():
  table = _table(60)
  other = np.random.default_rng(0).integers(1, 9, len(table["labels"]))
  classes = table | {"labels": table["labels"] * other}
  assert _make("grouped", table).sha256 == _make("grouped", classes).sha256


@pytest.mark.parametrize("seed", range(5))
def test_random_fractions_are_exact(seed):
  table = _table(30)
  table = {key: values[:400] for key, values in table.items()}
  split = _make("random", table, seed=seed)
  _assert_partition(split, 400)
  assert [len(split.parts[part]) for part in _PARTS] == [260, 60, 80]


@pytest.mark.parametrize("kind", ["stratified", "random"])
def test_split_by_image_says_that_it_leaks(kind):
  split = _make(kind, _table(30))
  (note,) = split.notes
  leaked = splits.leaks(split.parts, _table(30)["groups"])
  assert note.startswith(
    f"{len(leaked)} of 30 groups are in more than one part"
  )
  assert note.endswith(f"a {kind} split are inflated")


@pytest.mark.parametrize("kind", ["stratified", "random"])
def test_split_by_image_without_groups_has_no_note(kind):
  table = _table(30)
  assert _make(kind, table | {"groups": table["names"]}).notes == ()


def test_grouped_split_needs_groups():
  table = _table(30)
  with pytest.raises(InputError) as caught:
    _make("grouped", table | {"groups": table["names"]})
  message = str(caught.value)
  assert f"each of the {len(table['names'])} images is a group" in message
  assert message.endswith("valid: stratified, random, kfold")
  assert "\n" not in message


def _classes(*counts: int) -> dict[str, np.ndarray]:
  """Images without groups, so many of each class, in no order."""
  labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
  labels = np.random.default_rng(0).permutation(labels)
  names = np.array([f"n{i}" for i in range(len(labels))])
  return {"names": names, "groups": names, "labels": labels}


def _per_class(split: splits.Split, table) -> np.ndarray:
  """i64[parts, classes]: images of each part and class."""
  count = table["labels"].max() + 1
  return np.array(
    [
      np.bincount(table["labels"][split.parts[part]], minlength=count)
      for part in _PARTS
    ]
  )


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("counts", [(600,) * 10, (900, 90, 13, 1), (50, 0, 7)])
def test_stratified_split_gives_every_class_its_share(counts, seed):
  table = _classes(*counts)
  split = _make("stratified", table, seed=seed)
  _assert_partition(split, sum(counts))
  expected = np.outer((0.65, 0.15, 0.2), counts)
  got = _per_class(split, table)
  assert np.abs(got - expected).max() <= 1.5
  # The roundings of the classes do not add up.
  total = [len(split.parts[part]) for part in ("val", "test")]
  assert total == [round(0.15 * sum(counts)), round(0.2 * sum(counts))]


def test_random_split_does_not_know_classes():
  table = _classes(*(60,) * 5)
  spread = [
    np.ptp(_per_class(_make(kind, table), table)[0])
    for kind in ("stratified", "random")
  ]
  assert spread[0] == 0
  assert spread[1] > 2


def test_stratified_split_does_not_know_groups():
  table = _table(60)
  alone = table | {"groups": table["names"]}
  assert _make("stratified", table).sha256 == _make("stratified", alone).sha256


def test_leaks_finds_what_is_injected():
  table = _table(30)
  parts = _make("grouped", table).parts
  assert splits.leaks(parts, table["groups"]) == []
  stolen = [parts["test"][0], parts["val"][-1]]
  leaky = parts | {"train": np.concatenate([parts["train"], stolen])}
  expected = {
    group
    for group in table["groups"][stolen].tolist()
    if np.isin(group, table["groups"][np.r_[parts["val"], parts["test"]]])
  }
  assert splits.leaks(leaky, table["groups"]) == sorted(expected)
  assert len(expected) == 2


def _lists(**changes) -> dict[str, list[str]]:
  return {
    "train": ["100", "103"],
    "val": ["101"],
    "test": ["102", "104"],
    **changes,
  }


def test_fixed_split_honours_the_lists():
  table = _table(5)
  split = _make("fixed", table, _lists())
  _assert_partition(split, len(table["names"]))
  for part, listed in _lists().items():
    assert set(table["groups"][split.parts[part]].tolist()) == set(listed)
  assert split.notes == ()
  # Neither seed nor fractions have a say.
  other = _make("fixed", table, _lists(), seed=5, val_fraction=0.5)
  assert other.sha256 == split.sha256


def test_fixed_split_reports_unlisted_groups():
  table = _table(7)  # 100 to 106
  split = _make("fixed", table, _lists())
  assert split.notes == ("2 groups are in no published part and not used",)
  used = np.concatenate(list(split.parts.values()))
  assert not np.isin(table["groups"][used], ["105", "106"]).any()


def test_fixed_split_needs_a_published_test():
  for lists in (None, _lists(test=[])):
    with pytest.raises(InputError, match="no test part is published"):
      _make("fixed", _table(5), lists)


def test_fixed_split_without_training_images():
  with pytest.raises(InputError, match="no image for 'train'"):
    _make("fixed", _table(5), _lists(train=[]))


@pytest.mark.parametrize(
  ("kind", "num_groups", "options"),
  [
    ("stratified", 20, {"test_fraction": 0.0001}),
    ("grouped", 1, {}),
    ("grouped", 2, {}),
    ("grouped", 20, {"val_fraction": 0.01}),
    ("random", 20, {"test_fraction": 0.0001}),
    ("grouped", 20, {"val_fraction": 0.5, "test_fraction": 0.5}),
    ("random", 20, {"val_fraction": 0.8, "test_fraction": 0.8}),
  ],
)
def test_empty_part_is_refused(kind, num_groups, options):
  with pytest.raises(InputError, match="leaves no image for") as caught:
    _make(kind, _table(num_groups), **options)
  assert "\n" not in str(caught.value)


def test_unknown_kind():
  with pytest.raises(InputError, match="got 'k-fold'; valid: grouped, fixed"):
    _make("k-fold", _table(5))


def test_sha256_follows_the_parts():
  table = _table(5)
  seen = {
    _make("fixed", table, _lists(**changes)).sha256
    for changes in (
      {},
      {"train": ["100"]},
      {"train": ["100"], "val": ["101", "103"]},
      {"val": ["102", "104"], "test": ["101"]},
    )
  }
  assert len(seen) == 4


def test_splits_never_change():
  # A published number belongs to a split: these may not move between versions.
  names = np.array([f"{i // 5}_{i}" for i in range(200)])
  groups = np.array([f"{i // 5}" for i in range(200)])
  labels = (np.arange(200) % 7 == 0).astype(np.int32)
  table = {"names": names, "groups": groups, "labels": labels}
  assert {
    kind: _make(kind, table).sha256[:32]
    for kind in ("grouped", "stratified", "random")
  } == {
    "stratified": "88a17fae29c7c8ef21bd10d458a42399",
    "grouped": "f44c56ce7e7d36efa10523ee4a4126dd",
    "random": "39560888032bf6cfdfc1bd3e3334060b",
  }


def test_the_real_set(shared_data):
  files = archive.open_files(shared_data / "breast-histopathology-images.zip")
  listing = idc.list_images(files)
  files.close()
  table = {
    "names": listing.names,
    "groups": listing.groups,
    "labels": listing.labels,
  }
  parts, notes = registry.published_parts("idc", listing.groups, listing.parts)
  lists = registry.case_lists("idc")
  present = set(listing.groups.tolist())
  missing = {p: [c for c in lists[p] if c not in present] for p in _PARTS}
  assert notes == tuple(
    f"{len(missing[p])} of {len(lists[p])} published {p} groups are not in "
    f"the data: {', '.join(missing[p])}"
    for p in _PARTS
    if missing[p]
  )
  split = splits.make(
    splits.Rule("fixed"), splits.ImageTable(parts=parts, **table)
  )
  unlisted = len(present) - sum(len(set(lists[p]) & present) for p in _PARTS)
  assert split.notes == (
    f"{unlisted} groups are in no published part and not used",
  )

  split = _make("grouped", table)
  assert _count_groups(split, table) == {"train": 155, "val": 36, "test": 48}
  shares = [listing.labels[split.parts[part]].mean() for part in _PARTS]
  assert np.ptp(shares) < 0.08
