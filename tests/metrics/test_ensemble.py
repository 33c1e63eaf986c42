"""Tests of averaged probabilities, against SciPy and scikit-learn."""

import dataclasses

import numpy as np
import pytest
import scipy.special
import sklearn.metrics

from mn_jax.errors import InputError
from mn_jax.metrics import ensemble
from tests.metrics import toy_predictions as toy


def _members(count: int = 3, classes: int = 4):
  first = toy.random(50, classes)
  rng = np.random.default_rng(1)
  return [
    dataclasses.replace(
      first,
      logits=np.float32(first.logits + rng.normal(size=first.logits.shape)),
    )
    for _ in range(count)
  ]


def test_probabilities_are_the_means_of_the_members():
  members = _members()
  found = ensemble.mean(members)
  expected = np.mean(
    [scipy.special.softmax(x.logits.astype(float), axis=1) for x in members], 0
  )
  np.testing.assert_allclose(found.probabilities(), expected, rtol=1e-5)
  log_loss = sklearn.metrics.log_loss(found.labels, expected)
  np.testing.assert_allclose(found.losses.mean(), log_loss, rtol=1e-5)
  np.testing.assert_array_equal(found.ids, members[0].ids)


def test_no_image_has_a_greater_loss_than_members_on_average():
  members = _members(5)
  losses = [ensemble.mean([member, member]).losses for member in members]
  found = ensemble.mean(members)
  assert (found.losses <= np.mean(losses, axis=0) + 1e-5).all()
  assert found.losses.mean() < np.mean(losses) - 0.01


def test_probabilities_of_several_labels_are_means_of_sigmoids():
  rng = np.random.default_rng(0)
  logits = np.float32(rng.normal(size=(3, 40, 5)) * 3)
  labels = (rng.random((40, 5)) < 0.4).astype(np.uint8)
  members = [
    dataclasses.replace(toy.random(40, 5), labels=labels, logits=x)
    for x in logits
  ]
  found = ensemble.mean(members)
  expected = scipy.special.expit(logits.astype(float)).mean(axis=0)
  np.testing.assert_allclose(
    scipy.special.expit(found.logits), expected, rtol=1e-4
  )
  losses = [
    sklearn.metrics.log_loss(y, p, labels=[0, 1])
    for y, p in zip(labels, expected, strict=True)
  ]
  np.testing.assert_allclose(found.losses, losses, rtol=1e-4)


def test_huge_logits_stay_finite_and_do_not_outvote():
  sure = np.float32([[[3e38, -3e38, 0]], [[0, 3, 0]], [[0, 3, 0]]])
  for multi_label in (False, True):
    found = ensemble.mean_logits(sure, multi_label=multi_label)
    assert np.isfinite(found).all()
  found = ensemble.mean_logits(sure, multi_label=False)
  expected = scipy.special.softmax(sure.astype(float), axis=2).mean(axis=0)
  assert expected.argmax() == 1
  np.testing.assert_allclose(
    scipy.special.softmax(found.astype(float), axis=1), expected, rtol=1e-5
  )


def test_one_member_stays_as_it_is():
  member = _members(1)[0]
  assert ensemble.mean([member]) is member


def test_members_of_different_images_are_refused():
  first, second, _ = _members()
  for other in (
    toy.take(second, np.arange(49)),
    dataclasses.replace(second, ids=second.ids[::-1]),
    dataclasses.replace(second, labels=second.labels[::-1]),
    dataclasses.replace(second, logits=second.logits[:, :3]),
  ):
    with pytest.raises(InputError, match="ensemble: got predictions"):
      ensemble.mean([first, other])
