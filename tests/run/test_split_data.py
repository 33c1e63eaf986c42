"""Tests of loading and splitting the user's images, as a config says."""

import dataclasses
import pathlib
import unicodedata

import numpy as np
import pytest
from PIL import Image

from mn_jax.config import files
from mn_jax.config.sections.data import DataConfig
from mn_jax.data import classes
from mn_jax.errors import InputError
from mn_jax.run import open_data, split_data


@pytest.fixture
def load(tmp_path):
  """Writes so many images to each folder and loads them."""

  def load_(folders: dict[str, int], **fields) -> split_data.SplitData:
    root = tmp_path / str(len(list(tmp_path.iterdir())))
    rng = np.random.default_rng(0)
    for folder, count in folders.items():
      (root / folder).mkdir(parents=True)
      for i in range(count):
        image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
        image.save(root / folder / f"{pathlib.Path(folder).name}{i}.png")
    section = DataConfig(
      name="image_folder",
      path=str(root),
      cache_dir=str(tmp_path / "cache"),
      image_size=8,
      **{"split": "auto", **fields},
    )
    return split_data.load(section, lambda *_: None)

  return load_


def _check(data: split_data.SplitData, *allowed: str) -> str:
  """What is wrong with the classes of a split, or ''."""
  try:
    classes.check(data.kind, data.classes, data.counts(), allowed)
  except InputError as error:
    return str(error)
  return ""


def _published(train: dict[str, int], test: dict[str, int]) -> dict[str, int]:
  parts = {"train": train, "test": test}
  return {f"{p}/{name}": n for p in parts for name, n in parts[p].items()}


def test_auto_uses_parts_then_groups_then_classes(load):
  pair = {"a": 20, "b": 20}
  for folders, kind, why in (
    (_published(pair, pair), "fixed", "there is a test part"),
    (
      {f"{c}/p{i}": 2 for c in "ab" for i in range(10)},
      "grouped",
      "groups are known",
    ),
    (
      {f"{c}/{scale}X": 10 for c in "ab" for scale in (40, 100)},
      "stratified",
      "a class has 2 groups, too few for 3 parts, so that images of one group "
      "may be in two parts",
    ),
    (pair, "stratified", "neither a test part nor groups are known"),
    ({"train/a": 20, "train/b": 20}, "stratified", "neither a test part"),
  ):
    data = load(folders)
    assert data.kind == kind
    assert f"data.split=auto is {kind} here: {why}" in data.split.notes[0]
    # The split is the one that the kind by its name gives.
    explicit = load(folders, split=kind)
    assert explicit.split.sha256 == data.split.sha256
    assert not any("auto" in note for note in explicit.split.notes)
    known = kind == "grouped" or "too few" in why
    assert (data.spec.group is not None) == known
  folders = {"train/a": 20, "train/b": 20, "val/a": 5, "val/b": 5}
  with pytest.raises(InputError, match="a validation part but no test; valid"):
    load(folders)
  with pytest.raises(InputError, match="no test part is published"):
    load(folders, split="fixed")
  assert load(folders, split="stratified").kind == "stratified"


def test_a_published_test_in_training_is_said(load):
  pair = {"a": 20, "b": 20}
  for kind in ("stratified", "random", "kfold"):
    data = load(_published(pair, pair), split=kind)
    listed = np.concatenate([data.part("train"), data.part("val")])
    count = (data.cache.parts[listed] == "test").sum()
    assert f"{count} images of the published test are in tr" in str(
      data.split.notes
    )
  assert "published" not in str(load(_published(pair, pair)).split.notes)


def test_classes_of_other_names_in_the_test_stop_the_run(load):
  nfc, nfd = (unicodedata.normalize(f, "Müll") for f in ("NFC", "NFD"))
  for train, test, alike in (
    ("Cat", "cat", "'Cat' and 'cat' differ in case"),
    (nfc, nfd, r"'Mu\u0308ll' and 'M\xfcll' differ in case, white"),
    ("hot dog", "hotdog", "'hot dog' and 'hotdog' differ in case, white space"),
    ("ant", "bee", ""),
  ):
    data = load(_published({train: 20, "x": 20}, {test: 9, "x": 9}))
    problem = _check(data)
    assert (
      f"'fixed', which leaves training without an image of {test!a} and the "
      f"test without an image of {train!a} (training has" in problem
    )
    assert f"9 of {test!a}, 9 of 'x'" in problem
    assert (" differ in" in problem) == bool(alike)
    assert alike in problem
    assert _check(data, train, test) == ""
    assert any(alike in note for note in data.split.notes)
    assert problem.isprintable()
  assert "valid: Cat, cat, x" in _check(
    load(_published({"Cat": 9, "x": 9}, {"cat": 9, "x": 9})), "Cat", "c"
  )


def test_a_class_of_too_few_images_stops_the_run(load):
  data = load({"a": 30, "b": 30, "one": 1, "uno": 1, "few": 6})
  problem = _check(data)
  assert "(in all 1 of 'one', 1 of 'uno'); valid: more images" in problem
  assert "data.allow_missing=('one', 'uno')" in problem
  assert "few" not in problem
  assert _check(data, "one", "uno") == ""
  notes = str(data.split.notes)
  assert "training has fewer than 5 images of few (" in notes
  assert "the test has no image of" in notes
  # Of validation, and of a test by cross-validation, it is a note.
  data = load({"a": 30, "b": 30, "two": 2}, val_fraction=0.01)
  assert data.counts()["val"].min() == 0
  assert "validation has no image of" in str(data.split.notes)
  folds = {f"{c}/p{i}": 3 for c in "ab" for i in range(5)} | {
    "c/q": 9,
    "c/r": 9,
  }
  some = [load(folds, split="kfold", fold=fold) for fold in range(5)]
  lacking = [not data.counts()["test"].all() for data in some]
  assert any(lacking)
  for data, is_lacking in zip(some, lacking, strict=True):
    assert not is_lacking or "the test has no image of" in str(data.split.notes)
    assert "the test without" not in _check(data)


def test_a_part_of_one_class_is_said(load):
  data = load({"a": 40, "b": 1}, split_seed=1)
  assert "the test has images of one class alone: balanced" in str(
    data.split.notes
  )


_UNGROUPED = (
  "no groups are known: images of one patient or object may be in two parts; "
  "data.group_pattern, or data.group of a table, tells them",
)


def test_clean_data_have_one_note_or_none(load):
  data = load({"a": 40, "b": 40}, split="stratified")
  assert data.split.notes == _UNGROUPED
  assert data.cache.notes == data.cache.left_out == ()
  assert _check(data) == ""
  unused = load({"a": 40, "b": 40, "c": 1}, split="stratified", classes=2)
  assert dataclasses.asdict(unused.split)["notes"] == _UNGROUPED
  assert _check(unused) == ""
  grouped = load({f"{c}/p{i}": 2 for c in "ab" for i in range(20)})
  assert not any("no groups" in note for note in grouped.notes())


def test_groups_in_names_are_suggested(load):
  # Named after their folders: p0_0.png, p1_0.png and so on.
  data = load({"a": 30, "b": 30, "c": 30})
  assert data.split.notes[1:] == _UNGROUPED
  folders = {f"{c}/p{i}_": 3 for c in "ab" for i in range(12)}
  data = load(folders, split="stratified", group_pattern="(zz|a/p0_/p0_0)")
  assert not any("suggest" in note for note in data.notes())


def test_a_pattern_finds_groups_across_classes(load):
  folders = {f"{c}/p{i}": 2 for c in "ab" for i in range(10)}
  data = load(folders, group_pattern="/(p[0-9]+)/")
  assert data.kind == "grouped"
  assert data.spec.group == "group"
  assert sorted({*data.cache.groups.tolist()}) == [f"p{i}" for i in range(10)]
  inside = [{*data.cache.groups[data.part(p)]} for p in data.split.parts]
  assert sum(map(len, inside)) == 10
  # By folders alone one name in two classes is two groups.
  assert len({*load(folders).cache.groups}) == 20
  # Groups that the user gives are kept whole, however few a class has.
  folders = {f"{c}/p{i}": 5 for i, c in enumerate("abab")} | {"a/q": 5}
  assert load(folders).kind == "stratified"
  assert load(folders, group_pattern="/([pq][0-9]*)/").kind == "grouped"


def test_groups_by_a_pattern_are_no_slides():
  """They may be of several, which a map would draw over each other."""

  class Images(list):
    groups = np.array(["8863", "8863", "8864"])
    multi_label = False

  for change, slides in (((), True), (["data.group_pattern=^(..)"], False)):
    section = files.load_config("idc_v1", change).data
    spec = open_data.describe(section, Images("abc"), ("no", "yes"))
    assert spec.slides is slides


def test_the_positive_class_is_named(load):
  pair = {"a": 20, "b": 20, "c": 20}
  assert load(pair).spec.positive is None
  assert load(pair, positive="b").spec.positive == 1
  for fields in ({"positive": "d"}, {"positive": "c", "classes": 2}):
    with pytest.raises(InputError, match=r"positive: got '[dc]'; valid: a, b"):
      load(pair, **fields)


def test_all_images_are_one_part(load, tmp_path):
  load({"a": 3, "b": 3}, split="random", val_fraction=0.3, test_fraction=0.3)
  section = DataConfig(
    name="image_folder",
    path=str(tmp_path / "0"),
    cache_dir=str(tmp_path / "cache"),
    image_size=8,
    positive="b",
  )
  data = split_data.load_all(section, ("b", "x", "a"), lambda *_: None)
  assert (data.kind, data.classes) == ("none", ("b", "x", "a"))
  assert data.part("new").tolist() == [*range(6)]
  assert data.counts()["new"].tolist() == [3, 0, 3]
  assert data.spec.positive == 0
  named = dict(zip(data.cache.names, data.cache.labels, strict=True))
  assert named["a/a0.png"] == 2
  assert split_data.load_all(section, (), lambda *_: None).classes == ("a", "b")
  with pytest.raises(InputError, match="the folder 'b'; valid: folders named"):
    split_data.load_all(section, ("a", "x"), lambda *_: None)
