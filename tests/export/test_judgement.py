"""Files are judged by what their runtime answers on labelled images."""

import dataclasses

import numpy as np
import pytest
import scipy.special

from mn_jax.errors import RunError
from mn_jax.export import files, fitting, judgement, source
from mn_jax.export.judgement import Judge, Part
from mn_jax.export.options import Options
from mn_jax.export.session import Outputs, Session
from tests.deploy import test_predictor as predictors
from tests.export import toy_networks as toy

pytestmark = predictors.pytestmark
READY = (toy.SIZE, toy.SIZE)


def part(count=10, *, multi_label=False, **changes) -> Part:
  """Every second of some images, with labels that mean nothing."""
  draw = np.random.default_rng(0)
  rows = np.arange(0, 2 * count, 2)
  labels = np.arange(count, dtype=np.int32) % 3
  if multi_label:
    labels = draw.integers(0, 2, (count, 3)).astype(np.uint8)
  return Part(
    **{
      "name": "val",
      "pixels": toy.images(2 * count),
      "rows": rows,
      "labels": labels,
      "groups": None,
      "positive": None,
      **changes,
    }
  )


@dataclasses.dataclass(frozen=True)
class Answers:
  """A file whose runtime gives answers that are made up."""

  change: np.ndarray  # f32[n, classes], added to the logits of the network
  options: Options = dataclasses.field(
    default_factory=lambda: Options(size=READY)
  )
  batch: int | None = None

  def open(self):
    done = 0
    made = toy.trained()
    network = predictors_logits(made)

    def run(images):
      nonlocal done
      logits = network(images)
      change = self.change[done : done + len(images)]
      done += len(images)
      logits = logits + np.pad(change, ((0, len(logits) - len(change)), (0, 0)))
      return Outputs(scipy.special.softmax(logits, axis=1), logits)

    return Session(run, self.batch, "")


def predictors_logits(made):
  of = files.make(made, "stablehlo", Options(size=READY)).open()
  return lambda images: of.run(images).logits


@pytest.mark.parametrize("multi_label", [False, True])
def test_an_exact_file_loses_nothing(multi_label):
  made = toy.trained(multi_label=multi_label)
  judge = Judge(made, [part(multi_label=multi_label)])
  verdict = judge.judge(files.make(made, "stablehlo", Options()))["val"]
  assert (verdict.images, verdict.changed) == (10, 0)
  assert (verdict.lost, verdict.gained, verdict.loss) == (0, 0, 0)
  assert verdict.largest_logit_difference < 1e-4
  assert verdict.largest_probability_difference < 1e-4
  assert verdict.largest_logit > 1
  assert verdict.before == verdict.after
  expected = "macro_auroc" if multi_label else "balanced_accuracy"
  assert verdict.deciding == expected
  assert not verdict.resampled


def test_what_changes_is_counted():
  labels = part().labels
  made = toy.trained()
  right = predictors_logits(made)(toy.images(20)[::2]).argmax(axis=1)
  labels = np.where(np.arange(10) < 6, right, (right + 1) % 3).astype(np.int32)
  change = np.zeros((10, 3), np.float32)
  change[0, (right[0] + 1) % 3] = 100  # was right, is wrong
  change[7, labels[7]] = 100  # was wrong, is right
  change[8, (labels[8] + 1) % 3] = 50  # is wrong in another way
  judge = Judge(made, [part(labels=labels)])
  verdict = judge.judge(Answers(change))["val"]
  assert (verdict.changed, verdict.lost, verdict.gained) == (3, 1, 1)
  assert verdict.before["accuracy"] == pytest.approx(0.6)
  assert verdict.after["accuracy"] == pytest.approx(0.6)
  assert verdict.largest_logit_difference == pytest.approx(100, abs=1e-3)
  assert verdict.mean_logit_difference == pytest.approx(250 / 30, abs=1e-3)
  gap = verdict.differences["accuracy"]
  assert gap.value == pytest.approx(0)
  assert gap.low < 0 < gap.high
  assert verdict.largest_probability_difference > 0.3
  assert verdict.loss == pytest.approx(
    verdict.before["balanced_accuracy"] - verdict.after["balanced_accuracy"]
  )


def test_batches_are_padded_for_files_of_a_fixed_batch():
  made = toy.trained()
  judge = Judge(made, [part()])
  file = files.make(made, "stablehlo", Options(batch=4, size=READY))
  assert judge.judge(file)["val"].largest_logit_difference < 1e-4


@pytest.mark.parametrize("crop", [None, 1.0, 0.875])
@pytest.mark.parametrize("size", [None, READY, (36, 36), (50, 70)])
def test_files_see_the_images_that_the_network_sees(crop, size):
  made = toy.trained(crop=crop)
  of, options = source.of(made), Options(size=size)
  images = toy.images(2)
  rules = {"size": toy.SIZE, "crop": crop}
  fed = judgement.as_input(images, options, **rules)
  if size is not None:
    assert fed.shape == (2, *size, 3)
  found = np.asarray(fitting.to_network(of, options, fed))
  expected = np.asarray(of.normalise(images))
  resampled = judgement.is_resampled(options, **rules)
  # The toy's pixels are noisy, which resizing smooths.
  gap = np.abs(found - expected)
  assert gap.mean() < (0.1 if resampled else 1e-6)
  assert resampled == (gap.max() > 1e-6)


def test_normalised_images_are_given_to_files_that_take_them():
  made = toy.trained(resolution=40)
  judge = Judge(made, [part(3)])
  file = files.make(made, "stablehlo", Options(input="normalised"))
  assert judge.judge(file)["val"].largest_logit_difference < 1e-4


def test_logits_that_are_not_finite_are_no_answers():
  judge = Judge(toy.trained(), [part()])
  change = np.zeros((10, 3), np.float32)
  change[4, 1] = np.nan
  with pytest.raises(RunError, match="logits are not finite"):
    judge.judge(Answers(change))


@pytest.mark.parametrize("wrong", [0.05, np.nan])
def test_probabilities_that_are_not_of_the_logits_are_no_answers(wrong):
  class Wrong(Answers):
    def open(self):
      opened = super().open()

      def run(images):
        found = opened.run(images)
        return found._replace(probabilities=found.probabilities + wrong)

      return dataclasses.replace(opened, run=run)

  judge = Judge(toy.trained(), [part()])
  with pytest.raises(RunError, match="probabilities are not those of its log"):
    judge.judge(Wrong(np.zeros((10, 3), np.float32)))


def test_a_digest_is_of_images_and_labels():
  first = part()
  assert first.digest() == part().digest()
  digests = {
    x.digest()
    for x in (
      first,
      part(labels=first.labels[::-1]),
      part(rows=first.rows[::-1]),
      part(pixels=first.pixels + 1),
    )
  }
  assert len(digests) == 4


def test_intervals_resample_groups():
  made = toy.trained()
  change = np.zeros((10, 3), np.float32)
  change[:5, 0] = 100
  widths = []
  for groups in (None, np.array([*"aaaaabbbbb"])):
    verdict = Judge(made, [part(groups=groups)]).judge(Answers(change))["val"]
    gap = verdict.differences["accuracy"]
    widths.append(gap.high - gap.low)
  assert widths[0] != widths[1]
