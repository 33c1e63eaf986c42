"""Suites of measurements, a page of docs/benchmarks each, kept in a JSON file.

Each measurement is a process of `tools.bench`. What is measured already is not
measured again, so a suite that was stopped resumes where it was.
"""

import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.perf.bench import page, program_page

# For `only`: the page alone, from what there is.
NONE = "none"
Case = tuple[str, ...]

_CPU_PEERS = "--peer=timm-eager,timm-compile,keras-jax,keras-torch,plain-jax"
# Keras and plain JAX take seconds for a step of 224 pixels.
_CPU_PEERS_LARGE = "--peer=timm-eager,timm-compile"
_GPU_PEERS = "--peer=timm-eager,timm-compile"
_MOBILENETS = ("mobilenet_v1", "mobilenet_v2", "mobilenet_v3_large")
_SMALL_MOBILENETS = (*_MOBILENETS[:2], "mobilenet_v3_small")
_IDC = "--config=configs/idc_v1.py"
_BF16 = "--dtype=bfloat16"
_GPU_RUN = (
  "--of=run",
  _IDC,
  "data.placement=device",
  "model.dtype=bfloat16",
)


def _sizes(
  models: Sequence[str], sizes: Sequence[tuple[int, int]]
) -> list[Case]:
  """Flags of every model at each (resolution, batch)."""
  return [
    (f"--model={model}", f"--resolution={resolution}", f"--batch-size={batch}")
    for resolution, batch in sizes
    for model in models
  ]


def _networks(
  models: Sequence[str], sizes: Sequence[tuple[int, int]], *rest: str
) -> list[Case]:
  return [
    (*case, f"--mode={mode}", *rest, "--skip-missing")
    for case in _sizes(models, sizes)
    for mode in ("infer", "train")
  ]


def _operations(
  models: Sequence[str], sizes: Sequence[tuple[int, int]], *rest: str
) -> list[Case]:
  return [
    ("--of=ops", *case, *rest)
    for model in models
    for case in _sizes([model], sizes)
  ]


def _program(
  chip: str, model: str, resolution: int, batch: int, *rest: str
) -> Case:
  """Flags that read a training step of ImageNet's experiment in bfloat16."""
  return (
    "--of=program",
    f"--chip={chip}",
    *rest,
    "--config=configs/imagenet_v2.py",
    f"model.name={model}",
    "model.dtype=bfloat16",
    "data.classes=1000",
    f"data.image_size={resolution}",
    f"train.batch_size={batch}",
  )


_PLAIN = "--peer=plain-jax"
_PROGRAMS: list[Case] = [
  *(_program("H200", model, 224, 256, _PLAIN) for model in _MOBILENETS[:2]),
  _program("H200", _MOBILENETS[2], 224, 256),
  *(_program("H200", model, 50, 1024, _PLAIN) for model in _MOBILENETS[:2]),
  *(
    _program(chip, model, 224, 128)
    for chip in ("v5e", "v6e")
    for model in _MOBILENETS
  ),
  *(
    ("--of=program", *case, f"--mode={mode}", _PLAIN)
    for case in _sizes(_MOBILENETS[:2], [(50, 32)])
    for mode in ("train", "infer")
  ),
]

# Name of a suite -> flags of `tools.bench`, a tuple for each measurement.
CASES: dict[str, list[Case]] = {
  "cpu": [
    *_networks(_SMALL_MOBILENETS, [(50, 32)], _CPU_PEERS),
    *_networks(_SMALL_MOBILENETS[:2], [(224, 16)], _CPU_PEERS_LARGE),
    *_operations(_SMALL_MOBILENETS[:2], [(50, 32), (224, 16)]),
    ("--of=run", f"{_IDC}:sample"),
    ("--of=input", f"{_IDC}:sample"),
  ],
  "gpu": [
    *_networks(
      _MOBILENETS,
      [(224, 256), (224, 1024), (50, 1024), (50, 4096)],
      _BF16,
      # Several steps between two waits, as in training.
      "--steps-per-repeat=10",
      _GPU_PEERS,
    ),
    *_operations(_MOBILENETS, [(224, 256), (50, 1024)], _BF16),
    _GPU_RUN,
    (*_GPU_RUN, "train.replicas=5"),
  ],
  "programs": _PROGRAMS,
}


def run(
  path: pathlib.Path,
  name: str,
  console: Console,
  *,
  only: str,
  rest: Sequence[str],
  before: pathlib.Path | None = None,
) -> None:
  """Measures what is missing of a suite and writes its page.

  Args:
    path: of the page; the reports are beside it, with '.json'.
    name: of the suite in CASES.
    console: for people.
    only: measure those whose flags contain it; NONE: none of them.
    rest: further flags of every measurement.
    before: reports of the same suite by an earlier revision, for the page of
      programs, which keeps them.

  Raises:
    InputError: if the JSON file cannot be used.
    KeyboardInterrupt: after the finished measurements are written.
  """
  if path.suffix != ".md":
    raise InputError(f"--table: got {str(path)!r}; valid: a path that ends .md")
  reports_path = path.with_suffix(".json")
  reports = _read(reports_path)
  cases = {shlex.join(case): case for case in CASES[name]}
  if before is not None:
    earlier = _read(before)
    reports |= {
      f"{program_page.BEFORE} {key}": program_page.compact(earlier[key])
      for key in cases
      if key in earlier
    }
  for number, (key, case) in enumerate(cases.items(), 1):
    done = key in reports and "failed" not in reports[key]
    if done or only == NONE or only not in key:
      continue
    console.line(f"[{number}/{len(cases)}] {key}")
    reports[key] = program_page.compact(measure([*case, *rest]))
    if "failed" in reports[key]:
      console.line(f"failed: {reports[key]['failed']}")
    atomic.write_json(reports_path, reports)
  atomic.write_json(reports_path, reports)
  command = f"python -m mn_jax.tools.bench --table={path} --cases={name}"
  atomic.write_text(path, page_of(path, command, name, reports))
  console.line(f"Page: {path}")


def page_of(
  path: pathlib.Path, command: str, name: str, reports: Mapping[str, Any]
) -> str:
  """Renders the page of a suite; see `run`."""
  keys = [shlex.join(case) for case in CASES[name]]
  of_suite = {key: reports.get(key, {}) for key in keys}
  if name != "programs":
    return page.render(path, command, of_suite)
  before = {
    key: reports.get(f"{program_page.BEFORE} {key}", {}) for key in keys
  }
  return program_page.render(path, command, of_suite, before)


def measure(arguments: list[str]) -> dict[str, Any]:
  """Runs `tools.bench`; returns its report, or {'failed': reason}."""
  process = subprocess.Popen(
    [sys.executable, "-m", "mn_jax.tools.bench", *arguments, "--json"],
    stdin=subprocess.DEVNULL,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    out, errors = process.communicate()
  except KeyboardInterrupt:
    process.terminate()
    process.wait()
    raise
  if process.returncode == 0:
    return json.loads(out.splitlines()[-1])
  lines = [line for line in errors.splitlines() if line.strip()]
  return {"failed": lines[-1].strip() if lines else "no message"}


def _read(path: pathlib.Path) -> dict[str, Any]:
  """Reads reports by the flags of their measurement; {} without a file."""
  if not path.exists():
    return {}
  try:
    reports = json.loads(path.read_bytes())
  except ValueError:
    reports = None
  if not isinstance(reports, dict):
    raise InputError(
      f"--table: got {str(path)!r}, which cannot be read; valid: what this "
      "program wrote, or no file"
    )
  return reports
