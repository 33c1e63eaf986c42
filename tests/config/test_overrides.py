"""Overrides `section.field=value` of every type, and wrong ones."""

import pytest

from mn_jax import config as config_lib
from mn_jax.config import overrides
from mn_jax.errors import InputError


def test_a_value_has_the_type_of_its_field():
  for text, expected in (
    ("seed=3", 3),
    ("optim.learning_rate=1e-3", 1e-3),
    ("optim.learning_rate=1", 1.0),
    ("augment.quarter_turns=true", True),
    ("augment.quarter_turns=False", False),
    ("data.path=", ""),
    ("data.path=/a=b", "/a=b"),
    ("optim.decay_at=(0.1, 1)", (0.1, 1.0)),
    ("optim.decay_at=0.5,0.9", (0.5, 0.9)),
    ("optim.rules=['a', 'b']", ("a", "b")),
  ):
    path, value = overrides.parse(text)
    assert path == text.partition("=")[0]
    assert value == expected
    assert type(value) is type(expected)


def test_wrong_overrides_are_one_line():
  for text, message in (
    ("nonsense", "got 'nonsense'; valid: SECTION.FIELD=VALUE"),
    ("optim.zzz=1", "optim.zzz: unknown field; valid: name, learning_rate,"),
    ("optimizer.name=x", "optimizer.name: unknown field (did you mean 'optim."),
    ("seed=1.5", "seed: got '1.5'; valid: int"),
    ("seed=", "seed: got ''; valid: int"),
    ("model.width=wide", "model.width: got 'wide'; valid: float"),
    ("augment.quarter_turns=1", "augment.quarter_turns: got '1'; valid: True"),
    ("model=x", "model: got 'x'; valid: section.field=value"),
    ("seed.x=1", "seed.x: got '1'; valid: section.field=value"),
    ("optim.decay_at=half", "optim.decay_at: got 'half'; valid: a tuple of n"),
    ("optim.decay_at=('a',)", "optim.decay_at: got ('a',); valid: a tuple of"),
    ("optim.rules=1", "optim.rules: got 1; valid: a tuple of strings"),
  ):
    with pytest.raises(InputError) as error:
      overrides.parse(text)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_the_last_of_several_counts():
  values = config_lib.default()
  overrides.apply(values, ["seed=1", "model.width=0.5", "seed=2"])
  assert (values.seed, values.model.width) == (2, 0.5)


@pytest.mark.parametrize(
  ("text", "value"),
  [
    ("site", ("site",)),
    ("site,sex of patient", ("site", "sex of patient")),
    ("('a,b',)", ("a,b",)),
    ("", ()),
  ],
)
def test_names_are_written_with_commas_or_as_in_python(text, value):
  expected = ("data.attributes", value)
  assert overrides.parse(f"data.attributes={text}") == expected


@pytest.mark.parametrize(
  ("keyword", "expected"),
  [
    (
      "train__epoch",
      "train__epoch: unknown field (did you mean 'train__epochs'?); valid: ba",
    ),
    ("epoch", "epoch: unknown field (did you mean 'train__epochs'?); valid: e"),
    ("train.epoch", "train.epoch: unknown field (did you mean 'train.epochs'?"),
    ("train", "train: got 3; valid: section__field=value"),
  ],
)
def test_messages_write_fields_as_the_caller_did(keyword, expected):
  with pytest.raises(InputError) as error:
    overrides.from_keywords([(keyword, 3)])
  assert str(error.value).startswith(expected)
