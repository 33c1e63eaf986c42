"""What the tests of rendered shell scripts share."""

import os
import pathlib
import re
import shlex
import shutil
import subprocess
import time

ROOT = pathlib.Path(__file__).parents[2]

# Values that a careless template would run, expand or break at.
HOSTILE = (
  "two words",
  "it's",
  'say "hi"',
  "$(touch HACKED)",
  "`touch HACKED`",
  "${HOME}",
  "$$(HOME) $$ $(HOME)",
  "a;touch HACKED;b",
  "a&b|c>d<e*?[!x]~",
  "{{ 7 * 7 }}{% raw %}{# x",
  "#x: - y, [z]",
  "100%t",
  "-rf",
  "EOF",
  "größe",
)


def examples() -> dict[pathlib.Path, list[str]]:
  """The rendered examples: file -> arguments of the program that makes it."""
  found = {}
  for page in sorted((ROOT / "launch").glob("*/README.md")):
    for block in re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL):
      for line in block.replace("\\\n", " ").splitlines():
        words = shlex.split(line)
        if ">" in words:
          assert words[:3] == ["python", "-m", "mn_jax.tools.launch"]
          found[ROOT / words[-1]] = words[3 : words.index(">")]
  return found


def check(text: str, severity: str = "style") -> None:
  """Holds a script against bash's grammar, and shellcheck if it is there.

  Args:
    text: the script.
    severity: from which on a remark fails the test. Of hostile values it
      remarks that they are not expanded, which is what they are to be.
  """
  subprocess.run(["bash", "-n"], input=text, text=True, check=True)
  if shutil.which("shellcheck"):
    done = subprocess.run(
      ["shellcheck", "--shell=bash", f"--severity={severity}", "-"],
      input=text,
      capture_output=True,
      text=True,
      check=False,
    )
    assert done.returncode == 0, done.stdout


def program(path: pathlib.Path, text: str) -> pathlib.Path:
  """Writes an executable for bash."""
  path.write_text(f"#!/usr/bin/env bash\n{text}\n")
  path.chmod(0o755)
  return path


def run(
  script: str,
  *,
  path: pathlib.Path | None = None,
  cwd: pathlib.Path,
  timeout: float = 60,
  **variables: str,
) -> subprocess.CompletedProcess:
  """Runs a script.

  Args:
    script: its text.
    path: folder of programs that come before all others.
    cwd: where it runs.
    timeout: seconds.
    variables: of its environment.
  """
  env = {**os.environ, **variables}
  if path is not None:
    env["PATH"] = f"{path}{os.pathsep}{env['PATH']}"
  return subprocess.run(
    ["bash", "-c", script],
    cwd=cwd,
    env=env,
    capture_output=True,
    text=True,
    timeout=timeout,
    check=False,
  )


def signalled(
  script: str,
  number: int,
  *,
  when: pathlib.Path,
  path: pathlib.Path,
  **env: str,
) -> int:
  """Signals a running script; returns its exit code.

  Args:
    script: its text.
    number: of the signal.
    when: file after whose appearance it is sent.
    path: folder of programs that come before all others.
    env: of the script; nothing else is in its environment.
  """
  child = subprocess.Popen(
    ["bash", "-c", script],
    env={"PATH": f"{path}:/usr/bin:/bin", **env},
    stdout=subprocess.DEVNULL,
  )
  deadline = time.monotonic() + 60
  while not when.exists() and time.monotonic() < deadline:
    time.sleep(0.02)
  time.sleep(0.1)
  child.send_signal(number)
  return child.wait(timeout=60)
