"""Set-up of a run: plan, network, optimizer, compiled steps and loader."""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import numpy as np
import optax
from jax.sharding import Mesh

from mn_jax.config import Config, changes
from mn_jax.config import plan as plan_lib
from mn_jax.config.experiment import (
  AugmentConfig,
  resolution,
  train_resolution,
)
from mn_jax.data import loader, store
from mn_jax.metrics import classification, selection
from mn_jax.metrics.predictions import Predictions
from mn_jax.models import counting, registry
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.run import frozen_features, gpu_kernels, open_data, run_overlap
from mn_jax.run import network as network_lib
from mn_jax.run import teacher as teacher_lib
from mn_jax.run.batches import train_batches
from mn_jax.run.split_data import SplitData
from mn_jax.train import evaluate as evaluate_lib
from mn_jax.train import losses, optimizer
from mn_jax.train import state as state_lib
from mn_jax.train import step as step_lib
from mn_jax.weights.pretrained import Origin


@dataclasses.dataclass(frozen=True)
class Setup:
  """Everything that a run makes once, before its first step.

  Attributes:
    config: the experiment.
    data: the data set, split.
    plan: durations in steps.
    network: the network's definition.
    pretrained: where pretrained weights come from; None without.
    teacher: whose predictions are learnt beside the labels; None without.
    cached_features: whether batches carry features that the frozen backbone
      computed once, in place of pixels.
    note: what was wrong with features that were computed before, or ''.
    schedule: learning rate by completed updates.
    tx: the optimizer.
    images: pixels u8[n, h, w, 3] or features f32[n, ...] that batches carry;
      None where they live on the device.
    mesh: the devices.
    placement: puts host batches onto the mesh.
    step, scanned_step: compiled train steps, of one update and of several.
    eval_step: the compiled eval step.
    num_params: number of parameters, frozen ones included.
    num_stats: number of running means and variances.
    macs, train_macs: multiply-adds of one image's forward pass, in evaluation
      and in training.
    seed: i32[] on the mesh.
    initial_state: the state before the first step, on the mesh.
    loader: host batches of the training split, by number.
  """

  config: Config
  data: SplitData
  plan: plan_lib.Plan
  network: registry.Network
  pretrained: Origin | None
  teacher: teacher_lib.RunTeacher | None
  cached_features: bool
  note: str
  schedule: optax.Schedule
  tx: optax.GradientTransformation
  images: np.ndarray | None
  mesh: Mesh
  placement: mesh_lib.HostImages | mesh_lib.DeviceImages
  step: step_lib.TrainStep
  scanned_step: step_lib.TrainStep
  eval_step: step_lib.EvalStep
  num_params: int
  num_stats: int
  macs: int
  train_macs: int
  seed: jax.Array
  initial_state: state_lib.TrainState
  loader: loader.TrainBatches

  def train_step(
    self, state: state_lib.TrainState, batch: step_lib.Batch
  ) -> tuple[state_lib.TrainState, step_lib.Sums]:
    """Takes the steps of one dispatch, one or several; the state is donated."""
    several = batch["mask"].ndim == 2
    of_teacher = () if self.teacher is None else (self.teacher.variables,)
    return (self.scanned_step if several else self.step)(
      state, batch, self.seed, *of_teacher
    )

  def batches(self, done: int) -> Iterator[step_lib.Batch]:
    """Batches on the mesh for each dispatch after `done` completed updates.

    Batches of a dispatch of several steps are stacked along a leading axis.
    """
    host = self.loader.iterate(start=done, prefetch=self.config.data.prefetch)
    for step in self.plan.dispatches(done):
      batches = [next(host) for _ in range(step - done)]
      done = step
      if len(batches) == 1:
        yield self.placement.put(batches[0])
      else:
        yield self.placement.put(mesh_lib.stack(batches), axis=1)

  def evaluate(
    self, state: state_lib.TrainState, part: str
  ) -> tuple[dict[str, float], Predictions]:
    """Metrics and predictions of a whole part of the split.

    Args:
      state: what to evaluate.
      part: 'train', 'val' or 'test'.
    """
    predictions = evaluate_lib.predict(
      self.eval_step,
      state,
      self._eval_batches(self.data.part(part)),
      self.placement.put,
    )
    positive = self.data.spec.positive
    return classification.summarize(predictions, positive=positive), predictions

  def predict_with_features(
    self, state: state_lib.TrainState, rows: np.ndarray
  ) -> tuple[Predictions, np.ndarray]:
    """Predictions and features f32[n, channels] of some images.

    Args:
      state: what to evaluate.
      rows: i64[n], of the packed images.
    """
    return evaluate_lib.predict_with_features(
      self.eval_step, state, self._eval_batches(rows), self.placement.put
    )

  def _eval_batches(self, rows: np.ndarray) -> Iterator[loader.Batch]:
    return loader.eval_batches(
      self.images,
      self.data.cache.labels,
      rows,
      batch_size=self.config.eval.batch_size,
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )

  def digests(self) -> dict[str, str]:
    """SHA-256 of what a run is started with, the same whenever it resumes."""
    return {
      **self.data.digests(),
      "config": changes.sha256(self.config),
      "weights": "" if self.pretrained is None else self.pretrained.sha256,
      "teacher": "" if self.teacher is None else self.teacher.sha256,
    }

  def mfu(self, images_per_sec: float | None) -> float | None:
    """Model FLOP/s over the devices' bfloat16 peak; None where not known."""
    peak = mesh_lib.peak_flops()
    if peak is None or images_per_sec is None or self.cached_features:
      return None
    backward = self.config.model.transfer != "frozen"
    flops = counting.image_flops(self.train_macs, backward=backward)
    if self.teacher is not None:
      flops += counting.image_flops(self.teacher.macs, backward=False)
    return flops * images_per_sec / peak


def check(config: Config, *, revision: str = "") -> None:
  """Refuses what can be refused before any data is read.

  Args:
    config: the experiment.
    revision: of pretrained weights, as `network.build` takes it.

  Raises:
    InputError: for an unknown name, fields that contradict each other or a
      batch that does not divide.
  """
  selection.check_metric(
    config.eval.best_metric,
    positive=open_data.has_positive(config.data),
    multi_label=config.data.multi_label,
  )
  network_lib.check(config, revision=revision)
  teacher_lib.check(config.train)
  mesh_lib.check_batch_size(
    "train.batch_size", config.train.batch_size, config.optim.accumulate
  )
  mesh_lib.check_batch_size("eval.batch_size", config.eval.batch_size)


def build(
  config: Config,
  data: SplitData,
  progress: Callable[[int, int], None],
  *,
  revision: str = "",
) -> Setup:
  """Makes network, optimizer, compiled steps and loader of a run.

  Args:
    config: the experiment.
    data: from `split_data.load`.
    progress: called while features are computed.
    revision: of pretrained weights, as `network.build` takes it.

  Raises:
    InputError: for weights or rules that do not fit the network, or a teacher
      that does not suit the data.
  """
  plan = plan_lib.resolve(config, len(data.part("train")))
  mesh = gpu_kernels.check(config, mesh_lib.make_mesh())
  initial = _initial(config, data, revision)
  origin = run_overlap.check_start(initial.origin, config, data)
  teacher = teacher_lib.load(config, data, mesh)
  num_params, num_stats = counting.count_params(initial.values)
  schedule = optimizer.make_schedule(
    config.optim,
    plan.total_steps,
    plan.warmup_steps,
    batch_size=config.train.batch_size,
    decay_steps=plan.decay_steps,
  )
  tx = optimizer.make_optimizer(config.optim, schedule, initial.rules)

  images, cached, note = data.cache.images, caches_features(config), ""
  if cached:
    images, note = _features(config, data, initial, progress)
  placement: mesh_lib.HostImages | mesh_lib.DeviceImages
  if config.data.placement == "device":
    placement, images = mesh_lib.DeviceImages(mesh, images), None
  else:
    placement = mesh_lib.HostImages(mesh)

  common = (initial.module, initial.network.conventions)
  make_train_step = functools.partial(
    step_lib.make_train_step,
    *common,
    tx,
    config,
    mesh,
    rules=initial.rules,
    extracted=cached,
    teacher=None if teacher is None else teacher.network,
    **_class_constants(config, data),
  )
  return Setup(
    config=config,
    data=data,
    plan=plan,
    network=initial.network,
    pretrained=origin,
    teacher=teacher,
    cached_features=cached,
    note=note,
    schedule=schedule,
    tx=tx,
    images=images,
    mesh=mesh,
    placement=placement,
    step=make_train_step(),
    scanned_step=make_train_step(scanned=True),
    eval_step=step_lib.make_eval_step(*common, config, mesh, extracted=cached),
    num_params=num_params,
    num_stats=num_stats,
    **_macs(config, initial),
    seed=mesh_lib.replicate(mesh, np.int32(config.seed)),
    initial_state=_initial_state(config, initial, tx, mesh),
    loader=train_batches(config, data, images, plan.total_steps),
  )


def another_seed(setup: Setup, config: Config) -> Setup:
  """A set-up that shares data, plan and compiled steps with one that is there.

  Args:
    setup: that of another seed.
    config: differs from `setup.config` in the seed alone.
  """
  revision = "" if setup.pretrained is None else setup.pretrained.revision
  initial = _initial(config, setup.data, revision)
  return dataclasses.replace(
    setup,
    config=config,
    seed=mesh_lib.replicate(setup.mesh, np.int32(config.seed)),
    initial_state=_initial_state(config, initial, setup.tx, setup.mesh),
    loader=train_batches(
      config, setup.data, setup.images, setup.plan.total_steps
    ),
  )


def _initial(
  config: Config, data: SplitData, revision: str
) -> network_lib.Initial:
  """The network before its first step, randomly initialised or loaded."""

  def sample(count: int) -> np.ndarray:
    """About `count` training images, u8[batches, batch, h, w, 3]."""
    size = config.eval.batch_size
    batches = max(1, min(count, len(data.part("train"))) // size)
    rows = data.spread("train", batches=batches, batch_size=size)
    return data.cache.images[rows]

  return network_lib.build(config, data.classes, sample, revision=revision)


def _initial_state(
  config: Config,
  initial: network_lib.Initial,
  tx: optax.GradientTransformation,
  mesh: Mesh,
) -> state_lib.TrainState:
  return mesh_lib.replicate(
    mesh,
    state_lib.create(
      initial.values, tx, initial.rules, ema=config.train.ema_decay > 0
    ),
  )


def _macs(config: Config, initial: network_lib.Initial) -> dict[str, int]:
  """Multiply-adds of an image in evaluation, 'macs', and 'train_macs'."""
  sizes = (resolution(config), train_resolution(config))
  counts = {x: counting.count_macs(initial.module, x) for x in set(sizes)}
  return {"macs": counts[sizes[0]], "train_macs": counts[sizes[1]]}


def caches_features(config: Config) -> bool:
  """Whether a frozen backbone sees the same images in every epoch.

  Then its features are computed once, at the resolution of evaluation.
  """
  return (
    config.model.transfer == "frozen"
    and config.model.cache_features
    and config.augment == AugmentConfig()
    and resolution(config) == train_resolution(config)
    and not config.train.teacher
  )


def _features(
  config: Config,
  data: SplitData,
  initial: network_lib.Initial,
  progress: Callable[[int, int], None],
) -> tuple[np.ndarray, str]:
  """Features of all images by a frozen backbone, f32[n, ...], and a note."""
  return frozen_features.open_or_extract(
    initial.module,
    initial.network,
    initial.values,
    data.cache.images,
    images_sha256=data.cache.sha256,
    resolution=config.model.resolution,
    batch_size=config.eval.batch_size,
    root=store.cache_root(config.data.cache_dir) / "features",
    progress=progress,
  )


def _class_constants(config: Config, data: SplitData) -> dict[str, np.ndarray]:
  """What the loss knows of the classes, from the training part.

  Returns:
    'class_weights' f32[classes], of several labels per image f32[2, classes];
    and 'log_prior' f32[classes].
  """
  labels, classes = data.cache.labels[data.part("train")], len(data.classes)
  weights = losses.balanced_class_weights(labels, classes)
  if config.train.class_weights == "none":
    weights = np.ones_like(weights)
  return {
    "class_weights": weights,
    "log_prior": losses.log_prior(labels, classes),
  }
