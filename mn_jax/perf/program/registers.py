"""Registers, spills and shared memory of a GPU program's kernels, by ptxas.

XLA writes the PTX of its kernels into a folder if it is asked to, those of
Pallas included; `ptxas`, which the wheel nvidia-cuda-nvcc has, says what each
needs. Kernels of cuDNN and cuBLAS come compiled, and are not among them.
"""

import importlib.metadata
import pathlib
import re
import shutil
import subprocess
from typing import Any

from mn_jax.errors import InputError, RunError

_WHEELS = ("nvidia-cuda-nvcc-cu12", "nvidia-cuda-nvcc")
_TARGET = re.compile(r"^\.target (\w+)", re.MULTILINE)
_ENTRY = re.compile(r"Compiling entry function '([^']+)'")
_PROPERTIES = re.compile(
  r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads"
)
_USED = re.compile(r"Used (\d+) registers(?:.*?(\d+) bytes smem)?")


def compiler_options(folder: pathlib.Path) -> dict[str, str]:
  """Options of `jax.stages.Lowered.compile` that write PTX into a folder."""
  return {"xla_dump_to": str(folder), "xla_dump_emitter_re": ".*"}


def find_ptxas() -> str:
  """Returns the path of ptxas.

  Raises:
    InputError: if it is neither on PATH nor in a wheel.
  """
  found = shutil.which("ptxas")
  if found:
    return found
  for wheel in _WHEELS:
    try:
      files = importlib.metadata.distribution(wheel).files or ()
    except importlib.metadata.PackageNotFoundError:
      continue
    for file in files:
      if file.name == "ptxas":
        return str(file.locate())
  raise InputError(
    "--registers: got no ptxas; valid: with it on PATH, or in the wheel "
    f"{_WHEELS[0]}, which the extra 'cuda12' brings"
  )


def read(folder: pathlib.Path, ptxas: str) -> list[dict[str, Any]]:
  """Assembles all PTX files of a folder.

  Returns:
    For every kernel its 'name', 'registers' of each thread, bytes of 'shared'
    memory that it declares, and of its 'stack' and 'spill_stores' and
    'spill_loads'; those that spill most first, then by registers.

  Raises:
    RunError: if there is no PTX, or ptxas fails.
  """
  files = sorted(folder.glob("*.ptx"))
  if not files:
    raise RunError("--registers: XLA wrote no PTX for this program")
  kernels = [kernel for file in files for kernel in _assemble(file, ptxas)]
  return sorted(
    kernels, key=lambda k: (-k["spill_stores"], -k["registers"], k["name"])
  )


def _assemble(path: pathlib.Path, ptxas: str) -> list[dict[str, Any]]:
  target = _TARGET.search(path.read_text(encoding="utf-8"))
  arguments = ["-v", f"-arch={target[1] if target else 'sm_90'}", str(path)]
  done = subprocess.run(
    [ptxas, *arguments, "-o", str(path.with_suffix(".cubin"))],
    capture_output=True,
    text=True,
    check=False,
  )
  if done.returncode:
    lines = done.stderr.strip().splitlines() or ["no message"]
    raise RunError(f"ptxas: {lines[-1]}")
  return parse(done.stderr)


def parse(text: str) -> list[dict[str, Any]]:
  """Reads what `ptxas -v` says of each kernel; see `read`."""
  kernels, kernel = [], None
  for line in text.splitlines():
    if entry := _ENTRY.search(line):
      kernel = {"name": entry[1], "registers": 0, "shared": 0}
      kernel |= {"stack": 0, "spill_stores": 0, "spill_loads": 0}
      kernels.append(kernel)
    elif kernel is None:
      continue
    elif properties := _PROPERTIES.search(line):
      names = ("stack", "spill_stores", "spill_loads")
      kernel |= dict(zip(names, map(int, properties.groups()), strict=True))
    elif used := _USED.search(line):
      kernel["registers"] = int(used[1])
      kernel["shared"] = int(used[2] or 0)
  return kernels
