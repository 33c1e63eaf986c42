"""SkyPilot: a managed job, on spot machines of whichever cloud has them."""

from mn_jax.errors import InputError
from mn_jax.launch import render
from mn_jax.launch.job import COORDINATOR_PORT, Job, require
from mn_jax.launch.submit import Launch


def plan(job: Job) -> Launch:
  """Plans a managed job, to be launched from the root of the checkout.

  Raises:
    InputError: for missing options, or options that exclude each other.
  """
  require(job, "accelerator", "storage", "mount")
  bucket = "://" in job.storage
  if bucket and job.nodes > 1:
    raise InputError(
      f"--storage: got {job.storage!r} with {job.nodes} nodes, which would see "
      "each other's files late; valid: the name of a volume, or one node"
    )
  file = f"{job.name}.skypilot.yaml"
  text = render.render(
    "skypilot.yaml", job, file=file, bucket=bucket, flags=_flags(job)
  )
  return Launch(
    file,
    text,
    ("sky", "jobs", "launch", f"--name={job.name}", "{file}"),
    "sky",
    env=(("SKYPILOT_DISABLE_USAGE_COLLECTION", "1"),),
  )


def _flags(job: Job) -> list[str]:
  """Returns the flags by which machines find each other, for a shell."""
  if job.accelerator.lower().startswith("tpu"):
    return ["--distributed=auto"]
  if job.nodes == 1:
    return ["--distributed=off"]
  return [
    f"--coordinator=\"${{SKYPILOT_NODE_IPS%%$'\\n'*}}:{COORDINATOR_PORT}\"",
    '--num-processes="$SKYPILOT_NUM_NODES"',
    '--process-id="$SKYPILOT_NODE_RANK"',
  ]
