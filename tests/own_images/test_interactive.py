"""Ctrl-C and SIGTERM while code that is no program of ours trains."""

import signal
import threading

import pytest

from mn_jax.own_images.interactive import Interrupts


@pytest.fixture(autouse=True)
def _handlers():
  """What was there before is there afterwards, also after a failure."""
  before = {n: signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)}
  signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  for number, handler in before.items():
    signal.signal(number, handler)


def test_a_signal_is_kept_until_all_is_saved(capsys):
  interrupts = Interrupts()
  with interrupts.kept():
    assert not interrupts(3, False)
    signal.raise_signal(signal.SIGINT)
    assert "saving, then stopping" in capsys.readouterr().err
    assert interrupts(4, False)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
  with pytest.raises(KeyboardInterrupt, match="saved in x"):
    interrupts.raise_received("saved in x")


@pytest.mark.parametrize("saved", [None, True])
def test_where_nothing_is_lost_it_is_raised_at_once(saved):
  interrupts = Interrupts()
  with interrupts.kept():
    if saved is not None:
      interrupts(1, not saved)
      interrupts(2, saved)
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert interrupts.received is None


def test_the_second_one_is_raised_at_once():
  interrupts = Interrupts()
  with interrupts.kept():
    interrupts(1, False)
    signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_the_caller_get_sigterm_after_the_save():
  received = []
  handler = lambda number, frame: received.append(number)  # noqa: E731
  signal.signal(signal.SIGTERM, handler)
  interrupts = Interrupts()
  with interrupts.kept():
    interrupts(1, False)
    signal.raise_signal(signal.SIGTERM)
    assert not received
  assert signal.getsignal(signal.SIGTERM) is handler
  with pytest.raises(KeyboardInterrupt):
    interrupts.raise_received("")
  assert received == [signal.SIGTERM]


def test_what_is_ignored_stays_so_and_threads_change_nothing():
  signal.signal(signal.SIGTERM, signal.SIG_IGN)
  with Interrupts().kept():
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
  before = signal.getsignal(signal.SIGINT)
  found = []

  def use() -> None:
    interrupts = Interrupts()
    with interrupts.kept():
      found.append(signal.getsignal(signal.SIGINT))
      found.append(interrupts(1, False))

  thread = threading.Thread(target=use)
  thread.start()
  thread.join()
  assert found == [before, False]
