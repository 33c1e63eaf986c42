"""Tests of rules by parameter path."""

import jax
import numpy as np
import pytest

from mn_jax.config.experiment import OptimConfig
from mn_jax.errors import InputError
from mn_jax.train import rules as rules_lib
from mn_jax.train.rules import Rules, Treatment

PARAMS = {
  "backbone": {
    "stem": {
      "conv": {"kernel": np.ones(3)},
      "norm": {"scale": np.ones(2), "bias": np.ones(2)},
    },
    "block1": {"conv": {"kernel": np.ones(4)}},
  },
  "head": {"logits": {"kernel": np.ones(5), "bias": np.ones(1)}},
}


def test_default_rules_decay_kernels_only():
  rules = Rules(OptimConfig().rules)
  rules.check(PARAMS)
  assert rules.factors(PARAMS, "decay") == {
    "backbone": {
      "stem": {"conv": {"kernel": 1}, "norm": {"scale": 0, "bias": 0}},
      "block1": {"conv": {"kernel": 1}},
    },
    "head": {"logits": {"kernel": 1, "bias": 0}},
  }
  assert set(jax.tree.leaves(rules.factors(PARAMS, "lr"))) == {1}
  assert not any(jax.tree.leaves(rules.factors(PARAMS, "frozen")))


def test_the_first_pattern_that_matches_the_whole_path_decides():
  rules = Rules(
    [
      "backbone/stem/.* lr=0.1 wd=0",
      "backbone/.* frozen",
      "kernel lr=5",
      ".*/kernel lr=2",
      ".*",
    ]
  )
  stem = rules.of("backbone/stem/conv/kernel")
  assert stem == Treatment(lr=0.1, decay=0.0)
  assert rules.of("backbone/block1/conv/kernel").frozen
  assert rules.of("head/logits/bias") == Treatment()
  assert rules.of("head/logits/kernel").lr == 2
  assert rules.of("head/logits/kernel2").lr == 1
  # A norm keeps its statistics where its parameters are frozen.
  assert rules.norm_frozen("backbone/block1/norm")
  assert not rules.norm_frozen("backbone/stem/norm")


def test_malformed_rules_are_refused():
  for rule in (
    *("", "  ", "( lr=1", "a{99999999999999999999}"),
    *(".* lr", ".* lr=", ".* lr=x", ".* lr=-1", ".* lr=nan", ".* wd=inf"),
    *(".* decay=1", ".* frozen=1", ".* frozen lr=1"),
    *(".* frozen frozen", ".* lr=1 lr=1"),
  ):
    with pytest.raises(InputError, match=r"optim\.rules: got ") as error:
      Rules([".*", rule])
    assert repr(rule) in str(error.value)
    assert "\n" not in str(error.value)


def test_rules_must_fit_the_parameters():
  # A rule that an earlier one shadows is allowed.
  Rules([rules_lib.FREEZE_BACKBONE, "backbone/.* lr=2", ".*"]).check(PARAMS)
  for rules, message in (
    (["backbone/.*"], r"none for 2 of 6 .*head/logits/bias"),
    (["backbones/.* lr=2", ".*"], r"'backbones/.* lr=2', which match"),
    ([".* frozen"], "freeze every parameter"),
  ):
    with pytest.raises(InputError, match=message):
      Rules(rules).check(PARAMS)


def test_split_and_merge():
  rules = Rules([rules_lib.FREEZE_BACKBONE, ".*"])
  trained, frozen = rules.split(PARAMS)
  assert len(jax.tree.leaves(trained)) == 2
  assert len(jax.tree.leaves(frozen)) == 4
  assert trained["backbone"]["stem"]["conv"]["kernel"] is None
  assert frozen["head"]["logits"]["kernel"] is None
  merged = rules_lib.merge(trained, frozen)
  assert jax.tree.structure(merged) == jax.tree.structure(PARAMS)
  jax.tree.map(np.testing.assert_array_equal, merged, PARAMS)
