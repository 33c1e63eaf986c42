"""The part that needs no other process; the rest is in test_processes.py."""

import threading

import jax
import pytest

from mn_jax.parallel import watchdog


def test_a_single_process_has_no_threads_and_its_own_errors():
  before = threading.active_count()
  with watchdog.watched(600.0) as reached:
    assert threading.active_count() == before
    reached("step", 1)
  with pytest.raises(OSError, match="disk"), watchdog.watched(600.0):
    raise OSError("disk")


def test_only_lost_connections_may_be_due_to_another():
  for error, expected in (
    (ValueError("UNKNOWN: Gloo all-reduce failed: closed by peer"), True),
    (jax.errors.JaxRuntimeError("UNAVAILABLE: Socket closed"), True),
    (jax.errors.JaxRuntimeError("DEADLINE_EXCEEDED: Barrier"), True),
    (jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory"), False),
    (ValueError("shapes"), False),
    (OSError("disk"), False),
  ):
    assert watchdog._may_come_from_another(error) == expected
