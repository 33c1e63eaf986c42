"""A trace of a few training steps, for TensorBoard's profile plugin."""

import pathlib

import jax


class Profiler:
  """Traces the steps between two of a run."""

  def __init__(self, steps: tuple[int, ...], folder: pathlib.Path):
    """Starts nothing yet.

    Args:
      steps: completed updates after which the trace starts and stops; empty
        for no trace.
      folder: where TensorBoard looks for it.
    """
    self._start, self._stop = steps or (None, None)
    self._folder, self._running = folder, False

  def stops_after(self, step: int) -> bool:
    """Whether the trace ends with this step, which should be finished then."""
    return step == self._stop

  def step(self, step: int) -> None:
    """Starts or stops the trace after a step, where that is due."""
    if step == self._start:
      jax.profiler.start_trace(str(self._folder))
      self._running = True
    if step == self._stop:
      self.close()

  def close(self) -> None:
    """Stops a running trace."""
    if self._running:
      jax.profiler.stop_trace()
      self._running = False
