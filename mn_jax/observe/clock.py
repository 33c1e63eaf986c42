"""Wall time of a run by section, and its throughput."""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping


class Clock:
  """Adds up seconds by section, and the images trained in them.

  Sections do not nest. Training consists of 'data', which is waiting for a
  batch and sending it to the devices, and 'step'; other sections are 'compile',
  the first dispatch of each program, 'evaluate' and 'save'.
  """

  def __init__(
    self,
    before: Mapping[str, float] | None = None,
    now: Callable[[], float] = time.perf_counter,
  ):
    """Starts the wall clock.

    Args:
      before: snapshot of the earlier attempts of a resumed run.
      now: returns the time in seconds.
    """
    self._now = now
    self._start = now()
    self._totals = dict(before or {})
    self._wall_before = self._totals.pop("wall", 0.0)

  @contextlib.contextmanager
  def section(self, name: str) -> Iterator[None]:
    """Adds the time of a `with` block to a section."""
    start = self._now()
    try:
      yield
    finally:
      self._totals[name] = self.seconds(name) + self._now() - start

  def count(self, images: int) -> None:
    """Adds images trained in 'step'."""
    self._totals["images"] = self._totals.get("images", 0) + images

  def seconds(self, name: str) -> float:
    """Returns the seconds that a section has taken so far."""
    return self._totals.get(name, 0.0)

  def wall(self) -> float:
    """Returns seconds since the start, earlier attempts included."""
    return self._wall_before + self._now() - self._start

  def images_per_sec(self) -> float | None:
    """Returns images per second of training; None before the first."""
    seconds = self.seconds("data") + self.seconds("step")
    images = self._totals.get("images", 0)
    return images / seconds if images else None

  def data_wait_share(self) -> float | None:
    """Returns the share of training time spent waiting for batches."""
    seconds = self.seconds("data") + self.seconds("step")
    return self.seconds("data") / seconds if seconds else None

  def snapshot(self) -> dict[str, float]:
    """Returns all totals, from which a resumed run continues."""
    return {**self._totals, "wall": self.wall()}
