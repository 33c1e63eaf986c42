"""What a run is made of: data, split, plan, network and compiled steps."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
import optax

from mn_jax import evaluate as evaluate_lib
from mn_jax import losses, mesh, metrics, optim, step
from mn_jax import plan as plan_lib
from mn_jax import state as state_lib
from mn_jax.config import Config
from mn_jax.data import cache, datasets, loader, splits
from mn_jax.models import counting, registry, variables


@dataclasses.dataclass(frozen=True)
class Data:
  """A data set, split.

  Attributes:
    spec: what it is.
    cache: all its images.
    split: rows of the parts.
    plan: the run's durations for a training part of this size.
  """

  spec: datasets.DatasetSpec
  cache: cache.PackedCache
  split: splits.Split
  plan: plan_lib.Plan

  def part(self, name: str) -> np.ndarray:
    """i64[n]: the rows of a part."""
    return self.split.parts[name]

  def groups(self, name: str) -> list[str]:
    """The groups of a part, in order."""
    return np.unique(self.cache.groups[self.part(name)]).tolist()


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that a run makes once, before its first step.

  Attributes:
    config: what was asked for.
    data: what it trains on.
    initial_state: the state before the first step, on the mesh.
    schedule: learning rate by completed updates.
    train_step, eval_step: see `step`.
    images: the pixels that batches carry, u8[n, h, w, 3]; None where they
      live on the device.
    batches: training batches by number.
    put: host batch -> batch on the mesh.
    num_params: trainable parameters.
    num_stats: running means and variances.
    macs: mult-adds of one image's forward pass.
  """

  config: Config
  data: Data
  initial_state: state_lib.TrainState
  schedule: optax.Schedule
  train_step: step.TrainStep
  eval_step: step.EvalStep
  images: np.ndarray | None
  batches: loader.TrainBatches
  put: Callable[[dict[str, np.ndarray]], dict[str, jax.Array]]
  num_params: int
  num_stats: int
  macs: int

  def evaluate(
    self, part: str, state: state_lib.TrainState
  ) -> tuple[dict[str, float], metrics.Predictions]:
    """Metrics and predictions of a whole part of the split."""
    predictions = evaluate_lib.predict(
      self.eval_step,
      state,
      loader.eval_batches(
        self.images,
        self.data.cache.labels,
        self.data.part(part),
        batch_size=self.config.eval.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      ),
      self.put,
    )
    scalars = metrics.summarize(predictions, positive=self.data.spec.positive)
    return scalars, predictions

  def mfu(self, images_per_sec: float | None) -> float | None:
    """Model FLOP/s over the devices' bfloat16 peak, where that is known."""
    peak = mesh.peak_flops()
    if peak is None or images_per_sec is None:
      return None
    # A mult-add is two FLOPs; the backward pass costs two forward passes.
    return 6 * self.macs * images_per_sec / peak


def check(config: Config) -> None:
  """Refuses what can be refused before any data is read.

  Raises:
    InputError: for an unknown name or a batch that does not divide.
  """
  registry.get(config.model.name)
  datasets.get(config.data.name)
  mesh.check_batch_size(
    "train.batch_size", config.train.batch_size, config.optim.accumulate
  )
  mesh.check_batch_size("eval.batch_size", config.eval.batch_size)


def load_data(config: Config, progress: cache.Progress) -> Data:
  """Loads and splits the data; decodes it on the first call.

  Raises:
    InputError: for data or a split that cannot be used.
  """
  section = config.data
  spec = datasets.get(section.name)
  packed = datasets.load(
    section.name,
    path=section.path,
    root=datasets.cache_root(section.cache_dir),
    image_size=section.image_size,
    edge_patches=section.edge_patches,
    max_unreadable=section.max_unreadable,
    progress=progress,
  )
  split = splits.make(
    section.split,
    names=packed.names,
    groups=packed.groups,
    labels=packed.labels,
    seed=section.split_seed,
    val_fraction=section.val_fraction,
    test_fraction=section.test_fraction,
    case_lists=datasets.case_lists(section.name),
  )
  plan = plan_lib.resolve(config, len(split.parts["train"]))
  return Data(spec, packed, split, plan)


def build(config: Config, data: Data) -> Experiment:
  """Makes network, optimizer, steps and loader; compiles nothing yet."""
  the_mesh = mesh.make_mesh()
  classes = len(data.spec.classes)
  model_spec = registry.get(config.model.name)
  module = registry.build(
    config.model.name,
    num_classes=classes,
    width=config.model.width,
    dropout=config.model.dropout,
    norm_momentum=config.model.norm_momentum,
    norm_debias=config.model.norm_debias,
    dtype=config.model.dtype,
  )
  resolution = config.model.resolution or config.data.image_size
  values = variables.initial_values(module, resolution, config.seed)
  num_params, num_stats = counting.count_params(values)
  schedule = optim.make_schedule(
    config.optim, data.plan.total_steps, data.plan.warmup_steps
  )
  tx = optim.make_optimizer(config.optim, schedule)
  weights = np.ones(classes, np.float32)
  if config.train.class_weights == "balanced":
    weights = losses.balanced_class_weights(
      data.cache.labels[data.part("train")], classes
    )
  if config.data.placement == "device":
    images, placement = None, mesh.DeviceImages(the_mesh, data.cache.images)
  else:
    images, placement = data.cache.images, mesh.HostImages(the_mesh)
  return Experiment(
    config=config,
    data=data,
    initial_state=mesh.replicate(
      the_mesh, state_lib.create(values, tx, ema=config.train.ema_decay > 0)
    ),
    schedule=schedule,
    train_step=step.make_train_step(
      module, model_spec, tx, config, the_mesh, class_weights=weights
    ),
    eval_step=step.make_eval_step(module, model_spec, config, the_mesh),
    images=images,
    batches=loader.TrainBatches(
      images,
      data.cache.labels,
      data.part("train"),
      batch_size=config.train.batch_size,
      num_batches=data.plan.total_steps,
      seed=config.seed,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    ),
    put=placement.put,
    num_params=num_params,
    num_stats=num_stats,
    macs=counting.count_macs(module, resolution),
  )
