"""Connects the processes of a run, which flags or a scheduler number.

JAX reads what a scheduler says (`jax.distributed.initialize` knows SLURM, Open
MPI, Cloud TPU and Kubernetes). Here it is first asked whether there are several
processes, because JAX would open a port for a single one too, and problems are
reported in one line.
"""

import os
import socket
import sys
import threading
import warnings
from typing import NoReturn

from mn_jax.errors import InputError

_BY_FLAGS = "--coordinator, --num-processes and --process-id, or"
# JAX's own timeout, a crash with a trace of its threads, comes so much later.
_MARGIN = 60  # seconds
# The number of processes in a step of the scheduler. JAX reads how many an
# allocation has room for; a shell within it is a step of one process.
_STEP_SIZE = {"slurm": "SLURM_STEP_NUM_TASKS", "ompi": "OMPI_COMM_WORLD_SIZE"}


def check_flags(
  distributed: str, coordinator: str | None, count: int, index: int
) -> None:
  """Refuses flags that contradict each other.

  Args:
    distributed: 'auto' or 'off'.
    coordinator: HOST:PORT of process 0.
    count: number of processes.
    index: index of this process.

  Raises:
    InputError: naming the flag.
  """
  if count < 1 or not 0 <= index < count:
    raise InputError(
      f"--process-id, --num-processes: got {index} of {count}; valid: 0 to "
      "the number of processes minus one"
    )
  if count > 1 and not coordinator:
    raise InputError(
      f"--coordinator: got nothing with --num-processes={count}; valid: "
      "HOST:PORT of process 0"
    )
  if coordinator and distributed == "off":
    raise InputError(
      f"--distributed: got 'off' with --coordinator={coordinator}; valid: "
      "one of the two"
    )
  if coordinator and not coordinator.rpartition(":")[2].isdigit():
    raise InputError(
      f"--coordinator: got {coordinator!r}; valid: HOST:PORT of process 0"
    )


def connect(
  distributed: str,
  coordinator: str | None,
  count: int,
  index: int,
  *,
  timeout: int,
) -> None:
  """Connects this process with the others of its run, if there are any.

  If they do not all start, it ends the program with one line and exit code 1.

  Args:
    distributed: 'auto', or 'off' to ignore a scheduler.
    coordinator: HOST:PORT of process 0; None: what the scheduler says.
    count: number of processes, with a coordinator.
    index: index of this process, with a coordinator.
    timeout: seconds to wait for all processes.

  Raises:
    InputError: if the scheduler does not say how the processes find each other.
  """
  # Slow to import; wrong flags are reported before.
  import jax

  options: dict = {}
  if coordinator:
    options = {
      "coordinator_address": coordinator,
      "num_processes": count,
      "process_id": index,
      # Flags take precedence over a scheduler, also for the local devices.
      "cluster_detection_method": "deactivate",
    }
    # By default the service listens on every address of the machine.
    if coordinator.startswith(("127.0.0.1:", "localhost:")):
      options["coordinator_bind_address"] = coordinator
  elif distributed == "off" or _count_scheduled() == 1:
    return
  timer = threading.Timer(timeout, _give_up, (coordinator, timeout))
  timer.daemon = True
  timer.start()
  try:
    jax.distributed.initialize(
      **options, initialization_timeout=timeout + _MARGIN
    )
  except (RuntimeError, ValueError, OSError) as error:
    raise _not_found(str(error)) from None
  finally:
    timer.cancel()


def connect_devices() -> None:
  """Opens the connections between the devices of several processes.

  Gloo, which connects CPUs, waits 30 seconds for the other processes. Later,
  one that decodes images may be further behind.
  """
  import jax
  from jax.experimental import multihost_utils

  if jax.distributed.is_initialized():
    multihost_utils.sync_global_devices("mn_jax: started")


def is_one_process() -> bool:
  """Returns whether this run has a single process.

  `jax.process_count` opens the devices, and some settings have to come first:
  see `dispatch`. Here they are opened only in a process that is connected.
  """
  import jax

  return not jax.distributed.is_initialized() or jax.process_count() == 1


def free_port(*, other_than: int | None = None) -> int:
  """Returns a port of this machine's loopback that is not in use.

  Args:
    other_than: a port that is not returned even if it is free again.
  """
  with socket.socket() as listener, socket.socket() as second:
    listener.bind(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    if port == other_than:
      # While the first is bound, the system cannot choose it again.
      second.bind(("127.0.0.1", 0))
      port = second.getsockname()[1]
    return port


def _count_scheduled() -> int:
  """Returns how many processes a scheduler has started; 1 without one."""
  # JAX has no public function that only detects a scheduler.
  from jax._src import clusters

  for kind in clusters.ClusterEnv._cluster_types:
    # Only an indexed Job of Kubernetes numbers its processes. In any other pod
    # the question would cause a warning.
    is_pod = kind is clusters.K8sCluster
    if kind.opt_in_only_method or (
      is_pod and "JOB_COMPLETION_INDEX" not in os.environ
    ):
      continue
    try:
      with warnings.catch_warnings():
        # JAX only warns where a scheduler is there and cannot be asked.
        warnings.filterwarnings("error", module=r"jax\._src\.clusters")
        if kind.is_env_present():
          if os.environ.get(_STEP_SIZE.get(kind.name, "")) == "1":
            return 1
          return kind.get_process_count()
    except Exception as error:  # whatever servers, packages and files raise
      raise _not_found(str(error)) from None
  return 1


def _not_found(reason: str) -> InputError:
  return InputError(
    f"--distributed: got 'auto', and the other processes cannot be found "
    f"({' '.join(reason.split())[:300]}); valid: {_BY_FLAGS} --distributed=off"
  )


def _give_up(coordinator: str | None, timeout: int) -> NoReturn:
  """Ends the program while its main thread waits for the other processes."""
  from jax._src import distributed

  address = coordinator or distributed.global_state.coordinator_address
  print(
    f"mn_jax: {_who_is_missing(address)} within {timeout} s",
    file=sys.stderr,
    flush=True,
  )
  os._exit(1)


def _who_is_missing(address: str | None) -> str:
  if not address:
    return "the scheduler's address of process 0 could not be resolved"
  host, _, port = address.rpartition(":")
  try:
    socket.create_connection((host.strip("[]"), int(port)), timeout=2).close()
  except OSError as error:
    return f"process 0 could not be reached at {address} ({error})"
  return f"process 0 answers at {address}, but not all processes came"
