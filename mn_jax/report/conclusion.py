"""What the numbers of a run say, in sentences that are made from them.

A difference counts only where the whole 95 % interval over the groups of the
test is on one side of zero.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np

from mn_jax.metrics import calibration, comparison, thresholds
from mn_jax.metrics.bootstrap import Interval
from mn_jax.metrics.predictions import NamedPredictions, Predictions
from mn_jax.observe.formatting import (
  count,
  interval,
  metric_name,
  number,
)
from mn_jax.report import run_facts
from mn_jax.report.run_analysis import RunAnalysis

# Baseline -> its predictions for the test.
Baselines = Mapping[str, NamedPredictions]

_WITH_POSITIVE = ("balanced_accuracy", "auroc", "sensitivity", "specificity")
_WITHOUT = ("accuracy", "balanced_accuracy", "macro_auroc", "macro_f1")
_LABELS = ("macro_auroc", "macro_average_precision", "macro_f1", "exact_match")
# Of a comparison with baselines: the first metric decides.
_COMPARED = {
  _WITH_POSITIVE: ("balanced_accuracy", "auroc"),
  _WITHOUT: ("accuracy", "macro_auroc"),
  _LABELS: ("macro_auroc", "macro_average_precision"),
}
# How a text calls the baselines of `metrics.baselines`.
_NAMES = {
  "majority class": "the majority class",
  "label shares": "the share of each label",
  "mean colour": "a logistic regression on mean colour",
  "colour histogram": "a logistic regression on a histogram of 64 colours",
}
GENERATED = (
  "The images are generated: these numbers show that the programs work, and "
  "say nothing about real images."
)


@dataclasses.dataclass(frozen=True)
class Comparison:
  """A run against the best of its baselines, on the same test.

  Attributes:
    name: of the baseline with the highest first metric.
    values: metric -> that of the baseline.
    differences: metric -> run minus baseline, resampled by group.
  """

  name: str
  values: Mapping[str, float]
  differences: Mapping[str, Interval]


def main_metrics(test: NamedPredictions) -> tuple[str, ...]:
  """Returns the metrics of a test that say most, the most telling first."""
  if test.predictions.multi_label:
    return _LABELS
  return _WITHOUT if test.positive is None else _WITH_POSITIVE


def compared_metrics(test: NamedPredictions) -> tuple[str, str]:
  """Returns the metrics of comparisons with baselines; the first decides."""
  return _COMPARED[main_metrics(test)]


def compare(
  test: NamedPredictions,
  baselines: Baselines,
  metrics: Mapping[str, Mapping[str, float]],
  *,
  resamples: int,
) -> Comparison | None:
  """Compares a run with the best of its baselines.

  Args:
    test: predictions of the run.
    baselines: predictions for the same images.
    metrics: baseline -> metric -> value.
    resamples: of every interval.

  Returns:
    None without baselines, or where the metric is undefined.
  """
  compared = compared_metrics(test)
  known = {
    name: values
    for name, values in metrics.items()
    if not np.isnan(values[compared[0]])
  }
  if not known:
    return None
  name = max(known, key=lambda name: known[name][compared[0]])
  differences = comparison.on_images(
    test.predictions,
    baselines[name].predictions,
    positive=test.positive,
    groups=test.groups,
    resamples=resamples,
  )
  return Comparison(
    name,
    {x: known[name][x] for x in compared},
    {x: differences[x] for x in compared},
  )


def of_run(analysis: RunAnalysis, versus: Comparison | None) -> list[str]:
  """Returns the sentences about a run, a paragraph each.

  Args:
    analysis: of the run.
    versus: the best baseline; None without any.
  """
  if analysis.refused:
    return [
      "The checkpoint was selected on the test part, so there is no test: its "
      "metrics there are not shown."
    ]
  paragraphs = [_score(analysis)]
  if versus is not None:
    paragraphs.append(against(versus))
  if run_facts.is_generated(analysis):
    paragraphs.append(GENERATED)
  if _threshold_harms(analysis):
    paragraphs.append(_threshold(analysis, resampled=True))
  if _temperature_harms(analysis):
    paragraphs.append(_temperature(analysis, resampled=True))
  return paragraphs


def of_validation(analysis: RunAnalysis, *, harms: bool) -> list[str]:
  """Says what validation's threshold and temperature do to the test.

  Args:
    analysis: of a run with a test.
    harms: whether to say so of what makes the test worse, too.
  """
  texts = []
  has_threshold = analysis.threshold is not None and analysis.at_threshold
  if has_threshold and (harms or not _threshold_harms(analysis)):
    texts.append(_threshold(analysis))
  if analysis.at_temperature and (harms or not _temperature_harms(analysis)):
    texts.append(_temperature(analysis))
  return texts


def _score(analysis: RunAnalysis) -> str:
  """Says what was reached on which images, and what the interval is of."""
  noun = run_facts.unit(analysis)
  names = main_metrics(analysis.test)
  first, second, *rest = names
  text = f"On {count(len(analysis.test.names), 'test image')}"
  if noun != "image":
    groups = len(np.unique(analysis.test.groups))
    text += f" of {count(groups, noun)}"
    shared = run_facts.shared_groups(analysis.split)
    if shared == 0:
      text += " without an image in training or validation"
    elif shared:
      text += (
        f" ({shared:,} of them are in training or validation too, which can "
        "make the numbers too good)"
      )
  shown = [
    f"{metric_name(name)} {_with_interval(analysis.intervals[name])}"
    for name in (first, second)
  ]
  others = [
    f"{metric_name(name)} {number(analysis.intervals[name].value)}"
    for name in rest
  ]
  text += f": {', '.join((*shown, *others))}. "
  if noun == "image":
    text += (
      "Nothing is known of which images belong together; if some do, the "
      "numbers are too good and the intervals too narrow. "
    )
  return text + (
    f"Intervals are over the {noun}s of this test; what another seed would "
    "change is not in them."
  )


def against(versus: Comparison, *, subject: str = "The network") -> str:
  """Says whether a network is ahead of the best baseline.

  Args:
    versus: the comparison.
    subject: 'The network', or several.
  """
  first, second = versus.differences
  found = versus.differences[first]
  name = _NAMES.get(versus.name, versus.name)
  text = (
    f"The best model without a network, {name}, trained on the same images, "
    f"has {metric_name(first)} {number(versus.values[first])} and "
    f"{metric_name(second)} {number(versus.values[second])}. "
  )
  both = " and ".join(
    f"{_with_interval(x, signed=True)} in {metric_name(metric)}"
    for metric, x in versus.differences.items()
  )
  verb = "is" if subject == "The network" else "are"
  side = _side(found)
  if side > 0:
    return f"{text}{subject} {verb} ahead by {both}."
  if side < 0:
    return f"{text}{subject} {verb} behind: {both}."
  unsure = "has no interval"
  if not np.isnan(found.low):
    unsure = "has an interval with zero inside"
  learnt = f"that {subject.lower()} {verb} better than that"
  if "colour" in versus.name:
    learnt = "that more than colour was learnt"
  return (
    f"{text}The difference, {both}, {unsure} in the first: it is not shown "
    f"{learnt}."
  )


def _threshold_harms(analysis: RunAnalysis) -> bool:
  """Whether validation's threshold makes the test worse."""
  after = analysis.at_threshold.get("balanced_accuracy", np.nan)
  if analysis.threshold is None:  # of labels there are several
    return False
  return after < analysis.intervals["balanced_accuracy"].value


def _temperature_harms(analysis: RunAnalysis) -> bool:
  """Whether validation's temperature makes calibration on the test worse."""
  after = analysis.at_temperature.get("ece", np.nan)
  return (
    calibration.is_inside(analysis.temperature)
    and after > analysis.intervals["ece"].value
  )


def _threshold(analysis: RunAnalysis, *, resampled: bool = False) -> str:
  """Says what the threshold that validation chose changes on the test.

  Args:
    analysis: of a run with a positive class and a threshold.
    resampled: whether the difference gets an interval, which takes seconds.
  """
  before = analysis.intervals["balanced_accuracy"].value
  after = analysis.at_threshold["balanced_accuracy"]
  text = (
    f"The threshold with the best balanced accuracy on validation, "
    f"{analysis.threshold:.2f}, changes that of the test from {number(before)} "
    f"to {number(after)}"
  )
  found = None
  if resampled:
    test = analysis.test
    decided = thresholds.decide(
      test.predictions, analysis.threshold, positive=test.positive
    )
    found = _changed(analysis, test.predictions, decided)["balanced_accuracy"]
    text += f", by {_with_interval(found, signed=True)}"
  if not _threshold_harms(analysis):
    return f"{text}."
  return (
    f"{text}: it makes the test worse, where the likelier class is the better "
    f"prediction{_judged(found)}."
  )


def _temperature(analysis: RunAnalysis, *, resampled: bool = False) -> str:
  """Says what temperature scaling changes on the test.

  Args:
    analysis: of a run with a temperature.
    resampled: whether the difference gets an interval, which takes seconds.
  """
  if not calibration.is_inside(analysis.temperature):
    return "No temperature fits the validation part."
  before = analysis.intervals["ece"].value
  after = analysis.at_temperature["ece"]
  text = (
    f"Dividing logits by the temperature that fits validation, "
    f"{analysis.temperature:.2f}, changes the ECE of the test from "
    f"{number(before)} to {number(after)}"
  )
  found = None
  if resampled:
    scaled = calibration.scale(analysis.test.predictions, analysis.temperature)
    found = _changed(analysis, scaled)["ece"]
    text += f", by {_with_interval(found, signed=True)}"
  if not _temperature_harms(analysis):
    return f"{text}."
  return (
    f"{text}: it makes calibration worse, where the probabilities are better "
    f"as they are{_judged(found)}."
  )


def _changed(
  analysis: RunAnalysis,
  predictions: Predictions,
  decided: np.ndarray | None = None,
) -> dict[str, Interval]:
  """Test metrics of changed predictions, or decisions, minus those as they are.

  Resampled as often as the metrics of the run.
  """
  test = analysis.test
  return comparison.on_images(
    predictions,
    test.predictions,
    predicted_first=decided,
    positive=test.positive,
    groups=test.groups,
    resamples=analysis.intervals["loss"].resamples,
  )


def _side(found: Interval) -> int:
  """Returns 1 or -1 if an interval is above or below zero, else 0."""
  return int(found.low > 0) - int(found.high < 0)


def _judged(found: Interval | None) -> str:
  if found is None or np.isnan(found.low):
    return ""
  if _side(found):
    return "; that is more than chance, so validation is not like this test"
  return "; the difference may be chance"


def _with_interval(found: Interval, *, signed: bool = False) -> str:
  text = number(found.value, signed=signed)
  if np.isnan([found.low, found.high]).any():
    return text
  return f"{text} ({interval(found.low, found.high, signed=signed)})"
