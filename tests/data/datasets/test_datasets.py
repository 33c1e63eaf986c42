"""Tests of the registry of data sets."""

import numpy as np
import pytest

from mn_jax.data import splits
from mn_jax.data.datasets import idc, registry
from mn_jax.errors import InputError


def test_descriptions_are_complete():
  for name, spec in registry.DATASETS.items():
    assert len(set(spec.classes)) == len(spec.classes) != 1, name
    assert spec.positive is None or spec.positive in range(len(spec.classes))
    for text in (spec.title, spec.origin, spec.licence):
      assert text
      assert "\n" not in text
    assert spec.group is None or spec.group.isalpha()
    # There is a way to get it.
    assert spec.sources() or spec.generate or spec.page, name
    assert spec.split in ("auto", *splits.KINDS)
    assert (spec.split == "grouped") <= (spec.group is not None)
    assert not spec.kaggle or "/versions/" in spec.kaggle
    assert not spec.web or spec.web.url.startswith("https://")
    assert not spec.web or len(spec.web.sha256) == 64
    assert not spec.tfds or ":" in spec.tfds.name


def test_a_sample_is_described_as_what_it_stands_for():
  names = list(registry.DATASETS)
  samples = [name for name in names if name.endswith("_sample")]
  assert len(samples) == 5
  for name in samples:
    sample = registry.get(name)
    real = registry.get(name.removesuffix("_sample"))
    for field in (
      "classes",
      "positive",
      "group",
      "image_size",
      "open",
      "split",
    ):
      assert getattr(real, field) == getattr(sample, field), (name, field)
    assert sample.generate
    assert not sample.sources()
    assert names[names.index(name) - 1] == name.removesuffix("_sample")


def test_only_these_have_lists_of_parts():
  having = [name for name, x in registry.DATASETS.items() if x.part_lists]
  assert having == ["idc", "eurosat"]


def test_case_lists_of_idc_are_disjoint():
  lists = idc.SPEC.part_lists()
  assert {part: len(cases) for part, cases in lists.items()} == {
    "train": 84,
    "val": 29,
    "test": 49,
  }
  cases = [case for listed in lists.values() for case in listed]
  assert len(set(cases)) == len(cases)
  assert all(case.isdecimal() for case in cases)


def test_unknown_name_lists_the_known_ones():
  with pytest.raises(InputError, match=r"got 'icd'; valid: idc, idc_sample"):
    registry.get("icd")


def test_published_groups_become_parts():
  lists = idc.SPEC.part_lists()
  groups = np.array([lists["val"][0], lists["test"][0], "1", lists["val"][0]])
  parts, notes = registry.published_parts("idc", groups, np.full(4, ""))
  assert parts.tolist() == ["val", "test", "", "val"]
  assert notes[0].startswith("84 of 84 published train groups are not in the")
  assert f"{lists['val'][1]}, {lists['val'][2]}" in notes[1]
  assert lists["test"][0] not in notes[2]
  listed = np.array(["train", "test"])
  parts, notes = registry.published_parts("cifar100", groups[:2], listed)
  assert parts.tolist() == listed.tolist()
  assert notes == ()
