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


def job(folder, **fields):
  given = {"tasks_per_node": 2, "grace": 10, "restarts": 0, **fields}
  return Job(config="c.py", workdir=str(folder / "x"), **given)


def python(code):
  return [sys.executable, "-c", code]


def run(made, *codes, attempts=None):
  """Runs Python code as processes; notes each attempt's port in `attempts`."""

  def make(port):
    if attempts is not None:
      attempts.append(port)
    return [python(code) for code in codes]

  return local.run(made, make, dict(os.environ), pause=0.01)


def log(made, rank):
  return (pathlib.Path(made.logs) / f"rank{rank}.log").read_text()


def test_every_process_gets_its_number_and_all_arguments(tmp_path):
  made = job(tmp_path, tasks_per_node=3, cpu_devices=2)
  lines = local.process_commands(made, 1234)
  assert [line[-1] for line in lines] == [f"--process-id={i}" for i in range(3)]
  for line in lines:
    assert line[1:3] == ["-m", "mn_jax.main"]
    assert "--coordinator=127.0.0.1:1234" in line
    assert "--num-processes=3" in line
    assert "--cpu-devices=2" in line
    assert f"--workdir={tmp_path}/x" in line


def test_one_process_needs_no_coordinator(tmp_path):
  made = job(tmp_path, tasks_per_node=1)
  assert local.process_commands(made, 1) == [list(made.command())]


def test_logs_per_rank_and_the_first_is_shown(tmp_path, capsys):
  made = job(tmp_path)
  told = "import sys; print('out'); print('err', file=sys.stderr)"
  assert run(made, told, "print('one')") == 0
  assert sorted(log(made, 0).split()) == ["err", "out"]
  assert log(made, 1) == "one\n"
  shown = capsys.readouterr()
  assert (shown.out, shown.err) == ("out\n", "err\n")
  assert run(made, told, "print('two')") == 0
  assert log(made, 1) == "one\ntwo\n"


def test_a_failure_ends_the_others_and_is_returned(tmp_path):
  # The first says that it was asked to end; nobody else would wake it.
  waits = (
    "import pathlib, signal, sys, time\n"
    f"mark = pathlib.Path({str(tmp_path / 'ended')!r})\n"
    "signal.signal(15, lambda *_: (mark.touch(), sys.exit(143)))\n"
    f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
    "time.sleep(600)\n"
  )
  fails = (
    "import pathlib, sys, time\n"
    f"while not pathlib.Path({str(tmp_path / 'ready')!r}).exists():\n"
    "  time.sleep(0.01)\n"
    "sys.exit('what is wrong')\n"
  )
  made = job(tmp_path)
  assert run(made, waits, fails) == 1
  assert (tmp_path / "ended").exists()


def test_the_end_of_a_failed_log_is_shown(tmp_path, capsys):
  made = job(tmp_path)
  run(made, "pass", "raise SystemExit('an earlier attempt')")
  run(made, "pass", "raise SystemExit('what is wrong')")
  shown = capsys.readouterr().err
  assert f"{made.logs}/rank1.log:\nwhat is wrong\n" in shown


def test_a_killed_process_is_a_failure(tmp_path):
  made = job(tmp_path, tasks_per_node=1)
  assert run(made, "import os; os.kill(os.getpid(), 9)") == 137


def test_wrong_input_of_any_process_is_not_tried_again(tmp_path):
  attempts = []
  made = job(tmp_path, restarts=5)
  late = "import sys, time; time.sleep(0.2); sys.exit(2)"
  code = run(made, late, late, attempts=attempts)
  assert (code, len(attempts)) == (2, 1)


def test_failures_are_tried_again_with_another_port(tmp_path, capsys):
  attempts = []
  made = job(tmp_path, restarts=3)
  count = tmp_path / "count"
  third = (
    "import pathlib, sys\n"
    f"file = pathlib.Path({str(count)!r})\n"
    "file.write_text('x' + (file.read_text() if file.exists() else ''))\n"
    "sys.exit(file.read_text() != 'xxx')\n"
  )
  assert run(made, third, "pass", attempts=attempts) == 0
  assert len(set(attempts)) == 3
  assert "failures: 2, allowed: 3" in capsys.readouterr().err


def test_failures_are_limited(tmp_path):
  attempts = []
  made = job(tmp_path, restarts=2)
  assert run(made, "raise SystemExit(7)", "pass", attempts=attempts) == 7
  assert len(attempts) == 3


def test_stops_from_outside_are_no_failures(tmp_path):
  """A process that was stopped lets the other finish, and both begin again."""
  attempts = []
  first = tmp_path / "first"
  code = (
    "import pathlib, sys, time\n"
    f"file = pathlib.Path({str(first)!r})\n"
    "if file.exists(): sys.exit(0)\n"
    "time.sleep({})\n"
    "file.touch()\n"
    "sys.exit(143)\n"
  )
  made = job(tmp_path)
  done = run(made, code.format(0.3), code.format(0), attempts=attempts)
  assert (done, len(attempts)) == (0, 2)


def test_a_process_that_does_not_end_is_killed(tmp_path):
  ready = tmp_path / "ready"
  deaf = (
    "import pathlib, signal, time\n"
    "signal.signal(15, signal.SIG_IGN)\n"
    f"pathlib.Path({str(ready)!r}).touch()\n"
    "time.sleep(600)\n"
  )
  fails = (
    "import pathlib, time\n"
    f"while not pathlib.Path({str(ready)!r}).exists(): time.sleep(0.01)\n"
    "raise SystemExit(9)\n"
  )
  made = job(tmp_path)
  object.__setattr__(made, "grace", 0.3)
  assert run(made, deaf, fails) == 9


@pytest.mark.parametrize(
  ("number", "expected"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_signals_reach_all_and_nothing_begins_again(tmp_path, number, expected):
  """As of a terminal, Ctrl-C goes to the group; SIGTERM to this process."""
  saves = (
    "import pathlib, signal, sys, time\n"
    "def stop(number, _):\n"
    f"  pathlib.Path({str(tmp_path)!r}, sys.argv[1] + str(number)).touch()\n"
    "  sys.exit(128 + number)\n"
    "signal.signal(15, stop)\n"
    "signal.signal(2, stop)\n"
    f"pathlib.Path({str(tmp_path)!r}, sys.argv[1]).touch()\n"
    "time.sleep(600)\n"
  )
  program = (
    "import sys\n"
    "from mn_jax.launch import job, local\n"
    f"made = job.Job(config='c.py', workdir={str(tmp_path / 'x')!r})\n"
    f"lines = [[sys.executable, '-c', {saves!r}, n] for n in ('a', 'b')]\n"
    "sys.exit(local.run(made, lambda port: lines, {}))\n"
  )
  child = subprocess.Popen(python(program), cwd=ROOT, start_new_session=True)
  deadline = time.monotonic() + 60
  while time.monotonic() < deadline:
    if (tmp_path / "a").exists() and (tmp_path / "b").exists():
      break
    time.sleep(0.02)
  if number == signal.SIGINT:
    os.killpg(child.pid, number)
  else:
    child.send_signal(number)
  assert child.wait(timeout=60) == expected
  assert (tmp_path / f"a{int(number)}").exists()
  assert (tmp_path / f"b{int(number)}").exists()


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "x").touch()
  with pytest.raises(InputError, match=r"--workdir: got .* cannot be written"):
    run(job(tmp_path), "pass")
