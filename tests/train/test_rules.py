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


def test_the_usual_rules_decay_kernels_only():
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


def test_first_match_decides():
  rules = Rules(["backbone/stem/.* lr=0.1 wd=0", "backbone/.* frozen", ".*"])
  stem = rules.of("backbone/stem/conv/kernel")
  assert stem == Treatment(lr=0.1, decay=0.0)
  assert rules.of("backbone/block1/conv/kernel").frozen
  assert rules.of("head/logits/bias") == Treatment()


def test_a_pattern_is_for_the_whole_path():
  rules = Rules(["kernel lr=5", ".*/kernel lr=2", ".*"])
  assert rules.of("head/logits/kernel").lr == 2
  assert rules.of("head/logits/kernel2").lr == 1


@pytest.mark.parametrize(
  "line",
  [
    "",
    "  ",
    "( lr=1",
    ".* lr",
    ".* lr=",
    ".* lr=x",
    ".* lr=-1",
    ".* lr=nan",
    ".* wd=inf",
    ".* decay=1",
    ".* frozen=1",
    ".* frozen lr=1",
    ".* frozen frozen",
    ".* lr=1 lr=1",
    "a{99999999999999999999}",
  ],
)
def test_a_line_that_is_no_rule_is_named(line):
  with pytest.raises(InputError, match=r"optim\.rules: got ") as caught:
    Rules([".*", line])
  assert repr(line) in str(caught.value)
  assert "\n" not in str(caught.value)


def test_every_parameter_must_be_covered():
  with pytest.raises(InputError, match=r"none for 2 of 6 .*head/logits/bias"):
    Rules(["backbone/.*"]).check(PARAMS)


def test_every_rule_must_match_something():
  with pytest.raises(InputError, match=r"'backbones/.* lr=2', which match"):
    Rules(["backbones/.* lr=2", ".*"]).check(PARAMS)


def test_a_rule_that_an_earlier_one_shadows_is_allowed():
  Rules([rules_lib.FREEZE_BACKBONE, "backbone/.* lr=2", ".*"]).check(PARAMS)


def test_something_must_be_left_to_train():
  with pytest.raises(InputError, match="freeze every parameter"):
    Rules([".* frozen"]).check(PARAMS)


def test_split_and_merge():
  rules = Rules([rules_lib.FREEZE_BACKBONE, ".*"])
  trained, frozen = rules.split(PARAMS)
  assert len(jax.tree.leaves(trained)) == 2
  assert len(jax.tree.leaves(frozen)) == 4
  assert trained["backbone"]["stem"]["conv"]["kernel"] is None
  assert frozen["head"]["logits"]["kernel"] is None
  whole = rules_lib.merge(trained, frozen)
  assert jax.tree.structure(whole) == jax.tree.structure(PARAMS)
  jax.tree.map(np.testing.assert_array_equal, whole, PARAMS)


def test_a_norm_keeps_its_statistics_with_its_parameters():
  rules = Rules(["backbone/stem/.* frozen", ".*"])
  assert rules.keeps_norm("backbone/stem/norm")
  assert not rules.keeps_norm("backbone/block1/norm")
