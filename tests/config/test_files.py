"""Configs, studies and sweeps are found by name or path, from anywhere."""

import pathlib
import shutil
import sys

import ml_collections
import pytest

from mn_jax.config import files
from mn_jax.errors import InputError

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = """
from mn_jax import config

def get_config(arg=None):
  values = config.default()
  values.train.steps = 3
  {}
  return values
"""


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)


def refused(name, getter="get_config", kind=ml_collections.ConfigDict):
  with pytest.raises(InputError) as error:
    files.load(name, getter, kind)
  assert "\n" not in str(error.value)
  return str(error.value)


def test_a_name_and_a_copy_of_the_file_give_the_same(tmp_path):
  expected = files.load_config("idc_v1:test", ["seed=3"])
  assert (expected.experiment, expected.seed) == ("idc_v1_test", 3)
  path = ROOT / "configs" / "idc_v1.py"
  shutil.copy(path, tmp_path / "mine.py")
  for name in (path, "mine.py", tmp_path / "mine.py"):
    assert files.load_config(f"{name}:test", ["seed=3"]) == expected


def test_a_file_imports_those_beside_it_and_those_of_the_project(tmp_path):
  """Each its own, also where two folders have files of one name."""
  expected = files.load_config("idc_v1:test").experiment
  for i, folder in enumerate(("a", "b/configs", "c/configs/deep")):
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "base.py").write_text(f"STEPS = {i + 5}")
    path = tmp_path / folder / "mine.py"
    path.write_text(
      "import base\nfrom configs import idc_v1\n\ndef get_config(arg=''):\n"
      "  from configs.studies import idc\n  config = idc_v1.get_config(arg)\n"
      "  config.train.update(steps=base.STEPS, epochs=0.0)\n"
      "  return config\n"
    )
    config = files.load_config(f"{path}:test")
    assert (config.train.steps, config.experiment) == (i + 5, expected)
  path.write_text("from configs.deep.base import STEPS\n" + CONFIG.format(""))
  files.load_config(str(path))
  assert not {"base", "configs.idc_v1"} & sys.modules.keys()


def test_every_file_of_the_project_has_its_name():
  for getter, folder in (
    ("get_config", "."),
    ("get_study", "studies"),
    ("get_sweep", "sweeps"),
    ("get_paper", "papers"),
  ):
    paths = sorted((ROOT / "configs" / folder).glob("*.py"))
    assert paths
    assert files.names(getter) == [path.stem for path in paths]
    assert [files.find(path.stem, getter) for path in paths] == paths


def test_what_is_not_there_lists_what_is():
  assert refused("none").startswith("config: got 'none'; valid: the path of ")
  assert refused("configs/idc_v1.py").endswith(
    "imagenet_v3_large, imagenet_v4_medium, imagenet_v4_small"
  )
  assert "idc_scale" in refused("none", "get_study")
  assert refused("none.py", "get_sweep").startswith("sweep: got 'none.py'")


def test_a_wrong_argument_lists_the_right_ones():
  with pytest.raises(InputError, match="got 'big'; valid: best, sample, sou"):
    files.load_config("idc_v1:big")


def test_mistakes_in_a_file_are_one_line(tmp_path):
  path = tmp_path / "mine.py"
  for text, message in (
    ("", "got no get_config(); valid: a file whose get_config() returns"),
    ("def get_config(): return 3", "got int from get_config(); valid: a file"),
    (CONFIG.format("unknown"), "line 7: NameError: name 'unknown' is not"),
    (CONFIG.format("values.model.width = 'a'"), "line 7: TypeError: "),
    ("import nowhere", "line 1: ModuleNotFoundError: No module named 'nowh"),
    ("\ndef (", "line 2: SyntaxError: invalid syntax"),
  ):
    path.write_text(text)
    said = refused(str(path))
    assert said.startswith(str(path))
    assert message in said
