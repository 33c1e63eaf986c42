"""Arguments of programs: overrides among them, dashes, errors of one line."""

import pathlib
import re
import sys

import pytest

from mn_jax.commandline import parser as parser_lib
from mn_jax.commandline import program, study_arguments
from mn_jax.commandline.parser import Parser, file_path, number
from mn_jax.config import checks
from mn_jax.config.experiment import DataConfig, ModelConfig
from mn_jax.data import store
from mn_jax.errors import InputError


@pytest.fixture
def parser():
  made = Parser("toy", example="a --some-count=3 seed=1")
  made.add_argument("file")
  made.add_argument("--some-count", metavar="N", type=number(int, 1, 9))
  made.add_argument("--price", action="append", default=[])
  made.add_overrides()
  return made


def test_overrides_may_stand_anywhere(parser):
  line = "seed=1 a --config.model.width=0.5 --price v5e=1 data.path=a=b.c"
  args = parser.parse([*line.split(), "--config.data.name", "idc"])
  assert args.file == "a"
  assert args.price == ["v5e=1"]
  assert args.overrides == [
    "seed=1",
    "model.width=0.5",
    "data.path=a=b.c",
    "data.name=idc",
  ]
  assert parser.parse(["--", "seed=1"]).file == "seed=1"
  for flag in ("--some-count=3", "--some_count=3"):
    assert parser.parse(["a", flag]).some_count == 3


def test_wrong_arguments_are_one_line(parser):
  for line, message in (
    ("", "the following arguments are required: file"),
    ("a --some-count=0", "--some-count: got 0; valid: 1 to 9"),
    ("a --some-count=b", "--some-count: got b; valid: 1 to 9"),
    ("a --other", "got '--other'; valid: see --help"),
    ("--some-coutn=3", "got '--some-coutn=3' (did you mean '--some-count=3'?)"),
    ("a --epochs=2", "got '--epochs=2' (did you mean 'train.epochs=2'?); val"),
    ("a train.epoch=2", "train.epoch: unknown field (did you mean 'train.epo"),
    ("a trin.epochs=2", "trin.epochs: unknown field (did you mean 'train.epo"),
    (
      "a eval.batch_siz=1",
      "eval.batch_siz: unknown field (did you mean 'eva",
    ),
    ("a model.with=1", "model.with: unknown field (did you mean 'model.width'"),
    ("a optim.lr=1", "optim.lr: unknown field (did you mean 'optim.learning_"),
    ("a b", "got 'b'; valid: SECTION.FIELD=VALUE"),
    ("a model.zzzzz=1", "model.zzzzz: unknown field; valid: name, width"),
    ("a --config.seed", "--config.seed: got no value; valid: --config.seed=V"),
    ("a --config.seed --price=1", "--config.seed: got no value"),
    ("a seed=x", "seed: got 'x'; valid: int"),
  ):
    with pytest.raises(InputError) as error:
      parser.parse(line.split())
    assert str(error.value).startswith(message)


def test_a_parser_without_overrides_leaves_their_like_alone():
  parser = Parser("toy")
  parser.add_argument("paths", nargs="*")
  assert parser.parse(["a.b=c", "seed=1"]).paths == ["a.b=c", "seed=1"]
  with pytest.raises(InputError, match=r"got '--config\.seed=1'; valid: see"):
    parser.parse(["--config.seed=1"])


def test_values_of_arguments():
  for text in ("nan", "inf"):
    with pytest.raises(Exception, match=f"got {text}; valid: 0 or more"):
      number(float, 0)(text)
  assert number(float, 0)("1e3") == 1000
  for arguments, sample, expected in (
    ((None, "a/widths.py"), False, "runs/widths"),
    ((None, "widths"), True, "runs/widths_sample"),
    ((pathlib.Path("x"), "widths"), True, "x"),
  ):
    folder = study_arguments.folder(*arguments, sample=sample)
    assert folder == pathlib.Path(expected)


def test_paths_are_of_this_machine(parser, tmp_path, monkeypatch):
  """Nothing else may become a local folder of a name that nobody expects."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("SCRATCH", "/scratch")
  monkeypatch.setenv("MN_JAX_CACHE", "gs://bucket/cache")
  parser.add_argument("--workdir", type=file_path)
  mount = "a local path, or that of a mount, such as of gcsfuse or s3fs"
  expanded = "a path whose variables are expanded"
  for text, valid in (
    *((f"{scheme}://b/x", mount) for scheme in ("gs", "s3", "az", "file")),
    ("gs:/b/x", mount),
    ("$HOME/x", expanded),
    ("x/${NOT_SET}", expanded),
    ("x_$SCRATCH", expanded),
    ("", "a path"),
    ("~nobody-here/x", "a path without ~, as that home folder is not known"),
  ):
    with pytest.raises(InputError) as error:
      parser.parse(["a", f"--workdir={text}"])
    assert str(error.value) == f"--workdir: got {text!r}; valid: {valid}"
    for section, field in (
      (DataConfig, "path"),
      (DataConfig, "cache_dir"),
      (ModelConfig, "weights"),
    ):
      if text:
        message = re.escape(f"x.{field}: got {text!r}; valid: {valid}")
        with pytest.raises(InputError, match=message):
          checks.check_fields("x", section, **{field: text})
  with pytest.raises(InputError, match="MN_JAX_CACHE: got 'gs://bucket/cache'"):
    store.cache_root("")
  assert not list(tmp_path.iterdir())
  for text in ("a:b", "c:/x", "$5", "a$b_$c", "~", "."):
    path = parser.parse(["a", f"--workdir={text}"]).workdir
    assert path == pathlib.Path(text).expanduser()


def test_help_starts_with_an_example_that_a_shell_reads(parser):
  assert parser.format_help().startswith(
    "example:\n  toy a --some-count=3 seed=1\n\nusage: toy "
  )
  long = Parser("toy", example=" ".join(f"--number-{i}=1" for i in range(9)))
  lines = long.format_help().partition("\n\n")[0].splitlines()
  assert len(lines) > 2
  assert all(line.endswith(" \\") for line in lines[1:-1])
  assert max(map(len, lines)) <= 80


def test_a_program_is_called_as_it_was_started(monkeypatch):
  for argv, name, expected in (
    ("/venv/bin/mn-jax", "slide-map", "mn-jax slide-map"),
    ("x.py", "slide-map", "python -m mn_jax.tools.slide_map"),
    ("x.py", "train", "python -m mn_jax.main"),
  ):
    monkeypatch.setattr(sys, "argv", [argv])
    assert parser_lib.command(name) == expected


def test_exit_codes_and_what_is_said(capsys):
  def ends(outcome):
    def end(argv):
      if isinstance(outcome, BaseException):
        raise outcome
      return outcome

    return program.run("toy", end, [], hint=program.RESUMES)

  assert [ends(None), ends(1)] == [0, 1]
  assert ends(InputError("a: got\n  1")) == 2
  assert ends(KeyboardInterrupt()) == 130
  assert capsys.readouterr().err == (
    "toy: a: got 1\ntoy: stopped; the same command resumes\n"
  )


def test_images_without_their_flag_are_asked_about(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "photos").mkdir()
  toy = Parser("toy")
  toy.option("--data", "PATH", "images")
  toy.flag("--quick", "in a hurry")
  toy.add_overrides()
  for line in ("photos", "seed=1 --quick photos", "--quick photos seed=1"):
    with pytest.raises(InputError, match=r"'photos' \(did you mean '--data=ph"):
      toy.parse(line.split())
  with pytest.raises(InputError, match="got 'other'; valid: SECTION"):
    toy.parse(["other"])
