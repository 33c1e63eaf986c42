"""Launches a run: `python -m mn_jax.tools.launch ENGINE --config=... ...`.

local     processes on this machine, restarted when they fail
slurm     a job that requeues itself ahead of its time limit
tpu_vm    Cloud TPU VMs, through a queued resource
gke       Google Kubernetes Engine: a JobSet, on TPU slices or GPU nodes
skypilot  a managed job on spot machines of any cloud

The file for the engine is written and handed to the engine's own program;
`--dry-run` prints it and does neither. The same command resumes the run. Exit
codes: 0 submitted, or done; 1 the engine's program failed; 2 a wrong argument;
of `local`, those of training.
"""

import argparse
import dataclasses
import functools
import os
import pathlib
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command
from mn_jax.config import files
from mn_jax.errors import InputError
from mn_jax.launch import gke, local, skypilot, slurm, submit, tpu_vm
from mn_jax.launch.job import Job

_Plan = Callable[[Job], submit.Launch]
# Options are named after fields of a job, with dashes. An engine has those that
# it lists, and these.
_OPTIONS = {field.name: field for field in dataclasses.fields(Job)}
_SHARED = ("cache_dir", "grace", "restarts", "python")


@dataclasses.dataclass(frozen=True)
class _Engine:
  """An engine and its options."""

  description: str
  example: str  # arguments
  options: tuple[str, ...]  # fields of a job, besides those that all have
  help: dict[str, str]  # of options that need other words here
  defaults: dict[str, Any]  # of fields, where those of a job do not fit
  plan: _Plan | None = None  # makes its file; None for this machine
  # Of options that have another name here.
  flags: dict[str, str] = dataclasses.field(default_factory=dict)


_ENGINES = {
  "local": _Engine(
    "processes on this machine, restarted when they fail",
    "--processes=2",
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
    "--devices-per-node=4 --hours=2",
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
    "--accelerator=v6e-8 --zone=us-west4-a",
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
    "--accelerator=nvidia-h100-80gb --devices-per-node=8 --image=IMAGE",
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
    "--accelerator=H100:8 --storage=gs://NAME --mount=/shared",
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


def _parser() -> Parser:
  parser = Parser(
    command("launch"),
    description=__doc__.partition("\n\n")[2],
    formatter_class=argparse.RawDescriptionHelpFormatter,
    example="slurm --config=idc_v1 --workdir=/shared/idc_v1 --hours=2",
  )
  parser.takes_overrides = True
  engines = parser.add_subparsers(
    dest="engine", metavar="ENGINE", required=True, help=", ".join(_ENGINES)
  )
  for name, engine in _ENGINES.items():
    _add_arguments(
      engines.add_parser(
        name,
        description=f"{engine.description[0].upper()}{engine.description[1:]}.",
        example=f"--config=idc_v1 --workdir=/shared/idc_v1 {engine.example}",
      ),
      engine,
    )
  return parser


def _add_arguments(parser: Parser, engine: _Engine) -> None:
  parser.add_config()
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    required=True,
    help="folder of the run, which all machines see",
  )
  parser.option(
    "--name", "TEXT", "id of the run (default: the last part of --workdir)"
  )
  for option in (*engine.options, *_SHARED):
    field = _OPTIONS[option]
    value = (
      {"action": "store_true"}
      if field.type is bool
      else {"type": field.type, "metavar": "TEXT" if field.type is str else "N"}
    )
    parser.add_argument(
      f"--{engine.flags.get(option, option).replace('_', '-')}",
      dest=option,
      help=engine.help.get(option, field.metadata["doc"]),
      **value,
    )
  parser.add_argument(
    "--env",
    action="append",
    default=[],
    metavar="X=VALUE",
    help="variable of the processes; more than once, nothing secret",
  )
  parser.flag("--dry-run", "print what would be written and run")
  parser.add_overrides()


def _job(args: argparse.Namespace) -> Job:
  engine = _ENGINES[args.engine]
  fields = dict(engine.defaults)
  for option in (*engine.options, *_SHARED, "name"):
    value = getattr(args, option)
    if value is not None and value is not False:
      fields[option] = value
  env = []
  for assignment in args.env:
    variable, equals, value = assignment.partition("=")
    if not equals:
      raise InputError(f"--env: got {variable!r}; valid: NAME=VALUE")
    env.append((variable, value))
  return Job(
    config=args.config,
    workdir=args.workdir,
    overrides=tuple(args.overrides),
    env=tuple(env),
    **fields,
  )


def _run_here(job: Job, dry_run: bool) -> int:
  """Runs a job on this machine, or shows its commands."""
  if dry_run:
    for line in local.process_commands(job, "PORT"):
      env = (f"{name}={shlex.quote(v)}" for name, v in job.environment())
      print(*env, shlex.join(line))
    print(f"launch: on a free port, logs in {job.logs}", file=sys.stderr)
    return 0
  return local.run(
    job,
    lambda port: local.process_commands(job, port),
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


def _launch(argv: Sequence[str] | None) -> int:
  args = _parser().parse(argv)
  if args.engine == "local" and args.tasks_per_node == 0:
    raise InputError(
      f"--processes: got {args.tasks_per_node}; valid: 1 or more"
    )
  # Read as training will: a queue is no place to find a typing error.
  files.load_config(args.config, args.overrides)
  job = _job(args)
  plan = _ENGINES[args.engine].plan
  if plan is None:
    return _run_here(job, args.dry_run)
  return _submit(plan(job), args.dry_run)


main = functools.partial(program.run, "launch", _launch)

if __name__ == "__main__":
  sys.exit(main())
