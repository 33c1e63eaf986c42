"""Files that answer too differently are refused."""

import dataclasses

import numpy as np
import pytest

from mn_jax.export import acceptance, judgement
from mn_jax.export.options import Options
from tests.deploy import test_predictor as predictors
from tests.export import test_judgement as judging
from tests.export import toy_networks as toy

pytestmark = predictors.pytestmark
SIZE = (toy.SIZE, toy.SIZE)


@pytest.fixture(scope="module")
def judge():
  """Of images that the network classifies without a mistake."""
  images = toy.images(20)[::2]
  labels = judging.predictors_logits(toy.trained())(images).argmax(axis=1)
  part = judging.part(labels=labels.astype(np.int32))
  return judgement.Judge(toy.trained(), [part])


def refusal(judge, precision, change, *, max_loss=0.01, **changes) -> str:
  file = judging.Answers(change, Options(precision, size=SIZE))
  verdict = judge.judge(file)["val"]
  verdict = dataclasses.replace(verdict, **changes)
  return acceptance.refusal(file, {"val": verdict}, max_loss=max_loss)


def same(value=0.0) -> np.ndarray:
  """A change that no class has more of."""
  return np.full((10, 3), value, np.float32)


@pytest.mark.parametrize("precision", ["float32", "float16", "int8_full"])
def test_a_file_that_always_answers_the_same_is_refused(judge, precision):
  change = same()
  change[:, 0] = 100
  assert refusal(judge, precision, same()) == ""
  assert refusal(judge, precision, change)


def test_float32_is_exact(judge):
  reason = refusal(judge, "float32", same(0.5))
  assert "on val its logits differ by up to 0.5" in reason
  assert refusal(judge, "float32", same(1e-4)) == ""
  # Its classes are those of the network.
  assert refusal(judge, "float16", same(0.5)) == ""
  for changes in (
    {"largest_probability_difference": 0.1},
    {"largest_logit_difference": np.nan},
  ):
    assert refusal(judge, "float32", same(), **changes)


def test_float32_of_resized_images_is_judged_by_what_it_loses(judge):
  assert refusal(judge, "float32", same(0.5), resampled=True) == ""
  change = same()
  change[:, 0] = 100
  reason = refusal(judge, "float32", change, resampled=True)
  assert reason.startswith("it loses ")
  assert "of images resized to its size" in reason


def test_the_user_says_how_much_may_be_lost(judge):
  change = same()
  change[:, 0] = 100
  reason = refusal(judge, "int8_weights", change)
  assert reason.endswith("more than --max-loss=0.01")
  assert "of balanced accuracy on val (1.0000 to " in reason
  assert refusal(judge, "int8_weights", change, max_loss=1) == ""
