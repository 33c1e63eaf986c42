"""Processes on this machine, started, watched and restarted."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from mn_jax.errors import InputError
from mn_jax.launch import local
from mn_jax.launch.job import Job

ROOT = pathlib.Path(__file__).parents[2]
# Parts of scripts that stand in for the trainer.
WAIT_READY = 'until [[ -e "$HERE/ready" ]]; do sleep 0.01; done'
IDLE = "while :; do sleep 0.02; done"


def make_job(folder, **fields):
  options = {"tasks_per_node": 2, "grace": 10, "restarts": 0, **fields}
  return Job(config="c.py", workdir=str(folder / "x"), **options)


def run(job, *scripts):
  """Runs a script per process; returns the exit code and the ports of attempts.

  In the scripts, $HERE is the folder that the job's workdir is in.
  """
  ports = []

  def commands(port):
    ports.append(port)
    return [["bash", "-c", script] for script in scripts]

  here = str(pathlib.Path(job.workdir).parent)
  code = local.run(job, commands, {**os.environ, "HERE": here}, pause=0.01)
  return code, ports


def log(job, rank):
  return (pathlib.Path(job.logs) / f"rank{rank}.log").read_text()


def test_every_process_gets_its_number_and_all_arguments(tmp_path):
  job = make_job(tmp_path, tasks_per_node=3, cpu_devices=2)
  commands = local.process_commands(job, 1234)
  for index, command in enumerate(commands):
    assert command == [
      *job.command(),
      "--coordinator=127.0.0.1:1234",
      "--num-processes=3",
      f"--process-id={index}",
    ]
  assert len(commands) == 3
  single = make_job(tmp_path, tasks_per_node=1)
  assert local.process_commands(single, 1) == [list(single.command())]


def test_logs_per_rank_and_the_first_is_shown(tmp_path, capsys):
  job = make_job(tmp_path)
  script = "echo out; echo err >&2"
  assert run(job, script, "echo one")[0] == 0
  assert sorted(log(job, 0).split()) == ["err", "out"]
  assert log(job, 1) == "one\n"
  assert capsys.readouterr() == ("out\n", "err\n")
  assert run(job, script, "echo two")[0] == 0
  assert log(job, 1) == "one\ntwo\n"


def test_a_failure_terminates_the_others_and_is_returned(tmp_path):
  waits = f"""trap 'touch "$HERE/ended"; exit 143' TERM
    touch "$HERE/ready"; {IDLE}"""
  assert run(make_job(tmp_path), waits, f"{WAIT_READY}; exit 1")[0] == 1
  assert (tmp_path / "ended").exists()


def test_a_process_that_does_not_end_is_killed(tmp_path):
  ignores = """trap '' TERM; touch "$HERE/ready"; exec sleep 600"""
  job = make_job(tmp_path)
  object.__setattr__(job, "grace", 0.3)
  assert run(job, ignores, f"{WAIT_READY}; exit 9")[0] == 9


def test_the_end_of_a_failed_log_is_shown(tmp_path, capsys):
  job = make_job(tmp_path)
  run(job, ":", "echo an earlier attempt; exit 1")
  run(job, ":", "echo what is wrong; exit 1")
  err = capsys.readouterr().err
  assert f"{job.logs}/rank1.log:\nwhat is wrong\n" in err


def test_failures_are_tried_again_with_another_port(tmp_path, capsys):
  third = 'echo >> "$HERE/count"; (($(wc -l < "$HERE/count") == 3))'
  code, ports = run(make_job(tmp_path, restarts=3), third, ":")
  assert (code, len(ports)) == (0, 3)
  assert all(a != b for a, b in itertools.pairwise(ports))
  assert "failures: 2, allowed: 3" in capsys.readouterr().err
  late = "sleep 0.2; exit 2"
  for restarts, scripts, expected, attempts in (
    (2, ("exit 7", ":"), 7, 3),
    # Wrong input of any process is not tried again.
    (5, (late, late), 2, 1),
    # A killed process is a failure.
    (0, ("kill -9 $$", ":"), 137, 1),
  ):
    code, ports = run(make_job(tmp_path, restarts=restarts), *scripts)
    assert (code, len(ports)) == (expected, attempts)


def test_stops_from_outside_are_not_failures(tmp_path):
  """A process that was stopped lets the other finish; both start again."""
  script = """[[ -e "$HERE/first" ]] && exit 0
    sleep {}; touch "$HERE/first"; exit 143"""
  code, ports = run(make_job(tmp_path), script.format(0.3), script.format(0))
  assert (code, len(ports)) == (0, 2)


@pytest.mark.parametrize(
  ("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_signals_reach_all_and_nothing_starts_again(tmp_path, number, expected):
  """As in a terminal, Ctrl-C goes to the group; SIGTERM to this process."""
  saves = f"""trap 'touch "$HERE/$0.saved"; exit {expected}' TERM INT
    touch "$HERE/$0"; {IDLE}"""
  program = (
    "import os, sys\n"
    "from mn_jax.launch import job, local\n"
    f"made = job.Job(config='c.py', workdir={str(tmp_path / 'x')!r})\n"
    f"commands = [['bash', '-c', {saves!r}, name] for name in ('a', 'b')]\n"
    "sys.exit(local.run(made, lambda port: commands, dict(os.environ)))\n"
  )
  child = subprocess.Popen(
    [sys.executable, "-c", program],
    cwd=ROOT,
    env={**os.environ, "HERE": str(tmp_path)},
    start_new_session=True,
  )
  started, saved = (
    [tmp_path / f"{name}{end}" for name in ("a", "b")] for end in ("", ".saved")
  )
  deadline = time.monotonic() + 60
  while time.monotonic() < deadline and not all(p.exists() for p in started):
    time.sleep(0.02)
  if number == signal.SIGINT:
    os.killpg(child.pid, number)
  else:
    child.send_signal(number)
  assert child.wait(timeout=60) == expected
  assert all(path.exists() for path in saved)


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "x").touch()
  with pytest.raises(InputError, match=r"--workdir: got .* cannot be written"):
    run(make_job(tmp_path), ":")
