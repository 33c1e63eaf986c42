"""Cloud TPU VMs: a script that holds a queued resource and trains on it."""

import dataclasses

from mn_jax.errors import InputError
from mn_jax.launch import render
from mn_jax.launch.job import Job, require
from mn_jax.launch.submit import Launch

# The software version for JAX by the type's prefix, from Google's page "TPU
# software versions".
_RUNTIMES = {
  "v6e-": "v2-alpha-tpuv6e",
  "v5p-": "v2-alpha-tpuv5",
  "v5litepod-": "v2-alpha-tpuv5-lite",
  "v4-": "tpu-ubuntu2204-base",
}


def runtime(accelerator: str) -> str:
  """Returns the software version for a type of TPU.

  Raises:
    InputError: for an unknown type.
  """
  for prefix, version in _RUNTIMES.items():
    if accelerator.startswith(prefix) and accelerator != prefix:
      return version
  raise InputError(
    f"--accelerator: got {accelerator!r}; valid: "
    f"{', '.join(f'{prefix}N' for prefix in _RUNTIMES)}, or with --runtime"
  )


def plan(job: Job) -> Launch:
  """Plans a script, to be started on a machine that stays up.

  Raises:
    InputError: for a missing option or an unknown type.
  """
  require(job, "accelerator", "zone", "mount", "code")
  file = f"{job.name}.tpu_vm.sh"
  if not job.runtime:
    job = dataclasses.replace(job, runtime=runtime(job.accelerator))
  text = render.render("tpu_vm.sh", job, file=file)
  return Launch(file, text, ("bash", "{file}"), "gcloud")
