"""What a point trains: the compiled step of a config, and what it is fed."""

import dataclasses
import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from mn_jax.config import Config
from mn_jax.data import loader
from mn_jax.models import counting, variables
from mn_jax.parallel import mesh
from mn_jax.perf.scaling import shaped
from mn_jax.run import split_data
from mn_jax.train import state as state_lib
from mn_jax.train import step

Batch = dict[str, Any]
# What JAX says of a program that it has kept, in whole seconds.
_SAVED = "/jax/compilation_cache/compile_time_saved_sec"


@dataclasses.dataclass(frozen=True)
class Feed:
  """Where batches come from.

  Attributes:
    batches: in training's order; waiting for the next is waiting for data.
    put: gets one of them onto the devices.
    examples: images in the training part; None where no data is read.
    classes: of the data; 0 where none is read.
  """

  batches: Iterator[Batch]
  put: Callable[[Batch], Batch]
  examples: int | None
  classes: int


class Trainer:
  """The step of training on all devices of this run, with state and input.

  Attributes:
    feed: what `step` takes.
    compile_seconds: what it took to trace and compile the step, when it was
      compiled: programs that are kept tell how long they took.
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
    the_mesh = mesh.make_mesh()
    if kind != "synthetic":
      feed = _read(
        config,
        the_mesh,
        on_device=kind == "cached",
        batch_size=batch_size,
        num_batches=num_batches,
      )
      # So that the step has as many logits as the data has classes.
      data = dataclasses.replace(config.data, classes=feed.classes)
      config = dataclasses.replace(config, data=data)
    made = shaped.describe(
      config, global_batch=batch_size, num_devices=the_mesh.size
    )
    if kind == "synthetic":
      feed = _keep(made, the_mesh)
    self.feed = feed
    resolution = config.model.resolution or config.data.image_size
    values = variables.initial_values(made.module, resolution, config.seed)
    self._state = mesh.replicate(
      the_mesh,
      state_lib.create(
        values, made.tx, made.rules, ema=config.train.ema_decay > 0
      ),
    )
    self._seed = mesh.replicate(the_mesh, np.int32(config.seed))
    self._step, self.compile_seconds = _compile(made, the_mesh)
    self.flops = counting.image_flops(
      counting.count_macs(made.module, resolution),
      backward=config.model.transfer != "frozen",
    )

  def step(self, batch: Batch) -> step.Sums:
    """Dispatches a step on a batch of the feed; its sums are on the devices."""
    batch = self.feed.put(batch)
    self._state, sums = self._step(self._state, batch, self._seed)
    return sums


def _compile(
  made: shaped.Shaped, the_mesh: jax.sharding.Mesh
) -> tuple[jax.stages.Compiled, float]:
  """The step, and `Trainer.compile_seconds`."""
  saved = []

  def listen(event: str, seconds: float, **_: str | int) -> None:
    if event == _SAVED:
      saved.append(seconds)

  jax.monitoring.register_event_duration_secs_listener(listen)
  start = time.perf_counter()
  compiled = made.lower(the_mesh).compile()
  seconds = time.perf_counter() - start
  jax.monitoring.unregister_event_duration_listener(listen)
  return compiled, seconds + sum(saved)


def _read(
  config: Config,
  the_mesh: jax.sharding.Mesh,
  *,
  on_device: bool,
  batch_size: int,
  num_batches: int,
) -> Feed:
  """Training's own batches, whose images are on the devices or here."""
  data = split_data.load(config.data, lambda done, total: None)
  images, rows = data.cache.images, data.part("train")
  if on_device:
    images, placement = None, mesh.DeviceImages(the_mesh, images)
  else:
    placement = mesh.HostImages(the_mesh)
  batches = loader.TrainBatches(
    images,
    data.cache.labels,
    rows,
    batch_size=batch_size,
    num_batches=num_batches,
    seed=config.seed,
    balanced=config.data.sampling == "balanced",
    process_index=jax.process_index(),
    process_count=jax.process_count(),
  )
  return Feed(
    batches=batches.iterate(start=0, prefetch=config.data.prefetch),
    put=placement.put,
    examples=len(rows),
    classes=len(data.classes),
  )


def _keep(made: shaped.Shaped, the_mesh: jax.sharding.Mesh) -> Feed:
  """One random batch that stays on the devices."""
  draw = np.random.default_rng(made.config.seed)
  count = made.config.train.batch_size // jax.process_count()
  share = {
    "image": draw.integers(
      0, 256, (count, *made.batch["image"].shape[1:]), np.uint8
    ),
    "id": np.arange(count, dtype=np.int32),
    "label": draw.integers(0, made.classes, count, np.int32),
    "mask": np.ones(count, np.float32),
  }
  kept = mesh.HostImages(the_mesh).put(share)
  return Feed(itertools.repeat(kept), lambda batch: batch, None, 0)
