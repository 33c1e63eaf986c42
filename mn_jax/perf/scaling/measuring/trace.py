"""How long devices were in collective operations, from a profiler's trace.

On accelerators every device has timelines of its own. CPU devices are threads
of one process, whose operations say of which device they are. Time in a
collective includes waiting for the other devices and, where other work goes on
meanwhile, that too: it is the most that faster links could save.
"""

import re
from collections.abc import Iterable

import jax

# HLO's names, and those of NCCL's kernels.
_COLLECTIVE = re.compile(
  r"all-?reduce|all-?gather|reduce-?scatter|all-?to-?all|collective-?permute"
  r"|ncclDevKernel",
  re.IGNORECASE,
)
_HOST, _DEVICE = "/host:CPU", "/device:"

Interval = tuple[float, float]


def start() -> jax.profiler.ProfileSession:
  """Starts a trace without Python's calls, which would slow the host down."""
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  return jax.profiler.ProfileSession(profiler_options=options).start()


def collective_share(
  profile: jax.profiler.ProfileData,
  *,
  seconds: float,
  num_devices: int,
  cpu: bool,
) -> float | None:
  """Share of the traced time, the mean of this process's devices.

  Args:
    profile: the trace.
    seconds: that it lasted.
    num_devices: of this process.
    cpu: whether they are those of a CPU.

  Returns:
    0 to 1; None if the trace tells nothing of devices.
  """
  found: dict[str, list[Interval]] = {}
  for plane in profile.planes:
    if not plane.name.startswith(_HOST if cpu else _DEVICE):
      continue
    for line in plane.lines:
      for event in line.events:
        device = _device(event) if cpu else plane.name
        if device is None:
          continue
        own = found.setdefault(device, [])
        if _COLLECTIVE.search(event.name):
          begin = event.start_ns * 1e-9
          own.append((begin, begin + event.duration_ns * 1e-9))
  if not found:
    return None
  busy = sum(map(covered, found.values()))
  return min(busy / (num_devices * seconds), 1.0)


def _device(event: jax.profiler.ProfileEvent) -> str | None:
  """The CPU device of an operation; None for what is no operation."""
  for name, value in event.stats:
    if name == "device_ordinal":
      return str(value)
  return None


def covered(intervals: Iterable[Interval]) -> float:
  """Length of what some intervals cover together."""
  total, end = 0.0, float("-inf")
  for start, stop in sorted(intervals):
    total += max(stop - max(start, end), 0.0)
    end = max(end, stop)
  return total
