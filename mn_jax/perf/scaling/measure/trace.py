"""Time spent in collective operations, from a profiler's trace.

On accelerators every device has timelines of its own. CPU devices are threads
of one process, whose operations name their device. Time in a collective
includes waiting for the other devices and, where other work overlaps it, that
too: it is the most that faster links could save.
"""

import collections
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
  """Share of the traced time in collectives, mean of this process's devices.

  Args:
    profile: the trace.
    seconds: that it lasted.
    num_devices: of this process.
    cpu: whether they are those of a CPU.

  Returns:
    0 to 1; None if the trace has no operations of devices.
  """
  spans: dict[str, list[tuple[float, float]]] = collections.defaultdict(list)
  for plane in profile.planes:
    if not plane.name.startswith(_HOST if cpu else _DEVICE):
      continue
    for line in plane.lines:
      for event in line.events:
        device = _cpu_device(event) if cpu else plane.name
        if device is None:
          continue
        device_spans = spans[device]
        if _COLLECTIVE.search(event.name):
          end = event.start_ns + event.duration_ns
          device_spans.append((event.start_ns * 1e-9, end * 1e-9))
  if not spans:
    return None
  busy = sum(map(union_length, spans.values()))
  return min(busy / (num_devices * seconds), 1.0)


def _cpu_device(event: jax.profiler.ProfileEvent) -> str | None:
  """The CPU device of an operation; None for other events."""
  return next((str(v) for k, v in event.stats if k == "device_ordinal"), None)


def union_length(intervals: Iterable[tuple[float, float]]) -> float:
  """Length of the union of intervals."""
  total, end = 0.0, float("-inf")
  for start, stop in sorted(intervals):
    total += max(stop - max(start, end), 0.0)
    end = max(end, stop)
  return total
