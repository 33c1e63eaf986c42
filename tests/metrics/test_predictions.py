"""Tests of probabilities against SciPy."""

import numpy as np
import pytest
import scipy.special

from tests.metrics import toy_predictions as toy


@pytest.mark.parametrize("classes", [2, 5])
def test_probabilities_are_the_softmax(classes):
  predictions = toy.random(40, classes)
  np.testing.assert_allclose(
    predictions.probabilities(),
    scipy.special.softmax(predictions.logits.astype(np.float64), axis=1),
    rtol=1e-12,
  )


def test_probabilities_of_extreme_logits():
  predictions = toy.of([0, 1], [[1e30, -1e30], [0, 1e4]])
  np.testing.assert_array_equal(predictions.probabilities(), [[1, 0], [0, 1]])
