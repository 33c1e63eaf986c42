"""The process of a point: takes its steps and prints how long they took.

Its argument is the JSON of a `Job`. The first process prints one line of JSON,
the point's result. An error is the last line of its standard error.
"""

import collections
import dataclasses
import json
import os
import sys
import time
import traceback
from typing import Any

import jax
import ml_collections
import numpy as np

from mn_jax.config import checks
from mn_jax.errors import InputError
from mn_jax.observe import clock as clock_lib
from mn_jax.parallel import allocator, mesh
from mn_jax.perf import machine
from mn_jax.perf.bench import side_process
from mn_jax.perf.scaling.measure import trace
from mn_jax.perf.scaling.measure.trainer import Trainer
from mn_jax.perf.scaling.points import Point

# Steps that fill caches before the timed ones, and that are traced after them.
_WARM_UP, _TRACED = 3, 3
# As in training: the host waits for the dispatch before the last.
_IN_FLIGHT = 2
# libtpu's bounds for the first chips of a machine.
_TPU_BOUNDS = {1: "1,1,1", 2: "1,2,1", 4: "2,2,1", 8: "2,4,1"}


@dataclasses.dataclass(frozen=True)
class Job:
  """The work of one process.

  Attributes:
    point: what is measured.
    config: all fields of the run's.
    steps: that are timed.
    process: number of this process.
    coordinator: HOST:PORT of the first; '' for a process by itself.
  """

  point: Point
  config: dict[str, Any]
  steps: int
  process: int
  coordinator: str


def measure(job: Job) -> dict[str, Any]:
  """Times the steps of a point; the result is JSON.

  Raises:
    InputError: for a config or data that cannot be used, or more devices than
      there are.
  """
  point = job.point
  _start_jax(job)
  if jax.device_count() != point.devices:
    raise InputError(
      f"--devices: got {point.devices}; valid: at most {jax.device_count()}, "
      f"all that there are of {jax.devices()[0].device_kind}"
    )
  trainer = Trainer(
    checks.from_config_dict(ml_collections.ConfigDict(job.config)),
    point.input,
    batch_size=point.global_batch,
    num_batches=_WARM_UP + job.steps + _TRACED,
  )
  _take(trainer, _WARM_UP)
  clock, seconds = _take(trainer, job.steps)
  clock.count(job.steps * point.global_batch)
  rate = clock.images_per_sec()
  peak = mesh.peak_flops()
  p50, p95 = np.quantile(seconds, (0.5, 0.95)).tolist()
  described = machine.describe()
  return {
    "images_per_sec": rate,
    "images_per_sec_per_device": rate / point.devices,
    "step_seconds": {"p50": p50, "p95": p95},
    "mfu": None if peak is None else trainer.flops * rate / peak,
    "peak_memory_bytes": _peak_memory(),
    "data_wait_share": clock.data_wait_share(),
    "collective_share": _collective_share(trainer),
    "compile_seconds": trainer.compile_seconds,
    "device_kind": jax.devices()[0].device_kind,
    "train_examples": trainer.examples,
    "machine": {n: described[n] for n in ("cpu", "cores", "system", "date")},
  }


def _start_jax(job: Job) -> None:
  """Leaves this process its share of the first devices, on any platform."""
  count = job.point.devices // job.point.processes
  jax.config.update("jax_num_cpu_devices", count)
  first = job.process * count
  numbers = ",".join(map(str, range(first, first + count)))
  jax.config.update("jax_cuda_visible_devices", numbers)
  jax.config.update("jax_rocm_visible_devices", numbers)
  if not job.coordinator:
    if count in _TPU_BOUNDS:
      os.environ["TPU_VISIBLE_CHIPS"] = numbers
      os.environ["TPU_CHIPS_PER_PROCESS_BOUNDS"] = _TPU_BOUNDS[count]
      os.environ["TPU_PROCESS_BOUNDS"] = "1,1,1"
    return
  jax.distributed.initialize(
    job.coordinator,
    job.point.processes,
    job.process,
    # A scheduler that this runs under knows nothing of these processes.
    cluster_detection_method="deactivate",
    # By default the service listens on every address of the machine.
    coordinator_bind_address=job.coordinator,
  )


def _take(trainer: Trainer, steps: int) -> tuple[clock_lib.Clock, list[float]]:
  """Takes steps as training does, until the last is done.

  Returns:
    A clock of 'data' and 'step', and the seconds from the end of each step to
    the end of the next.
  """
  clock = clock_lib.Clock()
  pending: collections.deque = collections.deque()
  ends = [time.perf_counter()]

  def wait(in_flight: int) -> None:
    while len(pending) > in_flight:
      jax.device_get(pending.popleft())
      ends.append(time.perf_counter())

  for _ in range(steps):
    with clock.section("data"):
      batch = next(trainer.batches)
    with clock.section("step"):
      pending.append(trainer.step(batch))
      wait(_IN_FLIGHT)
  with clock.section("step"):
    wait(0)
  return clock, np.diff(ends).tolist()


def _collective_share(trainer: Trainer) -> float | None:
  """The share of collectives in some more steps, after those that are timed."""
  session = trace.start()
  start = time.perf_counter()
  _take(trainer, _TRACED)
  seconds = time.perf_counter() - start
  return trace.collective_share(
    session.stop(),
    seconds=seconds,
    num_devices=jax.local_device_count(),
    cpu=mesh.is_cpu(),
  )


def _peak_memory() -> int:
  """Of the fullest device; of this process where that is the host's memory."""
  peaks = map(side_process.peak_device_memory, jax.local_devices())
  known = [peak for peak in peaks if peak is not None]
  return max(known, default=side_process.peak_memory())


def main() -> None:
  """Runs the process."""
  # What libraries print must not get between the lines.
  out = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  allocator.keep_freed_memory()
  values = json.loads(sys.argv[1])
  job = Job(**{**values, "point": Point(**values["point"])})
  try:
    result = measure(job)
  except Exception as error:
    if isinstance(error, InputError):
      print(error, file=sys.stderr)
    else:
      traceback.print_exc()
    sys.stderr.flush()
    # At once: JAX would wait for the others, who wait for this process.
    os._exit(1)
  if job.process == 0:
    print(json.dumps(result), file=out, flush=True)


if __name__ == "__main__":
  main()
