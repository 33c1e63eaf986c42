"""A side process that behaves as its case's `way` says."""

import subprocess
import sys
import time

from mn_jax.perf.bench import worker


def build(case: worker.Case) -> worker.Program:
  steps = 0

  def run(count: int) -> None:
    nonlocal steps
    steps += count
    print("libraries print, too")
    if steps > 4:  # after the first and the warm-up
      if case.way == "dies":
        print("first line\nout of luck\n", file=sys.stderr)
        sys.exit(3)
      if case.way == "hangs":
        time.sleep(600)
    if case.way == "mumbles":
      worker.os.write(_OUT, b"step done\n")

  if case.way == "dies at once":
    raise OSError("cannot load its library")
  if case.way == "lacks":
    import a_package_that_is_not_there  # noqa: F401
  if case.way == "refuses":
    raise worker.RefusedError("no such network; valid: others")
  children = []
  if case.way == "parent":
    children.append(subprocess.Popen(["sleep", "600"]))
  return worker.Program(
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
  _OUT = worker.os.dup(1)
  worker.serve(build)
