"""Replicas: one network with several seeds, stepped together in one program.

Each has a state, batches and random numbers of its own, and they share nothing
but images and compiled code. There are two ways to hold and step them, one for
each kind of platform: `SideBySide` on CPUs, `Stacked` elsewhere. A run of one
seed is one replica, side by side with none.
"""

import concurrent.futures
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mn_jax.parallel import mesh as mesh_lib
from mn_jax.parallel.mesh import Batch, DeviceImages, HostImages
from mn_jax.train.state import TrainState
from mn_jax.train.step import EvalStep, Sums, TrainStep

# The states, or results, of all replicas as one of the ways holds them.
States = Any
Outputs = Any


class Replicas(Protocol):
  """How the states of replicas are held and stepped."""

  def join(self, states: Sequence[TrainState]) -> States:
    """The states of the replicas as this way holds them."""

  def split(self, states: States) -> list[TrainState]:
    """The inverse of `join`."""

  def train_steps(
    self, states: States, batches: Sequence[Sequence[Batch]]
  ) -> tuple[States, Outputs]:
    """Steps in one dispatch, one or several; the states are donated.

    Args:
      states: of the replicas.
      batches: of each replica, a host batch for each step.

    Returns:
      The new states and the sums: f32[] of one step, f32[steps] of several.
    """

  def eval_step(self, states: States, batch: Batch) -> Outputs:
    """`step.EvalStep` of each on one host batch."""

  def fetch(self, outputs: Outputs) -> list[dict[str, np.ndarray]]:
    """What a step returned of each, on the host."""


def is_stacked(count: int) -> bool:
  """Whether so many replicas are stacked on the platform of this process.

  On CPUs a vectorised step is slower than as many plain ones: convolutions
  with a kernel for each replica become grouped ones, for which XLA has no fast
  code there.
  """
  return count > 1 and not mesh_lib.is_cpu()


class SideBySide:
  """Each replica's state by itself, and a dispatch of the plain step for each.

  Every replica takes exactly the steps that it would take alone.
  """

  def __init__(
    self,
    train_step: TrainStep,
    train_steps: TrainStep,
    eval_step: EvalStep,
    placement: HostImages | DeviceImages,
    mesh: Mesh,
    seeds: Sequence[int],
  ):
    """Starts no thread yet.

    Args:
      train_step, train_steps, eval_step: from `step`, not stacked; the second
        of them scanned.
      placement: gets batches onto the mesh.
      mesh: the devices.
      seeds: of the replicas.
    """
    self._train_step, self._train_steps = train_step, train_steps
    self._eval_step = eval_step
    self._put = placement.put
    self._seeds = [mesh_lib.replicate(mesh, np.int32(seed)) for seed in seeds]
    # A CPU runs in turn what one thread dispatches, and at the same time what
    # several do. On several devices the order has to be the same everywhere,
    # or programs would wait for each other in their sums over devices.
    threads = len(seeds) if len(seeds) > 1 and mesh.size == 1 else 0
    self._threads = [
      concurrent.futures.ThreadPoolExecutor(1) for _ in range(threads)
    ]
    self._compiled: set[Callable] = set()

  def join(self, states: Sequence[TrainState]) -> list[TrainState]:
    """The same states."""
    return list(states)

  def split(self, states: list[TrainState]) -> list[TrainState]:
    """The same states."""
    return states

  def train_steps(
    self, states: list[TrainState], batches: Sequence[Sequence[Batch]]
  ) -> tuple[list[TrainState], Outputs]:
    """See `Replicas`."""
    take = self._take_one if len(batches[0]) == 1 else self._take_several
    done = self._each(take, states, batches, self._seeds)
    return [state for state, _ in done], [sums for _, sums in done]

  def eval_step(self, states: list[TrainState], batch: Batch) -> Outputs:
    """See `Replicas`."""
    sent = self._put(batch)
    return self._each(self._eval_step, states, [sent] * len(states))

  def fetch(self, outputs: Outputs) -> list[dict[str, np.ndarray]]:
    """See `Replicas`."""
    return jax.device_get(outputs)

  def _take_one(
    self, state: TrainState, batches: Sequence[Batch], seed: jax.Array
  ) -> tuple[TrainState, Sums]:
    return self._train_step(state, self._put(batches[0]), seed)

  def _take_several(
    self, state: TrainState, batches: Sequence[Batch], seed: jax.Array
  ) -> tuple[TrainState, Sums]:
    sent = self._put(mesh_lib.stack(batches), axis=1)
    return self._train_steps(state, sent, seed)

  def _each(self, do: Callable, *arguments: Sequence) -> list:
    """Calls a function once for each replica."""
    # What is called first compiles, which all of them would do.
    if not self._threads or do not in self._compiled:
      self._compiled.add(do)
      return [do(*own) for own in zip(*arguments, strict=True)]
    calls = [
      thread.submit(do, *own)
      for thread, *own in zip(self._threads, *arguments, strict=True)
    ]
    return [call.result() for call in calls]


class Stacked:
  """All replicas' states as one with a leading axis, and one vectorised step.

  It launches as many programs as a single run does. Its sums round differently
  from those of a replica alone.
  """

  def __init__(
    self,
    train_step: TrainStep,
    train_steps: TrainStep,
    eval_step: EvalStep,
    placement: HostImages | DeviceImages,
    mesh: Mesh,
    seeds: Sequence[int],
  ):
    """As `SideBySide`, but of stacked steps."""
    self._train_step, self._train_steps = train_step, train_steps
    self._eval_step = eval_step
    self._put = placement.put
    self._seeds = mesh_lib.replicate(mesh, np.array(seeds, np.int32))
    whole = mesh_lib.replicated(mesh)
    self._join = jax.jit(
      lambda states: jax.tree.map(lambda *x: jnp.stack(x), *states),
      out_shardings=whole,
    )
    self._split = jax.jit(
      lambda states: [
        jax.tree.map(lambda x, i=i: x[i], states) for i in range(len(seeds))
      ],
      out_shardings=whole,
    )

  def join(self, states: Sequence[TrainState]) -> TrainState:
    """States with a leading axis of replicas."""
    return self._join(list(states))

  def split(self, states: TrainState) -> list[TrainState]:
    """Copies of each replica's part."""
    return self._split(states)

  def train_steps(
    self, states: TrainState, batches: Sequence[Sequence[Batch]]
  ) -> tuple[TrainState, Outputs]:
    """See `Replicas`."""
    steps = [mesh_lib.stack(own) for own in zip(*batches, strict=True)]
    if len(steps) == 1:
      sent = self._put(steps[0], axis=1)
      return self._train_step(states, sent, self._seeds)
    sent = self._put(mesh_lib.stack(steps), axis=2)
    return self._train_steps(states, sent, self._seeds)

  def eval_step(self, states: TrainState, batch: Batch) -> Outputs:
    """See `Replicas`."""
    return self._eval_step(states, self._put(batch))

  def fetch(self, outputs: Outputs) -> list[dict[str, np.ndarray]]:
    """See `Replicas`."""
    found = jax.device_get(outputs)
    return [
      {name: x[i] for name, x in found.items()} for i in range(len(self._seeds))
    ]
