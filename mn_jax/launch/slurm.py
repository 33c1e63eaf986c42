"""SLURM: a batch script that requeues itself until the run is done."""

import dataclasses
import pathlib

from mn_jax.errors import InputError
from mn_jax.launch import render
from mn_jax.launch.job import Job
from mn_jax.launch.submit import Launch


def plan(job: Job) -> Launch:
  """Plans a batch script, to be submitted from the folder of the run's logs.

  `#SBATCH` lines have quoting rules of their own, so they hold no paths.

  Raises:
    InputError: if the GPUs cannot be divided among the tasks.
  """
  gpus = job.devices_per_node
  tasks = job.tasks_per_node or gpus or 1
  if gpus and tasks not in (1, gpus):
    raise InputError(
      f"--tasks-per-node: got {tasks} with {gpus} GPUs per node; valid: "
      f"{gpus}, one per GPU, or 1"
    )
  job = dataclasses.replace(
    job,
    tasks_per_node=tasks,
    workdir=_absolute(job.workdir),
    code=_absolute(job.code),
    cache_dir=_absolute(job.cache_dir) if job.cache_dir else "",
  )
  file = f"{job.name}.sh"
  text = render.render(
    "slurm.sh",
    job,
    file=file,
    gpus=f"{job.accelerator}:{gpus}" if job.accelerator else gpus,
    minutes=round(job.hours * 60),
    devices=",".join(map(str, range(gpus))) if tasks == 1 else "",
    distributed="auto" if job.processes > 1 else "off",
    # srun replaces %t by the index of the task, and %% by a percent sign.
    output=f"{job.logs.replace('%', '%%')}/rank%t.log",
  )
  return Launch(
    file, text, ("sbatch", "{file}"), "sbatch", folder=job.logs, inside=True
  )


def _absolute(path: str) -> str:
  return str(pathlib.Path(path).expanduser().absolute())
