"""Tests of metrics by attribute."""

import dataclasses

import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.metrics import bootstrap, by_attribute
from mn_jax.metrics.predictions import NamedPredictions
from tests.metrics import toy_predictions as toy


def named(count=240, classes=2, **attributes):
  return NamedPredictions(
    predictions=toy.random(count, classes),
    names=np.array([f"{i}.png" for i in range(count)]),
    groups=np.array([f"patient{i // 8}" for i in range(count)]),
    classes=tuple("abcd"[:classes]),
    positive=1 if classes == 2 else None,
    attributes=attributes,
  )


def sites(count=240):
  return np.array(["north", "south"])[np.arange(count) // 8 % 2]


def test_every_value_is_a_subset_with_the_metrics_of_its_images():
  answers = named(site=sites())
  found = by_attribute.measure(answers, "site", resamples=200)
  assert [x.value for x in found.subsets] == ["north", "south"]
  assert sum(x.images for x in found.subsets) == 240
  for subset in found.subsets:
    rows = sites() == subset.value
    expected = bootstrap.intervals(
      toy.take(answers.predictions, rows),
      positive=1,
      groups=answers.groups[rows],
      resamples=200,
    )
    assert subset.groups == 15
    assert not subset.flags
    assert list(subset.metrics) == [
      "accuracy",
      "balanced_accuracy",
      "sensitivity",
      "specificity",
      "auroc",
    ]
    for name, interval in subset.metrics.items():
      assert interval == expected[name]
  assert found.shared_groups == 0


def test_a_threshold_decides_where_it_is_given():
  answers = named(site=sites())
  found = by_attribute.measure(
    answers, "site", predicted=np.ones(240, int), resamples=20
  )
  for subset in found.subsets:
    assert subset.metrics["sensitivity"].value == 1
    assert subset.metrics["specificity"].value == 0


def test_without_a_positive_class_and_groups():
  answers = named(classes=4, site=sites())
  answers = dataclasses.replace(answers, groups=None)
  found = by_attribute.measure(answers, "site", resamples=50)
  subset = found.subsets[0]
  assert subset.groups is None
  assert list(subset.metrics) == [
    "accuracy",
    "balanced_accuracy",
    "macro_auroc",
  ]
  assert found.shared_groups == 0


def test_small_subsets_are_flagged_and_shown():
  """Their intervals are no points, even where nothing is missed."""
  values = np.array(["large"] * 232 + ["small"] * 8)
  answers = named(site=values)
  labels = answers.predictions.labels.copy()
  labels[232:] = [0, 0, 0, 0, 0, 0, 1, 1]
  logits = answers.predictions.logits.copy()
  logits[232:] = np.eye(2)[labels[232:]]
  answers = dataclasses.replace(
    answers, predictions=toy.of(labels, logits), groups=np.arange(240) // 4
  )
  found = by_attribute.measure(answers, "site", resamples=50)
  small = found.subsets[1]
  assert small.flags == ("2 groups", "8 images", "2 positive", "6 negative")
  accuracy, sensitivity = (
    small.metrics["accuracy"],
    small.metrics["sensitivity"],
  )
  assert (accuracy.value, accuracy.high) == (1, 1)
  assert accuracy.low == pytest.approx(0.025**0.5)
  # All positive images are of one group.
  assert sensitivity.value == 1
  assert np.isnan([sensitivity.low, sensitivity.high]).all()


def test_groups_with_several_values_are_counted():
  mixed = sites()
  mixed[0] = "south"
  found = by_attribute.measure(named(site=mixed), "site", resamples=5)
  assert found.shared_groups == 1


def test_many_numbers_are_ranges_between_quartiles():
  ages = np.arange(240)
  texts = ages.astype(str)
  texts[5] = ""
  labels, codes, note = by_attribute.subsets_of(texts)
  known = np.delete(ages, 5)
  edges = np.quantile(known, (0, 0.25, 0.5, 0.75, 1))
  shown = [f"{x:.10g}" for x in edges]
  assert labels == [
    f"{shown[0]} to {shown[1]}",
    f"above {shown[1]} to {shown[2]}",
    f"above {shown[2]} to {shown[3]}",
    f"above {shown[3]} to {shown[4]}",
    by_attribute.MISSING,
  ]
  assert ", ".join(shown) in note
  for age, code in zip(ages[ages != 5], np.delete(codes, 5), strict=True):
    assert edges[code] <= age <= edges[code + 1]
  assert codes[5] == 4


def test_equal_quartiles_are_one_range():
  texts = np.array(["0"] * 300 + [str(i) for i in range(1, 13)])
  labels, codes, _ = by_attribute.subsets_of(texts)
  assert labels[0] == "0 to 12"
  assert len(labels) == len(np.unique(codes)) == 1


def test_few_numbers_are_values_in_their_order():
  texts = np.array(["10", "9", "2", "nan", " 9 ", ""])
  labels, codes, note = by_attribute.subsets_of(texts)
  assert labels == ["2", "9", "10", by_attribute.MISSING]
  assert codes.tolist() == [2, 1, 0, 3, 1, 3]
  assert note == ""


def test_of_many_texts_the_smallest_are_together():
  texts = np.array([f"id{i // 2}" for i in range(80)] + ["id7"])
  labels, codes, note = by_attribute.subsets_of(texts)
  assert len(labels) == 31
  assert labels[-1] == "(10 others)"
  assert "40 values" in note
  for i, text in enumerate(texts):
    assert labels[codes[i]] in (text, "(10 others)")


def test_unknown_attributes_name_the_known():
  with pytest.raises(InputError, match="got 'age'; valid: site"):
    by_attribute.measure(named(site=sites()), "age")
  with pytest.raises(InputError, match="names none"):
    by_attribute.measure(named(), "age")
