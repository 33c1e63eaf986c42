"""A side process that behaves as its case's `backend` says."""

import subprocess
import sys
import time

from mn_jax.perf.bench import side_process


def build(case: side_process.Case) -> side_process.Program:
  steps = 0

  def run(count: int) -> None:
    nonlocal steps
    steps += count
    print("libraries print, too")
    if steps > 4:  # after the first and the warm-up
      if case.backend == "dies":
        print("first line\nout of luck\n", file=sys.stderr)
        sys.exit(3)
      if case.backend == "hangs":
        time.sleep(600)
    if case.backend == "mumbles":
      side_process.os.write(_OUT, b"step done\n")

  if case.backend == "dies at once":
    raise OSError("cannot load its library")
  if case.backend == "lacks":
    import a_package_that_is_not_there  # noqa: F401
  if case.backend == "refuses":
    raise side_process.RefusedError("no such network; valid: others")
  children = []
  if case.backend == "parent":
    children.append(subprocess.Popen(["sleep", "600"]))
  return side_process.Program(
    run=run,
    device="toy",
    packages=("jax", "a_package_that_is_not_there"),
    device_peak=lambda: None,
    more={
      "steps": lambda: steps,
      "threads": lambda: case.threads,
      "children": lambda: [child.pid for child in children],
    },
  )


if __name__ == "__main__":
  _OUT = side_process.os.dup(1)
  side_process.serve(build)
