"""Google Kubernetes Engine: a JobSet on a TPU slice or on GPU nodes."""

import dataclasses
import math
import re

from mn_jax.errors import InputError
from mn_jax.launch import render
from mn_jax.launch.job import COORDINATOR_PORT, Job, require
from mn_jax.launch.submit import Launch


def plan(job: Job) -> Launch:
  """Plans a JobSet.

  Raises:
    InputError: for missing options, or options that exclude each other.
  """
  require(job, "accelerator", "image", "storage", "mount", "devices_per_node")
  tpu = job.accelerator.startswith("tpu")
  if tpu:
    job = dataclasses.replace(job, nodes=_hosts(job))
  elif job.topology:
    raise InputError(
      f"--topology: got {job.topology!r} with {job.accelerator!r}; valid: with "
      "an accelerator whose name starts with tpu"
    )
  if job.hours and not job.queue:
    raise InputError(
      f"--hours: got {job.hours:g} without --queue; valid: with a queue of "
      "Kueue, which keeps the time"
    )
  file = f"{job.name}.gke.yaml"
  text = render.render(
    "gke.yaml",
    job,
    file=file,
    tpu=tpu,
    seconds=round(job.hours * 3600),
    resource="google.com/tpu" if tpu else "nvidia.com/gpu",
    flags=_flags(job, tpu),
  )
  return Launch(
    file, text, ("kubectl", "apply", "--filename={file}"), "kubectl"
  )


def _hosts(job: Job) -> int:
  """Returns the number of machines of a TPU slice."""
  if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*){1,2}", job.topology):
    raise InputError(
      f"--topology: got {job.topology!r}; valid: chips along each axis, as 4x4 "
      "or 2x2x2"
    )
  chips = math.prod(map(int, job.topology.split("x")))
  if chips % job.devices_per_node:
    raise InputError(
      f"--devices-per-node: got {job.devices_per_node} with {chips} chips in "
      f"{job.topology}; valid: a divisor of {chips}"
    )
  return chips // job.devices_per_node


def _flags(job: Job, tpu: bool) -> list[str]:
  """Returns the flags by which pods find each other, as words of a shell."""
  if job.nodes == 1:
    return ["--distributed=off"]
  if tpu:
    return ["--distributed=auto"]
  # The first pod's name in the headless service, which is named as the JobSet.
  first = f"{job.name}-train-0-0.{job.name}"
  return [
    f"--coordinator={first}:{COORDINATOR_PORT}",
    f"--num-processes={job.nodes}",
    '--process-id="$JOB_COMPLETION_INDEX"',
  ]
