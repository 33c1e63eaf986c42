import pathlib
import runpy
import sys
import time

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


def test_a_failure_ends_the_others_and_is_returned():
  begun = time.monotonic()
  code = LAUNCH["run"](
    [python("import time; time.sleep(60)"), python("raise SystemExit(2)")]
  )
  assert code == 2
  # Not a measure of speed: the other would have slept on.
  assert time.monotonic() - begun < 30


def test_a_killed_process_is_a_failure():
  code = LAUNCH["run"](
    [python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")]
  )
  assert code == 137
