"""Tests of what may select a checkpoint."""

import numpy as np
import pytest

from mn_jax import config as config_lib
from mn_jax.errors import InputError
from mn_jax.metrics import classification, selection
from tests.metrics import toy_predictions as toy


@pytest.mark.parametrize("positive", [None, 0, 1])
@pytest.mark.parametrize("multi_label", [False, True])
def test_existing_metrics_can_select(positive, multi_label):
  predictions = (toy.multi_label if multi_label else toy.random)(40, 2)
  result = classification.summarize(predictions, positive=positive)
  kind = {"positive": positive is not None, "multi_label": multi_label}
  choices = config_lib.EvalConfig.__dataclass_fields__["best_metric"].metadata[
    "choices"
  ]
  named = set(choices) - {"auto"}
  for metric in choices:
    if metric in result:
      selection.check_metric(metric, **kind)
      continue
    with pytest.raises(InputError) as caught:
      selection.check_metric(metric, **kind)
    message = str(caught.value)
    assert message.startswith(f"eval.best_metric: got {metric!r} for a data")
    assert "\n" not in message
    valid = message.partition("valid: ")[2].split(", ")
    assert set(valid) == named & set(result)


def test_larger_scores_are_better():
  assert selection.score("loss", 0.3) == -0.3
  assert selection.score("accuracy", 0.3) == 0.3
  for metric in ("loss", "auroc"):
    assert selection.score(metric, np.nan) is None
