"""What the tests of one program share."""

import pathlib
import shutil

import pytest

from mn_jax.data.samples import patches
from mn_jax.tools import prepare
from tests.tools import inspecting


@pytest.fixture(scope="module")
def master(tmp_path_factory):
  """A small data set in the layout of IDC, not to be changed."""
  folder = tmp_path_factory.mktemp("copy") / "idc"
  patches.write_sample(folder, num_patients=4, patches_per_patient=5)
  return folder


@pytest.fixture
def copy(master, tmp_path):
  return pathlib.Path(shutil.copytree(master, tmp_path / "copy"))


@pytest.fixture
def root(tmp_path, monkeypatch):
  monkeypatch.delenv("MN_JAX_CACHE", raising=False)
  return tmp_path / "root"


@pytest.fixture
def run_prepare(capsys, root):
  """Runs the program in `root`; returns its code and what it printed."""

  def run(*arguments):
    code = prepare.main([*map(str, arguments), f"--cache-dir={root}"])
    return code, *capsys.readouterr()

  return run


@pytest.fixture
def start(run, capsys):
  """Runs a program; returns its code and what it printed."""

  def start(name, *arguments, workdir=run):
    code = inspecting.PROGRAMS[name].main(
      [f"--workdir={workdir}", *map(str, arguments)]
    )
    return code, *capsys.readouterr()

  return start
