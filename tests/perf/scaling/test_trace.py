import types

import pytest

from mn_jax.perf.scaling.measure import trace


def event(name, start, stop, **stats):
  return types.SimpleNamespace(
    name=name,
    start_ns=start * 1e9,
    duration_ns=(stop - start) * 1e9,
    stats=stats.items(),
  )


def profile(**planes):
  """Plane -> lists of events, a line each."""
  return types.SimpleNamespace(
    planes=[
      types.SimpleNamespace(
        name=name.replace("__", "/").replace("_", ":"),
        lines=[types.SimpleNamespace(events=line) for line in lines],
      )
      for name, lines in planes.items()
    ]
  )


def share(found, *, num_devices, cpu=False):
  return trace.collective_share(
    found, seconds=10.0, num_devices=num_devices, cpu=cpu
  )


def test_length_of_a_union_of_intervals():
  assert trace.union_length([]) == 0
  assert trace.union_length([(0, 2), (1, 3), (5, 6), (5, 5.5)]) == 4


def test_operations_of_a_cpu_are_assigned_to_their_devices():
  found = profile(
    __host_CPU=[
      [
        event("all-reduce.1", 0, 4, device_ordinal=0),
        event("convolution.1", 4, 9, device_ordinal=0),
        # What waits within the operation is no operation of its own.
        event("Rendezvous all-reduce", 0, 4, id=1),
      ],
      # Two threads of the second device, one operation within the other's time.
      [event("all-gather.2", 1, 3, device_ordinal=1)],
      [event("all-reduce.1", 2, 3, device_ordinal=1)],
    ]
  )
  assert share(found, num_devices=2, cpu=True) == pytest.approx((4 + 2) / 20)


def test_each_accelerator_has_its_own_timelines():
  found = profile(
    __host_CPU=[[event("all-reduce.1", 0, 9, device_ordinal=0)]],
    __device_GPU0=[
      [event("ncclDevKernel_AllReduce_Sum_f32", 0, 2)],
      [event("fusion.1", 0, 9), event("all-reduce-start.1", 1, 3)],
    ],
    __device_GPU1=[[event("fusion.1", 0, 9)]],
  )
  assert share(found, num_devices=2) == pytest.approx(3 / 20)


def test_shares_without_collectives_or_operations():
  single = profile(__host_CPU=[[event("fusion.1", 0, 4, device_ordinal=0)]])
  assert share(single, num_devices=1, cpu=True) == 0
  # Not those of a CPU where the devices are others, and no events at all.
  assert share(single, num_devices=1) is None
  assert share(profile(__host_CPU=[[]]), num_devices=1, cpu=True) is None
