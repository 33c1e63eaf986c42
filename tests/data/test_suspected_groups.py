"""Tests of groups that the names of images suggest."""

import csv
import zipfile

import numpy as np

from mn_jax.data import groups
from mn_jax.data.datasets import registry
from mn_jax.data.files import archive
from mn_jax.data.suspected_groups import Suggestion, suggest


def _suggest(names: list[str], classes: list[str]) -> list[Suggestion]:
  labels = np.unique(classes, return_inverse=True)[1].astype(np.int32)
  suggestions = suggest(np.array(names), labels)
  # In another order they are the same but for the example.
  order = np.random.default_rng(1).permutation(len(names))
  shuffled = suggest(np.array(names)[order], labels[order])
  assert [s.pattern for s in shuffled] == [s.pattern for s in suggestions]
  for suggestion in suggestions:
    # What is said is what the pattern does.
    found, _ = groups.by_pattern(suggestion.pattern, np.array(names))
    matched = found != np.array(names)
    sizes = np.unique(found[matched], return_counts=True)[1]
    assert suggestion.groups == len(sizes)
    assert suggestion.images == matched.sum() == sizes.sum()
    assert suggestion.largest == sizes.max()
    assert suggestion.total == len(names)
    assert found[names.index(suggestion.name)] == suggestion.group
  return suggestions


def _class_of(names: list[str]) -> list[str]:
  return [name.split("/")[-2] for name in names]


def test_repeated_names_are_suggested():
  rng = np.random.default_rng(0)
  random = [str(i) for i in rng.integers(0, 3, 10_000)]
  for names, pattern, count in (
    # A patient first, also where a folder or a side comes before.
    (
      [f"{i % 2}/p{i // 9}_{i}.png" for i in range(270)],
      r"(?:^|/)(p\d+)[^/]*$",
      30,
    ),
    (
      [f"{side}_{i}.jpeg" for side in ("left", "right") for i in range(200)],
      r"(?:^|/)[^/_]+_(\d+)[^/]*$",
      200,
    ),
    (
      [f"img/{k}/f-{i:03}.png" for k in ("a", "bc", "d2") for i in range(30)],
      "^[^/]+/([^/]+)/",
      3,
    ),
    # A hash first, and one of two forms without a region.
    (
      [
        f"{rng.integers(1 << 40):X}_S-HE-{i % 11:02}{'_7' * (i % 2)}.tif x.png"
        for i in range(330)
      ],
      r"(?:^|/)[^/_. -]+_(S-HE-\d+)[^/]*$",
      11,
    ),
    # Few objects of two classes.
    (
      [f"{'ab'[p % 2]}/animal{p}_{k}.png" for p in range(12) for k in range(6)],
      r"(?:^|/)(animal\d+)[^/]*$",
      12,
    ),
    # Kinds of a class and a constant first.
    (
      [
        f"{c}/S_{c}{k}-14-{100 * k + p}-{x}.png"
        for c in "BM"
        for k in range(3)
        for p in range(10)
        for x in range(9)
      ],
      r"(?:^|/)(S_[^/_-]+-14-\d+)[^/]*$",
      60,
    ),
  ):
    is_classed = names[0][1:2] == "/"
    classes = _class_of(names) if is_classed else random[: len(names)]
    first, *_ = _suggest(names, classes)
    assert (first.pattern, first.groups) == (pattern, count)
    assert first.images == len(names)
    assert f"data.group_pattern='{pattern}' keeps" in first.describe()


def test_numbers_of_images_suggest_nothing():
  rng = np.random.default_rng(0)
  for names in (
    [f"{c}/{c}_{i}.jpg" for c in ("Forest", "River") for i in range(99)],
    [f"{c}/{c} ({i}).jpg" for c in ("gg", "m", "no") for i in range(99)],
    [f"{c}/IMG_{i:04}.jpg" for c in "ab" for i in range(99)],
    [f"{c}/{rng.integers(1 << 60):x}.jpg" for c in "ab" for i in range(99)],
    [f"{c}/{i}.jpg" for c in "ab" for i in range(99)],
    [f"train/{c}/train_{i}.jpg" for i, c in enumerate("abcde" * 20)]
    + [f"test/{c}/test_{i}.jpg" for i, c in enumerate("abcde" * 5)],
    # Numbers that start again in every class of every part.
    [
      f"{part}/{c}/{i:04}.png"
      for part, count in (("train", 60), ("val", 20), ("test", 20))
      for c in "ab"
      for i in range(count)
    ],
    # Kinds of a class.
    [f"{c}/{c}{i % 3}_{i}.jpg" for c in "ab" for i in range(99)],
    ["a/1.png", "b/2.png"],
  ):
    assert _suggest(names, _class_of(names)) == []
  # Patients are told from such numbers, also where they are in two parts.
  names = [
    f"{part}/{'ab'[i % 2]}/p{i // 6:02}_{i:04}.png"
    for part in ("train", "test")
    for i in range(120)
  ]
  assert _suggest(names, _class_of(names))[0].groups == 20
  several = np.tile(np.array([[1, 1, 0], [0, 1, 0]], np.uint8), (50, 1))
  names = np.array([f"p{i // 5}_{i}.png" for i in range(100)])
  assert suggest(names, several)[0].groups == 20


def test_real_names(shared_data):
  def listed(archive: str) -> list[str]:
    with zipfile.ZipFile(shared_data / archive) as file:
      return [n for n in file.namelist() if "." in n.rpartition("/")[2]]

  names = listed("EuroSAT.zip")
  assert _suggest(names, _class_of(names)) == []
  # IDC: by folder, or by file where all are in one.
  names = listed("breast-histopathology-images.zip")
  classes = [name.split("/")[1] for name in names]
  patients = {name.split("/")[0] for name in names}
  for prefix in (0, 1, 2):
    short = ["/".join(name.split("/")[prefix:]) for name in names]
    first, *_ = _suggest(short, classes)
    assert first.groups == len(patients) == 239
    found, _ = groups.by_pattern(first.pattern, np.array(short))
    assert found.tolist() == [name.split("/")[0] for name in names]
  with (shared_data / "kather2016_names_5000.csv").open(encoding="utf-8") as f:
    rows = [*csv.DictReader(f)]
  names = [row["name"] for row in rows]
  first, *_ = _suggest(names, [row["class"] for row in rows])
  found, _ = groups.by_pattern(first.pattern, np.array(names))
  assert found.tolist() == [f"CRC-Prim-HE-{row['slide']}" for row in rows]


def test_real_persons(shared_data):
  files = archive.open_files(shared_data / "chest-xray-pneumonia.zip")
  xrays = registry.get("chest_xray").open(files).listing
  files.close()
  (first,) = _suggest(xrays.names.tolist(), xrays.labels.tolist())
  found, _ = groups.by_pattern(first.pattern, xrays.names)
  matched = found != xrays.names
  # Numbers of the normal ones are hardly ever repeated.
  assert (matched == (xrays.labels == 1)).all()
  assert (found[matched] == xrays.groups[matched]).all()
  assert (first.images, first.groups) == (4_273, 1_674)
