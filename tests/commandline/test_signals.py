"""Ctrl-C and SIGTERM, in processes that are in the middle of something."""

import concurrent.futures
import signal
import subprocess
import sys
import time

from mn_jax.commandline import program

START = """
import hashlib, sys, time
from mn_jax.commandline import program, signals

def compute():
  print("ready", flush=True)
  # As late as a compiler this returns to Python.
  hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)

def wait(seconds):
  print("ready", flush=True)
  time.sleep(seconds)

def tool(argv):
  try:
    wait(60)
  finally:
    print("tidying up", flush=True)
    if "slow" in sys.argv:
      compute()

"""
STOPPED = f"mn_jax: stopped; {program.RESUMES}\n"
HELD = "signals.take_over(); signals.hold(True);"
AFTER = "; print(signals.hold(False)); sys.exit(signals.exit_code())"
TOOL = "sys.exit(program.run('tool', tool, hint=program.RESUMES))"
TERM, INT = signal.SIGTERM, signal.SIGINT


def stopped(code, *numbers):
  """Sends signals once it is ready; (exit code, stdout, stderr)."""
  child = subprocess.Popen(
    [sys.executable, "-c", START + code],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    assert child.stdout.readline() == "ready\n"
    for number in numbers:
      child.send_signal(number)
      time.sleep(0.2)
    out, err = child.communicate(timeout=20)
  finally:
    child.kill()
  return child.returncode, out, err


def test_what_they_do():
  at_once = "signals.take_over(program.RESUMES);"
  cases = (
    (f"{at_once} wait(60)", (TERM,), (143, "", STOPPED)),
    (f"{at_once} wait(60)", (INT,), (130, "", STOPPED)),
    (f"{at_once} compute()", (TERM,), (143, "", STOPPED)),
    (f"{at_once} compute()", (INT,), (130, "", STOPPED)),
    # A program that saves learns of the first; a second Ctrl-C does not wait.
    (f"{HELD} wait(1) {AFTER}", (TERM,), (143, "True\n", "")),
    (f"{HELD} wait(1) {AFTER}", (INT,), (130, "True\n", "")),
    (f"{HELD} wait(1) {AFTER}", (TERM, TERM), (143, "True\n", "")),
    (f"{HELD} wait(0) {AFTER}", (), (143, "False\n", "")),
    (f"{HELD} compute()", (INT, INT), (130, "", "mn_jax: stopped\n")),
    # One that tidies up does so once.
    (TOOL, (TERM,), (143, "tidying up\n", f"tool: stopped{STOPPED[15:]}")),
    (TOOL, (INT,), (130, "tidying up\n", f"tool: stopped{STOPPED[15:]}")),
    (
      f"sys.argv.append('slow'); {TOOL}",
      (INT, INT),
      (130, "tidying up\nready\n", STOPPED),
    ),
  )
  # They wait most of the time, and for nothing of each other.
  with concurrent.futures.ThreadPoolExecutor(4) as pool:
    results = [
      pool.submit(stopped, case, *numbers) for case, numbers, _ in cases
    ]
  for (case, _, expected), result in zip(cases, results, strict=True):
    assert result.result() == expected, case


def test_a_reader_that_does_not_read_delays_no_end():
  code, _, _ = stopped(
    "signals.take_over(); wait(0); print('x' * 10**7, flush=True)", TERM
  )
  assert code == 143
