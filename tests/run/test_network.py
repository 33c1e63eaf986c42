"""Tests of the network before the first step of a run."""

import jax
import numpy as np
import pytest

from mn_jax.errors import InputError
from mn_jax.models import registry
from mn_jax.run import network as network_lib
from tests import toy_transfer as toy


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
  path = tmp_path_factory.mktemp("weights") / "weights.h5"
  toy.write_weights(path, classes=2)
  return {"model__weights": str(path), "model__transfer": "fine_tune"}


def test_matched_statistics_change_no_prediction(weights):
  plain = toy.build(toy.load(**weights))
  matched, again = (
    toy.build(toy.load(**weights, model__match_statistics=200))
    for _ in range(2)
  )
  before, after = plain.initial_state, matched.initial_state
  means = [
    np.asarray(state.batch_stats["backbone"]["block1"]["norm"]["mean"])
    for state in (before, after)
  ]
  assert np.abs(means[0] - means[1]).max() > 1e-2
  expected, _ = plain.evaluate(before, "val")
  metrics, predictions = matched.evaluate(after, "val")
  assert metrics["loss"] == pytest.approx(expected["loss"], rel=1e-3)
  assert metrics["accuracy"] == expected["accuracy"]
  assert len(predictions.labels) == len(plain.data.part("val"))
  # The same images are taken every time.
  jax.tree.map(
    np.testing.assert_array_equal,
    after.batch_stats,
    again.initial_state.batch_stats,
  )


def test_only_fine_tuning_matches_statistics(weights):
  for changes in (
    {"model__transfer": "scratch", "model__weights": ""},
    {"model__transfer": "frozen"},
  ):
    config = toy.load(**{**weights, **changes}, model__match_statistics=9)
    with pytest.raises(InputError, match=r"match_statistics: got 9 .*'fine"):
      network_lib.check(config)


@pytest.mark.devices(4)
def test_images_that_share_statistics():
  network = registry.describe("mobilenet_v1", num_classes=2)
  for options, num_devices, expected in (
    ({}, None, 0),
    ({"model__norm_over": "group", "model__norm_group": 8}, 4, 8),
    ({"model__norm_over": "device"}, 2, 16),
    ({"model__norm_over": "device"}, None, 8),  # of the 4 of this test
    ({"model__norm_over": "device", "optim__accumulate": 4}, 2, 4),
  ):
    config = toy.load(train__batch_size=32, **options)
    module, _ = network_lib.make_module(
      config, network, num_devices=num_devices
    )
    assert module.backbone.norm.keywords["group"] == expected


@pytest.mark.devices(4)
def test_a_norm_of_one_value_per_channel_is_refused():
  """It would train on zeros; of several values or frozen it would not."""
  alone = {"train__batch_size": 4, "optim__accumulate": 4}
  by_device = {"train__batch_size": 4, "model__norm_over": "device"}
  frozen = {"optim__rules": ("backbone/.* frozen", ".*/kernel", ".* wd=0")}
  for options, layer in (
    (alone, "backbone/block5/norm"),
    (by_device, "backbone/block5/norm"),
    ({**alone, "model__head": "gap_128_64", **frozen}, "head/norm0"),
    ({"train__batch_size": 4}, None),
    ({**alone, "data__image_size": 64}, None),
    ({**alone, **frozen}, None),
  ):
    config = toy.load(**{"data__image_size": 16, **options})
    if layer is None:
      network_lib.build(config, ("a", "b"), lambda count: None)
    else:
      with pytest.raises(InputError, match=f"batch_size: got 4 .*'{layer}'"):
        network_lib.build(config, ("a", "b"), lambda count: None)
