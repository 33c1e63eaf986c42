import os

import pytest

from mn_jax.tools import launch
from tests.launch import shells

CONFIG = "--config=configs/idc_v1.py:test"


@pytest.fixture(autouse=True)
def _at_the_root(monkeypatch):
  monkeypatch.chdir(shells.ROOT)


def test_wrong_input_is_one_line(capsys):
  for arguments, message in (
    ([], "arguments are required: ENGINE"),
    (["slrum"], "invalid choice: 'slrum' (choose from"),
    (["slurm"], "arguments are required: --config, --workdir"),
    (["local", "--config=configs/no.py", "--workdir=x"], "got 'configs/no.py'"),
    (
      ["slurm", f"{CONFIG}s", "--workdir=x"],
      "got 'tests'; valid: best, sample",
    ),
    (
      ["slurm", CONFIG, "--workdir=x", "--config.model.nme=v"],
      "model.nme: unknown field (did you mean 'model.name'?); valid: name",
    ),
    (
      ["slurm", CONFIG, "--workdir=x", "--config.seed"],
      "--config.seed: got no value",
    ),
    (
      ["slurm", CONFIG, "--workdir=x", "--config.train.steps=3"],
      "train: got steps=3",
    ),
    (["slurm", CONFIG, "--workdir=x", "--bogus=1"], "got '--bogus=1'; valid:"),
    # Not an option of this engine.
    (
      ["local", CONFIG, "--workdir=x", "--zone=a"],
      "got '--zone=a'; valid: see",
    ),
    (["slurm", CONFIG, "--workdir=x", "--nodes=two"], "invalid int"),
    (["slurm", CONFIG, "--workdir=x", "--env", "A"], "--env: got 'A'"),
    (["local", CONFIG, "--workdir=x", "--processes=0"], "--processes: got 0"),
    (["tpu_vm", CONFIG, "--workdir=x"], "--accelerator: got nothing"),
    (["slurm", CONFIG, "--workdir=a\nb"], "valid: one line of printable"),
  ):
    assert launch.main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("launch: ")
    assert message in printed.err
    assert printed.err.count("\n") == 1
    assert not (shells.ROOT / "x").exists()


def test_dry_run_writes_nothing(capsys, tmp_path):
  workdir = tmp_path / "a run"
  line = ["slurm", CONFIG, f"--workdir={workdir}", "--dry-run"]
  assert launch.main(line) == 0
  printed = capsys.readouterr()
  assert printed.out.startswith("#!/usr/bin/env bash\n")
  assert f"cd '{workdir}/launch' && sbatch a-run.sh" in printed.err
  assert not workdir.exists()


def test_file_is_written_and_submitted(capsys, tmp_path, monkeypatch):
  programs = tmp_path / "bin"
  programs.mkdir()
  shells.program(programs / "sbatch", f'cp "$1" {tmp_path}/submitted')
  monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
  line = ["slurm", CONFIG, f"--workdir={tmp_path}/x", "--config.seed=3"]
  assert launch.main(line) == 0
  submitted = (tmp_path / "submitted").read_text()
  assert submitted == (tmp_path / "x" / "launch" / "x.sh").read_text()
  assert "\n  seed=3\n" in submitted
  # The same command again makes the same file: the run goes on.
  assert launch.main(line) == 0
  assert submitted == (tmp_path / "submitted").read_text()
  shells.program(programs / "sbatch", "exit 4")
  assert launch.main(line) == 1
  assert "ended with 4" in capsys.readouterr().err


def test_without_the_engines_program_the_file_is_written(
  capsys, tmp_path, monkeypatch
):
  monkeypatch.setenv("PATH", str(tmp_path))
  assert launch.main(["slurm", CONFIG, f"--workdir={tmp_path}/x"]) == 2
  printed = capsys.readouterr().err
  assert "sbatch: not on PATH" in printed
  assert f"cd {tmp_path}/x/launch && sbatch x.sh" in printed
  assert (tmp_path / "x" / "launch" / "x.sh").exists()


def test_local_runs_the_trainer_itself(capsys, tmp_path):
  program = shells.program(
    tmp_path / "python", 'echo "$MN_JAX_CACHE $*"; exit 2'
  )
  line = ["local", CONFIG, f"--workdir={tmp_path}/x", f"--python={program}"]
  assert launch.main([*line, "--cache-dir=/c", "--config.seed=3"]) == 2
  expected = f"/c -m mn_jax.main {CONFIG} seed=3"
  assert capsys.readouterr().out.startswith(expected)
