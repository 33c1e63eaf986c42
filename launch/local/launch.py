"""Starts one run as several processes on this machine, over loopback.

  python launch/local/launch.py --processes=2 -- \
    --config=configs/idc_v1.py:test --workdir=runs/two

What follows `--` goes to every process. Ctrl-C and SIGTERM reach all of them;
when one fails, the others are ended, and its exit code is returned.
"""

import argparse
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence

# Time that processes get to save and leave before they are killed.
_GRACE_SECONDS = 60.0


def commands(
  processes: int, cpu_devices: int | None, port: int, arguments: Sequence[str]
) -> list[list[str]]:
  """The command of each process."""
  shared = [f"--coordinator=127.0.0.1:{port}", f"--num_processes={processes}"]
  if cpu_devices is not None:
    shared.append(f"--cpu_devices={cpu_devices}")
  return [
    [
      sys.executable,
      "-m",
      "mn_jax.main",
      *shared,
      f"--process_id={index}",
      *arguments,
    ]
    for index in range(processes)
  ]


def run(lines: Sequence[Sequence[str]]) -> int:
  """Runs the commands side by side; returns the first failure's exit code."""
  children = [subprocess.Popen(line) for line in lines]

  def forward(number: int, _) -> None:
    # A terminal sends Ctrl-C to the whole group itself; a second SIGINT would
    # make the children leave without saving.
    if number == signal.SIGTERM:
      for child in children:
        child.terminate()

  before = {
    number: signal.signal(number, forward)
    for number in (signal.SIGTERM, signal.SIGINT)
  }
  try:
    return _wait(children)
  finally:
    for number, handler in before.items():
      signal.signal(number, handler)


def _wait(children: Sequence[subprocess.Popen]) -> int:
  failed = 0
  while any(child.poll() is None for child in children):
    codes = [child.poll() for child in children]
    failed = failed or next((code for code in codes if code), 0)
    if failed:
      _end(children)
      break
    time.sleep(0.1)
  codes = [child.wait() for child in children]
  failed = failed or next((code for code in codes if code), 0)
  return failed if failed >= 0 else 128 - failed


def _end(children: Sequence[subprocess.Popen]) -> None:
  deadline = time.monotonic() + _GRACE_SECONDS
  for child in children:
    child.terminate()
  for child in children:
    try:
      child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
      child.kill()


def _free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("127.0.0.1", 0))
    return listener.getsockname()[1]


def main() -> int:
  """Parses the command line and runs; returns the exit code."""
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--processes", type=int, default=2, help="how many")
  parser.add_argument(
    "--cpu_devices", type=int, help="devices to split each process's CPU into"
  )
  parser.add_argument(
    "arguments", nargs="+", help="flags of mn_jax.main, after --"
  )
  args = parser.parse_args()
  return run(
    commands(args.processes, args.cpu_devices, _free_port(), args.arguments)
  )


if __name__ == "__main__":
  sys.exit(main())
