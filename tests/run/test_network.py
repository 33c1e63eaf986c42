"""Tests of matched statistics at the beginning of a run."""

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.run import network as initial
from tests import toy_transfer as toy


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "weights.h5"
  toy.write_weights(path, classes=2)
  return {"model__weights": str(path), "model__transfer": "fine_tune"}


def test_statistics_of_training_images_change_no_answer(weights):
  plain = toy.build(toy.load(**weights))
  matched = toy.build(toy.load(**weights, model__match_statistics=200))
  before, after = (each.initial_state for each in (plain, matched))
  old = before.batch_stats["backbone"]["block1"]["norm"]["mean"]
  new = after.batch_stats["backbone"]["block1"]["norm"]["mean"]
  assert np.abs(np.asarray(old) - np.asarray(new)).max() > 1e-2
  expected, _ = plain.evaluate(before, "val")
  found, predictions = matched.evaluate(after, "val")
  assert found["loss"] == pytest.approx(expected["loss"], rel=1e-3)
  assert found["accuracy"] == expected["accuracy"]
  assert len(predictions.labels) == len(plain.data.part("val"))


def test_the_same_images_are_taken_every_time(weights):
  asked = toy.load(**weights, model__match_statistics=64)
  first, again = (toy.build(asked).initial_state for _ in range(2))
  jax.tree.map(
    np.testing.assert_array_equal, first.batch_stats, again.batch_stats
  )


@pytest.mark.parametrize("transfer", ["scratch", "frozen"])
def test_only_fine_tuning_matches_statistics(weights, transfer):
  changes = {**weights, "model__transfer": transfer}
  if transfer == "scratch":
    changes["model__weights"] = ""
  with pytest.raises(InputError, match=r"match_statistics: got 9 with .*'fine"):
    initial.check(toy.load(**changes, model__match_statistics=9))


@pytest.mark.devices(4)
@pytest.mark.parametrize(
  ("options", "num_devices", "expected"),
  [
    ({}, None, 0),
    ({"model__norm_over": "group", "model__norm_group": 8}, 4, 8),
    ({"model__norm_over": "device"}, 2, 16),
    ({"model__norm_over": "device"}, None, 8),  # of the 4 of these tests
    ({"model__norm_over": "device", "optim__accumulate": 4}, 2, 4),
  ],
)
def test_images_that_share_statistics(options, num_devices, expected):
  config = toy.load(train__batch_size=32, **options)
  network = registry.describe("mobilenet_v1", num_classes=2)
  module, _ = initial.make_module(config, network, num_devices=num_devices)
  assert module.backbone.norm.keywords["group"] == expected
