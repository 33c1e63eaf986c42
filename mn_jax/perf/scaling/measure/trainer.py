"""The compiled training step of a config with its input, for one point."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from mn_jax.config import Config
from mn_jax.config.experiment import train_resolution
from mn_jax.models import counting
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.perf import abstract_step
from mn_jax.run import split_data
from mn_jax.run.batches import train_batches
from mn_jax.train import step

Batch = dict[str, Any]
# JAX's event for a program from its cache, with the seconds that were saved.
_SAVED = "/jax/compilation_cache/compile_time_saved_sec"


class Trainer:
  """The training step on all devices, with its state and input.

  Attributes:
    batches: in training's order, for `step`; waiting for the next is waiting
      for data.
    examples: images in the training part; None where no data is read.
    compile_seconds: what it took to trace and compile the step; for a program
      from JAX's cache, when it was compiled.
    flops: of one image; see `counting.image_flops`.
  """

  def __init__(
    self, config: Config, kind: str, *, batch_size: int, num_batches: int
  ):
    """Opens the data and compiles the step.

    Args:
      config: of one run.
      kind: of `points.INPUTS`.
      batch_size: images per step over all devices.
      num_batches: steps that may be taken.

    Raises:
      InputError: for a config or data that cannot be used.
    """
    mesh, data = mesh_lib.make_mesh(), None
    if kind != "synthetic":
      data = split_data.load(config.data, lambda done, total: None)
      # So that the step has as many logits as the data has classes.
      section = dataclasses.replace(config.data, classes=len(data.classes))
      config = dataclasses.replace(config, data=section)
    abstract = abstract_step.make(
      config, global_batch=batch_size, num_devices=mesh.size
    )
    config = abstract.config
    self.batches: Iterator[Batch]
    self._put: Callable[[Batch], Batch]
    if data is None:
      self.examples = None
      batch = mesh_lib.HostImages(mesh).put(abstract.random_batch())
      self.batches, self._put = itertools.repeat(batch), lambda batch: batch
    else:
      self.examples = len(data.part("train"))
      images, placement = data.cache.images, mesh_lib.HostImages(mesh)
      if kind == "cached":
        images, placement = None, mesh_lib.DeviceImages(mesh, images)
      batches = train_batches(config, data, images, num_batches)
      self.batches = batches.iterate(start=0, prefetch=config.data.prefetch)
      self._put = placement.put
    self._state = abstract.initial_state(mesh)
    self._seed = mesh_lib.replicate(mesh, np.int32(config.seed))
    self._step, self.compile_seconds = _compile(abstract, mesh)
    self.flops = counting.image_flops(
      counting.count_macs(abstract.module, train_resolution(config)),
      backward=config.model.transfer != "frozen",
    )

  def step(self, batch: Batch) -> step.Sums:
    """Dispatches a step on one of `batches`; its sums are on the devices."""
    batch = self._put(batch)
    self._state, sums = self._step(self._state, batch, self._seed)
    return sums


def _compile(
  abstract: abstract_step.AbstractStep, mesh: jax.sharding.Mesh
) -> tuple[jax.stages.Compiled, float]:
  """The compiled step, and `Trainer.compile_seconds`."""
  saved = []

  def listen(event: str, seconds: float, **_: str | int) -> None:
    if event == _SAVED:
      saved.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(listen)
  start = time.perf_counter()
  compiled = abstract.lower(mesh).compile()
  seconds = time.perf_counter() - start
  jax.monitoring.unregister_event_duration_listener(listen)
  return compiled, seconds + sum(saved)
