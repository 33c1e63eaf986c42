"""Starts a run: `python -m mn_jax.tools.launch ENGINE --config=... ...`.

local     processes on this machine, restarted when they fail
slurm     a job that requeues itself ahead of its time limit
tpu_vm    Cloud TPU VMs, through a queued resource
gke       Google Kubernetes Engine: a JobSet, on TPU slices or GPU nodes
skypilot  a managed job on spot machines of any cloud

The file for the engine is written and handed to the engine's own program;
`--dry_run` prints it and does neither. The same command continues the run.
`--config.FIELD=VALUE` changes the config, as in training. Exit codes: 0
submitted, or done; 1 the engine's program failed; 2 a mistake in what was
given; of `local`, those of training.
"""

import argparse
import dataclasses
import os
import pathlib
import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags
from ml_collections import config_flags

from mn_jax.commandline import flags as commandline
from mn_jax.commandline import run_options
from mn_jax.config import checks
from mn_jax.errors import InputError
from mn_jax.launch import gke, local, skypilot, slurm, submit, tpu_vm
from mn_jax.launch.job import Job

_Plan = Callable[[Job], submit.Launch]
# Options are fields of a job and are called so. What an engine lacks here it
# does not know.
_OPTIONS: dict[str, tuple[type, str]] = {
  "nodes": (int, "machines (default: 1)"),
  "tasks_per_node": (int, "processes on each machine"),
  "devices_per_node": (int, "GPUs of each machine (default: none)"),
  "cpus_per_task": (int, "CPU cores of each process"),
  "cpu_devices": (int, "devices to split each process's CPU into"),
  "accelerator": (str, "kind of the devices, as the engine calls it"),
  "topology": (str, "of a TPU slice, chips along each axis, as 4x4"),
  "hours": (float, "time limit of an attempt"),
  "code": (str, "folder of the checkout on the machines"),
  "python": (str, "interpreter, seen from the checkout"),
  "activate": (str, "shell command before training, as `module load cuda`"),
  "setup": (str, "shell command that prepares a fresh machine"),
  "image": (str, "of the container, which has the checkout and its packages"),
  "cache": (str, "folder of packed data and compiled programs, $MN_JAX_CACHE"),
  "storage": (str, "what outlives the machines, as the engine calls it"),
  "mount": (str, "where the machines see it; --workdir is below"),
  "zone": (str, "where machines are taken"),
  "project": (str, "account or project that pays"),
  "queue": (str, "partition or queue"),
  "namespace": (str, "of Kubernetes"),
  "runtime": (str, "software version of the VMs (default: by --accelerator)"),
  "spot": (bool, "take machines that may be taken away"),
  "grace": (int, "seconds in which a stopped run may save (default: 300)"),
  "restarts": (int, "failures that are answered by a restart (default: 10)"),
}
_SHARED = ("cache", "grace", "restarts", "python")


@dataclasses.dataclass(frozen=True)
class _Engine:
  """What this program knows of an engine.

  Attributes:
    description: one line.
    options: names in `_OPTIONS` beside those that all have.
    help: of options that this engine has other words for.
    defaults: of fields, where a job's own do not fit.
    flags: of options that are called otherwise here.
    plan: makes its file; None for this machine.
  """

  description: str
  options: tuple[str, ...]
  help: dict[str, str]
  defaults: dict[str, Any]
  plan: _Plan | None = None
  flags: dict[str, str] = dataclasses.field(default_factory=dict)


_ENGINES = {
  "local": _Engine(
    "processes on this machine, restarted when they fail",
    ("tasks_per_node", "cpu_devices"),
    {
      "tasks_per_node": "how many (default: 1)",
      "grace": "seconds in which a stopped run may save (default: 60)",
    },
    {"python": sys.executable, "grace": 60},
    flags={"tasks_per_node": "processes"},
  ),
  "slurm": _Engine(
    "a SLURM job that requeues itself ahead of its time limit",
    (
      *("nodes", "devices_per_node", "tasks_per_node", "cpus_per_task"),
      *("cpu_devices", "accelerator", "hours", "queue", "project"),
      *("code", "activate"),
    ),
    {
      "tasks_per_node": "processes on each node (default: one per GPU, or 1)",
      "accelerator": "type of GPU, as a100 (default: any)",
      "queue": "partition",
      "project": "account",
      "hours": "time limit; the job saves and requeues itself ahead of it",
      "code": "folder of the checkout (default: this one)",
    },
    {"python": ".venv/bin/python"},
    slurm.plan,
  ),
  "tpu_vm": _Engine(
    "Cloud TPU VMs, through a queued resource",
    (
      *("accelerator", "zone", "project", "runtime", "spot", "storage"),
      *("mount", "code", "setup", "activate"),
    ),
    {
      "accelerator": "type of TPU, as v5litepod-16, v6e-8 or v5p-32",
      "zone": "of Google Cloud, as us-west4-a",
      "project": "of Google Cloud",
      "storage": "NFS share to mount, HOST:/SHARE (default: it is mounted)",
    },
    {"python": ".venv/bin/python"},
    tpu_vm.plan,
  ),
  "gke": _Engine(
    "Google Kubernetes Engine: a JobSet, on TPU slices or GPU nodes",
    (
      *("accelerator", "topology", "nodes", "devices_per_node", "image"),
      *("storage", "mount", "queue", "namespace", "hours", "spot", "code"),
    ),
    {
      "accelerator": "as tpu-v5-lite-podslice or nvidia-h100-80gb",
      "nodes": "machines with GPUs (default: 1); of TPUs the slice's",
      "devices_per_node": "GPUs or TPU chips of each machine",
      "storage": "persistent volume claim, ReadWriteMany",
      "queue": "local queue of Kueue (default: none)",
      "hours": "time limit, kept by Kueue",
      "code": "folder of the checkout in the image (default: as it starts)",
    },
    {},
    gke.plan,
  ),
  "skypilot": _Engine(
    "SkyPilot: a managed job on spot machines of any cloud",
    (
      *("accelerator", "nodes", "zone", "image", "storage", "mount"),
      *("setup", "activate"),
    ),
    {
      "accelerator": "and how many per machine, as H100:8 or tpu-v6e-8:1",
      "zone": "CLOUD[/REGION[/ZONE]] (default: the cheapest)",
      "image": "as docker:NAME (default: SkyPilot's own)",
      "storage": "bucket, as gs://NAME, or a volume's name for several nodes",
      "setup": "shell command on a fresh machine (default: make setup)",
    },
    {"python": ".venv/bin/python", "setup": "make setup", "spot": True},
    skypilot.plan,
  ),
}


def _parser() -> argparse.ArgumentParser:
  form = argparse.RawDescriptionHelpFormatter
  parser = run_options.Parser(
    prog="python -m mn_jax.tools.launch",
    description=__doc__.partition("\n\n")[2],
    formatter_class=form,
  )
  engines = parser.add_subparsers(
    dest="engine", metavar="ENGINE", required=True, help=", ".join(_ENGINES)
  )
  for name, engine in _ENGINES.items():
    added = engines.add_parser(
      name,
      usage=f"{parser.prog} {name} --config=FILE --workdir=DIR ...",
      description=f"{engine.description[0].upper()}{engine.description[1:]}.",
      epilog="--config.FIELD=VALUE changes the config, as in training.",
      allow_abbrev=False,
    )
    added.add_argument(
      "--config", required=True, metavar="FILE", help="FILE.py[:ARG]"
    )
    added.add_argument(
      "--workdir",
      required=True,
      metavar="DIR",
      help="folder of the run, which all machines see",
    )
    added.add_argument(
      "--name",
      metavar="TEXT",
      help="the run's id (default: the last part of --workdir)",
    )
    for option in (*engine.options, *_SHARED):
      kind, text = _OPTIONS[option]
      value = (
        {"action": "store_true"}
        if kind is bool
        else {"type": kind, "metavar": "TEXT" if kind is str else "N"}
      )
      text = engine.help.get(option, text)
      flag = engine.flags.get(option, option)
      added.add_argument(f"--{flag}", dest=option, help=text, **value)
    added.add_argument(
      "--env",
      action="append",
      default=[],
      metavar="X=VALUE",
      help="variable of the processes; more than once, nothing secret",
    )
    added.add_argument(
      "--dry_run",
      action="store_true",
      help="print what would be written and run",
    )
  return parser


def _check_config(config: str, overrides: Sequence[str]) -> None:
  """Reads the config as training will: a queue is no place to find a typo.

  Raises:
    InputError: for whatever is wrong with it.
  """
  path = config.partition(":")[0]
  if not pathlib.Path(path).is_file():
    raise InputError(
      f"--config: got {path!r}; valid: --config=FILE with an existing file"
    )
  for override in overrides:
    name, equals, value = override.removeprefix("--config.").partition("=")
    if not equals:
      raise InputError(f"{override}: got no value; valid: {override}=VALUE")
    commandline.check_override(name, value)
  line = ["launch", f"--config={config}", *overrides]
  parsed = flags.FlagValues()
  holder = config_flags.DEFINE_config_file(
    "config", flag_values=parsed, sys_argv=line
  )
  try:
    with warnings.catch_warnings():
      # ml_collections loads the file in a way that Python means to drop.
      warnings.simplefilter("ignore", DeprecationWarning)
      parsed(line)
  except flags.Error as error:
    # The flag library quotes what `get_config` raised; its last line says it.
    last = str(error).strip().splitlines()[-1]
    raise InputError(last.removeprefix("mn_jax.errors.InputError: ")) from None
  checks.from_config_dict(holder.value)


def _job(args: argparse.Namespace, overrides: Sequence[str]) -> Job:
  """The job that the arguments describe.

  Raises:
    InputError: see `job.Job`.
  """
  engine = _ENGINES[args.engine]
  fields = dict(engine.defaults)
  for option in (*engine.options, *_SHARED, "name"):
    value = getattr(args, option)
    if value is not None and value is not False:
      fields[option] = value
  env = []
  for given in args.env:
    variable, equals, value = given.partition("=")
    if not equals:
      raise InputError(f"--env: got {variable!r}; valid: NAME=VALUE")
    env.append((variable, value))
  return Job(
    config=args.config,
    workdir=args.workdir,
    overrides=tuple(overrides),
    env=tuple(env),
    **fields,
  )


def _run_here(job: Job, dry_run: bool) -> int:
  """Runs a job on this machine, or shows its commands."""
  if dry_run:
    for line in local.commands(job, "PORT"):
      given = (f"{name}={shlex.quote(v)}" for name, v in job.environment())
      print(*given, shlex.join(line))
    print(f"launch: on a free port, logs in {job.logs}", file=sys.stderr)
    return 0
  return local.run(
    job,
    lambda port: local.commands(job, port),
    {**os.environ, **dict(job.environment())},
  )


def _submit(launch: submit.Launch, dry_run: bool) -> int:
  """Writes a file and hands it to its engine, or shows both."""
  folder = pathlib.Path(launch.folder)
  line = launch.by_hand(folder)
  if dry_run:
    print(launch.text, end="")
    print(f"launch: {folder / launch.file}, and then: {line}", file=sys.stderr)
    return 0
  print(f"launch: wrote {submit.write(launch, folder)}")
  code = submit.submit(launch, folder)
  if code:
    print(f"launch: `{line}` ended with {code}", file=sys.stderr)
  return min(code, 1)


def program(argv: Sequence[str] | None) -> int:
  """Runs what the arguments ask for; returns the exit code.

  Raises:
    InputError: for a mistake in them.
  """
  args, rest = _parser().parse_known_args(argv)
  for word in rest:
    if not word.startswith("--config."):
      raise InputError(
        f"{args.engine}: got {word!r}; valid: what `{args.engine} --help` names"
      )
  if args.engine == "local" and args.tasks_per_node is not None:
    run_options.at_least_one("processes", args.tasks_per_node)
  _check_config(args.config, rest)
  job = _job(args, rest)
  plan = _ENGINES[args.engine].plan
  if plan is None:
    return _run_here(job, args.dry_run)
  return _submit(plan(job), args.dry_run)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  try:
    return program(argv)
  except InputError as error:
    print(f"launch: {error}", file=sys.stderr)
    return 2


if __name__ == "__main__":
  sys.exit(main())
