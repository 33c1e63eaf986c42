"""Tests of splits per group, per image and by the publisher's parts."""

import dataclasses

import numpy as np
import pytest

from mn_jax.data import splits
from mn_jax.data.datasets import idc, registry
from mn_jax.data.datasets.listing import PARTS
from mn_jax.data.files import archive
from mn_jax.errors import InputError
from tests.data import toy_tables as toy


def _names(split: splits.Split, images) -> dict[str, set[str]]:
  return {p: set(images.names[split.parts[p]].tolist()) for p in PARTS}


def _count_groups(split: splits.Split, images) -> dict[str, int]:
  return {p: len(set(images.groups[split.parts[p]])) for p in PARTS}


def test_grouped_split_does_not_leak():
  for groups in (3, 7, 20, 39, 40, 239):
    for seed in range(5):
      images = toy.table(groups, seed=seed)
      options = {"val_fraction": 0.34, "test_fraction": 0.34, "seed": seed}
      split = toy.make("grouped", images, **options)
      toy.assert_partition(split, len(images))
      assert splits.leaks(split.parts, images.groups) == []
      assert split.notes == ()


def test_grouped_fractions_do_not_drift():
  for groups, val, test in (
    (239, 0.15, 0.2),
    (239, 0.02, 0.02),
    (100, 0.1, 0.1),
    (1000, 0.25, 0.33),
  ):
    images = toy.table(groups)
    split = toy.make("grouped", images, val_fraction=val, test_fraction=test)
    counts = _count_groups(split, images)
    assert counts["val"] == round(val * groups)
    assert counts["test"] == round(test * groups)
    assert sum(counts.values()) == groups


@pytest.mark.parametrize("kind", ["grouped", "stratified", "random", "kfold"])
def test_the_seed_decides_and_not_the_order_of_rows(kind):
  images = toy.table(60)
  first, again, other = (toy.make(kind, images, seed=s) for s in (1, 1, 2))
  assert first.sha256 == again.sha256
  assert first.sha256 != other.sha256
  for part in PARTS:
    np.testing.assert_array_equal(first.parts[part], again.parts[part])
    assert not np.array_equal(first.parts[part], other.parts[part])
  for seed in range(3):
    order = np.random.default_rng(seed).permutation(len(images))
    shuffled = images.take(order)
    split = toy.make(kind, shuffled, seed=1)
    assert _names(split, shuffled) == _names(first, images)
    assert split.sha256 == first.sha256


def test_seed_decides_between_groups_of_equal_share():
  groups = np.repeat([f"{i}" for i in range(10)], 4)
  images = toy.of_groups(groups, np.zeros(40))
  tests = [
    frozenset(groups[toy.make("grouped", images, seed=seed).parts["test"]])
    for seed in range(50)
  ]
  # Every group is in some test, and no pair stands out.
  assert set().union(*tests) == set(groups.tolist())
  assert len(set(tests)) > 20


def test_strata_balance_the_share_of_positives():
  rng = np.random.default_rng(0)
  groups = np.repeat([f"{i}" for i in range(240)], rng.integers(1, 40, 240))
  share = dict(
    zip(np.unique(groups), rng.beta(0.5, 1, 240).clip(0.1) - 0.1, strict=True)
  )
  labels = rng.random(len(groups)) < np.array([share[g] for g in groups])
  images = toy.of_groups(groups, labels)
  of_group = {g: images.labels[groups == g].mean() for g in share}

  def spread(seed):
    parts = toy.make("grouped", images, seed=seed).parts
    return np.ptp(
      [np.mean([of_group[g] for g in set(groups[parts[p]])]) for p in PARTS]
    )

  # Without strata they differ by 0.06 on average.
  spreads = [spread(seed) for seed in range(20)]
  assert np.mean(spreads) < 0.02
  assert np.max(spreads) < 0.05


def test_split_per_image_notes_its_leaks():
  images = toy.table(30)
  for kind in ("stratified", "random"):
    split = toy.make(kind, images)
    count = len(splits.leaks(split.parts, images.groups))
    assert split.notes == (
      f"{count} of 30 groups are in more than one part: the numbers of a "
      f"{kind} split are inflated",
    )
    assert toy.make(kind, toy.ungrouped(images)).notes == ()


def _per_class(split: splits.Split, images) -> np.ndarray:
  """i64[parts, classes]: images of each part and class."""
  count = images.labels.max() + 1
  return np.array(
    [
      np.bincount(images.labels[split.parts[part]], minlength=count)
      for part in PARTS
    ]
  )


@pytest.mark.parametrize("counts", [(600,) * 10, (900, 90, 13, 1), (50, 0, 7)])
def test_stratified_split_gives_every_class_its_share(counts):
  images = toy.of_classes(*counts)
  for seed in range(3):
    split = toy.make("stratified", images, seed=seed)
    toy.assert_partition(split, sum(counts))
    expected = np.outer((0.65, 0.15, 0.2), counts)
    assert np.abs(_per_class(split, images) - expected).max() <= 1.5
    # The roundings of the classes do not add up.
    total = [len(split.parts[part]) for part in ("val", "test")]
    assert total == [round(0.15 * sum(counts)), round(0.2 * sum(counts))]


def test_random_split_ignores_classes_and_stratified_ignores_groups():
  images = toy.of_classes(*(60,) * 5)
  spread = [
    np.ptp(_per_class(toy.make(kind, images), images)[0])
    for kind in ("stratified", "random")
  ]
  assert spread[0] == 0
  assert spread[1] > 2
  images = toy.table(60)
  first = toy.make("stratified", images)
  other = toy.make("stratified", toy.ungrouped(images))
  assert first.sha256 == other.sha256
  # Every class above 0 counts as positive for the strata of groups.
  classes = dataclasses.replace(images, labels=images.labels * 7)
  first, other = (toy.make("grouped", table) for table in (images, classes))
  assert first.sha256 == other.sha256
  split = toy.make("random", images.take(np.arange(400)))
  toy.assert_partition(split, 400)
  assert [len(split.parts[part]) for part in PARTS] == [260, 60, 80]


def test_leaks_finds_what_is_injected():
  images = toy.table(30)
  parts = toy.make("grouped", images).parts
  assert splits.leaks(parts, images.groups) == []
  stolen = [parts["test"][0], parts["val"][-1]]
  leaky = parts | {"train": np.concatenate([parts["train"], stolen])}
  expected = set(images.groups[stolen].tolist())
  assert splits.leaks(leaky, images.groups) == sorted(expected)
  assert len(expected) == 2


_LISTS = {"train": ["g000", "g003"], "val": ["g001"], "test": ["g002", "g004"]}


def _published(groups: int, **changes: list[str]) -> splits.ImageTable:
  """Groups of which the lists are the publisher's parts."""
  images = toy.table(groups)
  parts = images.parts.copy()
  for part, listed in {**_LISTS, **changes}.items():
    parts[np.isin(images.groups, listed)] = part
  return dataclasses.replace(images, parts=parts)


def test_fixed_split_is_the_publishers():
  images = _published(5)
  split = toy.make("fixed", images)
  toy.assert_partition(split, len(images))
  for part, listed in _LISTS.items():
    assert set(images.groups[split.parts[part]].tolist()) == set(listed)
  assert split.notes == ()
  # Neither seed nor fractions matter.
  other = toy.make("fixed", images, seed=5, val_fraction=0.5)
  assert other.sha256 == split.sha256
  images = _published(7)
  split = toy.make("fixed", images)
  assert split.notes == ("2 groups are in no published part and not used",)
  used = np.concatenate(list(split.parts.values()))
  assert not np.isin(images.groups[used], ["g005", "g006"]).any()


def test_what_cannot_be_split_is_refused():
  images = toy.table(20)
  empty = "leaves no image for"
  for kind, table, options, message in (
    ("k-fold", images, {}, "got 'k-fold'; valid: grouped, fixed"),
    (
      "grouped",
      toy.ungrouped(images),
      {},
      f"each of the {len(images)} images is a group of its own; valid: "
      "stratified, random, kfold",
    ),
    ("fixed", images, {}, "no test part is published"),
    ("fixed", _published(5, test=[]), {}, "no test part is published"),
    ("fixed", _published(5, train=[]), {}, "no image for 'train'"),
    ("stratified", images, {"test_fraction": 0.0001}, empty),
    ("grouped", toy.table(1), {}, empty),
    ("grouped", toy.table(2), {}, empty),
    ("grouped", images, {"val_fraction": 0.01}, empty),
    ("random", images, {"test_fraction": 0.0001}, empty),
    ("grouped", images, {"val_fraction": 0.5, "test_fraction": 0.5}, empty),
    ("random", images, {"val_fraction": 0.8, "test_fraction": 0.8}, empty),
  ):
    with pytest.raises(InputError) as caught:
      toy.make(kind, table, **options)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_sha256_follows_the_parts():
  hashes = {
    toy.make("fixed", _published(5, **changes)).sha256
    for changes in (
      {},
      {"train": ["g000"]},
      {"train": ["g000"], "val": ["g001", "g003"]},
      {"val": ["g002", "g004"], "test": ["g001"]},
    )
  }
  assert len(hashes) == 4


def test_splits_never_change():
  # A published number belongs to a split: these may not move between versions.
  groups = np.array([f"{i // 5}" for i in range(200)])
  images = toy.of_groups(groups, np.arange(200) % 7 == 0)
  assert {
    kind: toy.make(kind, images).sha256[:32]
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
  parts, notes = registry.published_parts("idc", listing.groups, listing.parts)
  lists = idc.SPEC.part_lists()
  present = set(listing.groups.tolist())
  missing = {p: [c for c in lists[p] if c not in present] for p in PARTS}
  assert notes == tuple(
    f"{len(missing[p])} of {len(lists[p])} published {p} groups are not in "
    f"the data: {', '.join(missing[p])}"
    for p in PARTS
    if missing[p]
  )
  images = splits.ImageTable(
    listing.names, listing.groups, listing.labels, parts
  )
  split = toy.make("fixed", images)
  unlisted = len(present - set().union(*lists.values()))
  assert split.notes == (
    f"{unlisted} groups are in no published part and not used",
  )
  split = toy.make("grouped", images)
  assert _count_groups(split, images) == {"train": 155, "val": 36, "test": 48}
  shares = [listing.labels[split.parts[part]].mean() for part in PARTS]
  assert np.ptp(shares) < 0.08
