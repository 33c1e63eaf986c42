import pathlib
import runpy
import sys

ROOT = pathlib.Path(__file__).parents[2]
LAUNCH = runpy.run_path(str(ROOT / "launch" / "local" / "launch.py"))


def python(code):
  return [sys.executable, "-c", code]


def test_every_process_gets_its_number_and_all_arguments():
  lines = LAUNCH["commands"](3, 2, 1234, ["--config=a.py", "--workdir=w"])
  assert [line[-3] for line in lines] == [f"--process_id={i}" for i in range(3)]
  for line in lines:
    assert line[1:3] == ["-m", "mn_jax.main"]
    assert "--coordinator=127.0.0.1:1234" in line
    assert "--num_processes=3" in line
    assert "--cpu_devices=2" in line
    assert line[-2:] == ["--config=a.py", "--workdir=w"]


def test_success_of_all_is_success():
  assert LAUNCH["run"]([python("pass"), python("pass")]) == 0


def test_a_failure_ends_the_others_and_is_returned(tmp_path):
  # The first says that it was asked to end; nobody else would wake it.
  waits = (
    "import pathlib, signal, sys, time\n"
    f"mark = pathlib.Path({str(tmp_path / 'ended')!r})\n"
    "signal.signal(15, lambda *_: (mark.touch(), sys.exit(0)))\n"
    f"pathlib.Path({str(tmp_path / 'ready')!r}).touch()\n"
    "time.sleep(600)\n"
  )
  fails = (
    "import pathlib, sys, time\n"
    f"while not pathlib.Path({str(tmp_path / 'ready')!r}).exists():\n"
    "  time.sleep(0.01)\n"
    "sys.exit(2)\n"
  )
  assert LAUNCH["run"]([python(waits), python(fails)]) == 2
  assert (tmp_path / "ended").exists()


def test_a_killed_process_is_a_failure():
  code = LAUNCH["run"](
    [python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")]
  )
  assert code == 137
