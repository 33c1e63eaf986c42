import pathlib

import pytest
from absl import flags

from mn_jax.commandline import flags as commandline
from mn_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]


@pytest.mark.parametrize(
  ("path", "text"),
  [
    ("seed", "3"),
    ("optim.learning_rate", "1e-3"),
    ("optim.learning_rate", "1"),
    ("augment.quarter_turns", "true"),
    ("augment.quarter_turns", "False"),
    ("data.path", ""),
    ("optim.decay_at", "(0.1, 0.2)"),
  ],
)
def test_values_that_read_as_their_type_pass(path, text):
  commandline.check_override(path, text)


@pytest.mark.parametrize(
  ("path", "text", "message"),
  [
    ("optim.lr", "1", "optim.lr: unknown field; valid: name, learning_rate,"),
    ("optimizer.name", "x", "optimizer.name: unknown field; valid: experiment"),
    ("seed", "1.5", "seed: got '1.5'; valid: int"),
    ("seed", "", "seed: got ''; valid: int"),
    (
      "augment.quarter_turns",
      "1",
      "augment.quarter_turns: got '1'; valid: True or False",
    ),
    ("model", "x", "model: got 'x'; valid: section.field=value"),
    ("seed.x", "1", "seed.x: got '1'; valid: section.field=value"),
  ],
)
def test_others_are_refused(path, text, message):
  with pytest.raises(InputError) as error:
    commandline.check_override(path, text)
  assert str(error.value).startswith(message)


def test_report_is_one_line_and_the_cause_of_a_failed_config(capsys):
  commandline.report(InputError("a: got\n  1"))
  commandline.report(
    flags.Error(
      "flag --config=x: Error\nTraceback (most recent call last):\n  File\n"
      "mn_jax.errors.InputError: config argument: got 'x'"
    )
  )
  assert capsys.readouterr().err == (
    "mn_jax: a: got 1\nmn_jax: config argument: got 'x'\n"
  )


def test_wrong_flags_end_the_program_with_2(capsys):
  file = f"--config={ROOT / 'configs' / 'idc_v1.py'}"
  for arguments, message in (
    ([], "--config: got nothing"),
    (["--config", "configs/idc_v1.py"], "valid: --config=FILE"),
    ([file, "--config.model.width"], "got no value"),
    ([file, "--config.model.depth=3"], "model.depth: unknown field"),
  ):
    with pytest.raises(SystemExit) as end:
      commandline.parse(["main", *arguments])
    assert end.value.code == 2
    errors = capsys.readouterr().err
    assert message in errors
    assert errors.count("\n") == 1
