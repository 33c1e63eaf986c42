"""What a run is made of: data, split, plan, network and compiled steps."""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import numpy as np
import optax

from mn_jax.config import Config
from mn_jax.config import plan as plan_lib
from mn_jax.config.experiment import AugmentConfig
from mn_jax.data import loader, store
from mn_jax.data.datasets import registry as datasets
from mn_jax.metrics import choices, classification
from mn_jax.metrics.predictions import Predictions
from mn_jax.models import counting, registry
from mn_jax.parallel import mesh
from mn_jax.run import frozen_features
from mn_jax.run import network as initial_lib
from mn_jax.run.split_data import SplitData
from mn_jax.train import evaluate as evaluate_lib
from mn_jax.train import losses, optimizer, step
from mn_jax.train import seeds as replicas_lib
from mn_jax.train import state as state_lib
from mn_jax.weights.pretrained import Origin


@dataclasses.dataclass(frozen=True)
class Replica:
  """What one seed of an experiment has for itself.

  Attributes:
    config: that of a run of this seed alone.
    initial_state: the state before the first step, on the mesh.
    batches: training batches by number.
  """

  config: Config
  initial_state: state_lib.TrainState
  batches: loader.TrainBatches


@dataclasses.dataclass(frozen=True)
class Experiment:
  """Everything that a run makes once, before its first step.

  Attributes:
    config: what was asked for, with the first replica's seed.
    replicas: one for each seed that is trained.
    together: how their states are held and stepped.
    data: what it trains on.
    plan: its durations.
    network: the network's definition.
    pretrained: what its weights came from; None without.
    cached_features: whether batches carry extracted features.
    schedule: learning rate by completed updates.
    images: what batches carry, pixels u8[n, h, w, 3] or features; None where
      they live on the device.
    num_params: parameters, frozen ones included.
    num_stats: running means and variances.
    macs: mult-adds of one image's forward pass.
  """

  config: Config
  replicas: tuple[Replica, ...]
  together: replicas_lib.Replicas
  data: SplitData
  plan: plan_lib.Plan
  network: registry.Network
  pretrained: Origin | None
  cached_features: bool
  schedule: optax.Schedule
  images: np.ndarray | None
  num_params: int
  num_stats: int
  macs: int

  def evaluate(
    self, part: str, states: replicas_lib.States
  ) -> list[tuple[dict[str, float], Predictions]]:
    """Each replica's metrics and predictions of a whole part of the split."""
    found = evaluate_lib.predict_replicas(
      self.together,
      states,
      loader.eval_batches(
        self.images,
        self.data.cache.labels,
        self.data.part(part),
        batch_size=self.config.eval.batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
      ),
    )
    positive = self.data.spec.positive
    return [
      (classification.summarize(predictions, positive=positive), predictions)
      for predictions in found
    ]

  def mfu(self, images_per_sec: float | None) -> float | None:
    """Model FLOP/s over the devices' bfloat16 peak, where that is known."""
    peak = mesh.peak_flops()
    if peak is None or images_per_sec is None or self.cached_features:
      return None
    backward = self.config.model.transfer != "frozen"
    flops = counting.image_flops(self.macs, backward=backward)
    return flops * images_per_sec / peak


def check(config: Config) -> None:
  """Refuses what can be refused before any data is read.

  Raises:
    InputError: for an unknown name, fields that contradict each other or a
      batch that does not divide.
  """
  spec = datasets.get(config.data.name)
  choices.check_choice(config.eval.best_metric, positive=spec.positive)
  initial_lib.check(config)
  mesh.check_batch_size(
    "train.batch_size", config.train.batch_size, config.optim.accumulate
  )
  mesh.check_batch_size("eval.batch_size", config.eval.batch_size)


def of_each_seed(config: Config) -> list[Config]:
  """The configs of `train.replicas` runs, each as if it were alone."""
  train = dataclasses.replace(config.train, replicas=1)
  return [
    dataclasses.replace(config, seed=config.seed + number, train=train)
    for number in range(config.train.replicas)
  ]


def build(
  configs: Sequence[Config],
  data: SplitData,
  progress: Callable[[int, int], None],
) -> Experiment:
  """Makes network, optimizer, steps and loader.

  Args:
    configs: what was asked for, once for each seed; they differ in that alone.
    data: from `split_data.load`.
    progress: called while features are computed.

  Raises:
    InputError: for weights or rules that do not fit the network.
  """
  config = configs[0]
  plan = plan_lib.resolve(config, len(data.part("train")))
  the_mesh = mesh.make_mesh()
  classes = len(data.classes)
  initials = [
    initial_lib.build(each, classes, functools.partial(_spread, config, data))
    for each in configs
  ]
  # What is cached is of a frozen backbone, which all seeds have from one file.
  initial = initials[0]
  module, network, rules = initial.module, initial.network, initial.rules
  num_params, num_stats = counting.count_params(initial.values)

  images = data.cache.images
  cached = (
    config.model.transfer == "frozen"
    and config.model.cache_features
    and not _augments(config)
  )
  if cached:
    images = frozen_features.open_or_extract(
      module,
      network,
      initial.values,
      images,
      images_sha256=data.cache.sha256,
      resolution=config.model.resolution,
      batch_size=config.eval.batch_size,
      root=store.cache_root(config.data.cache_dir) / "features",
      progress=progress,
    )
  schedule = optimizer.make_schedule(
    config.optim,
    plan.total_steps,
    plan.warmup_steps,
    batch_size=config.train.batch_size,
  )
  tx = optimizer.make_optimizer(config.optim, schedule, rules)
  train_labels = data.cache.labels[data.part("train")]
  weights = np.ones(classes, np.float32)
  if config.train.class_weights == "balanced":
    weights = losses.balanced_class_weights(train_labels, classes)
  if config.data.placement == "device":
    images, placement = None, mesh.DeviceImages(the_mesh, images)
  else:
    placement = mesh.HostImages(the_mesh)
  stacked = replicas_lib.is_stacked(len(configs))
  way = replicas_lib.Stacked if stacked else replicas_lib.SideBySide
  make_train_step = functools.partial(
    step.make_train_step,
    module,
    network.conventions,
    tx,
    config,
    the_mesh,
    rules=rules,
    class_weights=weights,
    log_prior=losses.log_prior(train_labels, classes),
    extracted=cached,
    stacked=stacked,
  )
  return Experiment(
    config=config,
    replicas=tuple(
      Replica(
        config=each,
        initial_state=mesh.replicate(
          the_mesh,
          state_lib.create(
            own.values, tx, rules, ema=config.train.ema_decay > 0
          ),
        ),
        batches=loader.TrainBatches(
          images,
          data.cache.labels,
          data.part("train"),
          batch_size=config.train.batch_size,
          num_batches=plan.total_steps,
          seed=each.seed,
          balanced=config.data.sampling == "balanced",
          process_index=jax.process_index(),
          process_count=jax.process_count(),
        ),
      )
      for each, own in zip(configs, initials, strict=True)
    ),
    together=way(
      make_train_step(),
      make_train_step(scanned=True),
      step.make_eval_step(
        module,
        network.conventions,
        config,
        the_mesh,
        extracted=cached,
        stacked=stacked,
      ),
      placement,
      the_mesh,
      [each.seed for each in configs],
    ),
    data=data,
    plan=plan,
    network=network,
    pretrained=initial.origin,
    cached_features=cached,
    schedule=schedule,
    images=images,
    num_params=num_params,
    num_stats=num_stats,
    macs=counting.count_macs(
      module, config.model.resolution or config.data.image_size
    ),
  )


def _spread(config: Config, data: SplitData, count: int) -> np.ndarray:
  """About so many training images, in whole batches of the evaluation's size.

  Returns:
    u8[batches, batch, h, w, 3].
  """
  size, rows = config.eval.batch_size, data.part("train")
  batches = max(1, min(count, len(rows)) // size)
  # Evenly spread: neighbours in the list are often of one group and class.
  spread = np.linspace(0, len(rows) - 1, batches * size).round().astype(int)
  return data.cache.images[rows[spread].reshape(size, batches).T]


def _augments(config: Config) -> bool:
  """Whether training images differ from epoch to epoch."""
  return config.augment != AugmentConfig()
