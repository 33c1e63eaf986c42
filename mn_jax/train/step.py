"""The train step and the eval step: pure functions, compiled for a mesh.

A train step is three things in order: the loss of a batch (`objective`), its
gradients (accumulated over micro-batches where that is asked for), and the
update of the state.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from mn_jax.augment import inputs
from mn_jax.config import Config
from mn_jax.models.classifier import Classifier
from mn_jax.models.spec import Conventions
from mn_jax.ops import sharding
from mn_jax.ops.gpu import chain
from mn_jax.parallel import image_groups
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.train import global_norm, losses, objective
from mn_jax.train.distill import Teacher
from mn_jax.train.objective import LossFn, Sums
from mn_jax.train.rules import Rules, merge
from mn_jax.train.state import TrainState, eval_variables

Batch = dict[str, jax.Array]
# (state, batch, seed), and with a teacher its variables -> (state, sums).
TrainStep = Callable[..., tuple[TrainState, Sums]]
EvalStep = Callable[[TrainState, Batch], dict[str, jax.Array]]


def make_train_step(
  module: Classifier,
  conventions: Conventions,
  tx: optax.GradientTransformation,
  config: Config,
  mesh: Mesh,
  *,
  rules: Rules,
  class_weights: jax.Array,
  log_prior: jax.Array,
  teacher: Teacher | None = None,
  extracted: bool = False,
  scanned: bool = False,
) -> TrainStep:
  """Compiles `(state, batch, seed) -> (state, sums)`; the state is donated.

  With a teacher, its variables are the fourth argument.

  The seed is an i32 scalar, and every random number derives from (seed,
  state.step): one program serves all seeds. `sums` are f32 scalars over the
  batch: 'loss', 'correct' and 'count', which add up over steps, and 'grad_norm'
  of this step. With `optim.skip_nonfinite` there is 'skipped', 1 for an update
  that is skipped, in which case the other sums are 0.

  'correct' counts predictions of an image's own label, without logit
  adjustment; several labels count by the share that is right. A mixed image
  counts for its own labels too, even if it is the smaller part of the mixture:
  such counts are lower than any accuracy of images as they are, and can be
  compared only with each other. Images are mixed within a micro-batch.

  Args:
    module: the network.
    conventions: its input normalisation.
    tx: the optimizer.
    config: sections augment, model, optim and train.
    mesh: where the batch is sharded.
    rules: tell which parameters are trained; gradients of others are not
      computed.
    class_weights: f32[classes], factors of the loss; for several labels per
      image f32[2, classes], those of images without and with each.
    log_prior: f32[classes], from `losses.log_prior`, for logit adjustment.
    teacher: the network whose predictions are learnt beside the labels.
    extracted: whether a batch's 'image' holds features from
      `Classifier.extract`; these are neither augmented nor mixed.
    scanned: whether batch and sums have a leading axis of steps, which are
      taken one after the other in one dispatch.
  """
  loss_fn = objective.make_loss(
    module,
    conventions,
    config,
    class_weights=class_weights,
    log_prior=log_prior,
    teacher=teacher,
    extracted=extracted,
  )
  gradients = _make_gradients(
    loss_fn, config.optim.accumulate, objective.names_of_sums(teacher)
  )

  def train_step(
    state: TrainState, batch: Batch, seed: jax.Array, *of_teacher: dict
  ) -> tuple[TrainState, Sums]:
    key = jax.random.fold_in(jax.random.key(seed), state.step)
    trained, frozen = rules.split(state.params)
    grads, (batch_stats, sums) = gradients(
      trained, frozen, state.batch_stats, batch, key, *of_teacher
    )
    grads, norm = global_norm.with_norm(grads)
    updates, opt_state = tx.update(grads, state.opt_state, trained)
    params = merge(optax.apply_updates(trained, updates), frozen)
    averages = _average(state, params, batch_stats, config.train.ema_decay)
    sums = {**sums, "grad_norm": norm}
    updated = _updated(state, params, batch_stats, opt_state, averages)
    if config.optim.skip_nonfinite:
      return _skip_nonfinite(state, updated, sums)
    return updated, sums

  train_step = _linked(train_step, config, mesh)
  return _compile(train_step, mesh, 1 + bool(teacher), scanned=scanned)


def _linked(train_step: TrainStep, config: Config, mesh: Mesh) -> TrainStep:
  """The step, made of the kernels for GPUs if these devices run them."""
  use = uses_gpu_kernels(config, mesh)
  return chain.links()(train_step) if use else train_step


def uses_gpu_kernels(config: Config, mesh: Mesh) -> bool:
  """Returns whether a train step on these devices has the kernels for GPUs."""
  return (
    config.model.gpu_kernels == "pallas"
    and config.model.dtype == "bfloat16"
    and all(map(chain.supports, mesh.devices.flat))
  )


def _compile(
  train_step: TrainStep, mesh: Mesh, constants: int, *, scanned: bool
) -> TrainStep:
  """Compiles a train step for a mesh, or a scan of it over several batches.

  Args:
    train_step: to be compiled.
    mesh: where the batch is sharded.
    constants: number of arguments after state and batch.
    scanned: whether to scan.
  """

  def train_steps(
    state: TrainState, batches: Batch, *constants: jax.Array | dict
  ) -> tuple[TrainState, Sums]:
    return jax.lax.scan(
      lambda state, batch: train_step(state, batch, *constants), state, batches
    )

  def on_mesh(*arguments):
    # What `ops.sharding` runs on each device by itself finds the devices here.
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return (train_steps if scanned else train_step)(*arguments)

  replicated = mesh_lib.replicated(mesh)
  by_example = mesh_lib.by_example(mesh, axis=int(scanned))
  return jax.jit(
    on_mesh,
    in_shardings=(replicated, by_example, *constants * (replicated,)),
    out_shardings=replicated,
    donate_argnums=0,
  )


def _make_gradients(
  loss_fn: LossFn, micro_batches: int, names: tuple[str, ...]
) -> Callable:
  """The gradients of a loss by `trained`, with what else the loss returns.

  With more than one micro-batch they are averaged and the sums, of these names,
  added over micro-batches, which are computed one after the other.
  """
  gradient = jax.grad(loss_fn, has_aux=True)
  if micro_batches == 1:
    return gradient

  def accumulated(trained, frozen, batch_stats, batch, key, *of_teacher):
    # Interleaved, so that every device has a share of every micro-batch.
    parts = jax.tree.map(
      lambda x: jnp.moveaxis(x.reshape(-1, micro_batches, *x.shape[1:]), 1, 0),
      batch,
    )

    def add(carry, part):
      grads, stats, sums = carry
      index, micro_batch = part
      new, (stats, more) = gradient(
        trained,
        frozen,
        stats,
        micro_batch,
        jax.random.fold_in(key, index),
        *of_teacher,
      )
      return (
        jax.tree.map(jnp.add, grads, new),
        stats,
        jax.tree.map(jnp.add, sums, more),
      ), None

    start = (
      jax.tree.map(jnp.zeros_like, trained),
      batch_stats,
      {name: jnp.zeros(()) for name in names},
    )
    (grads, stats, sums), _ = jax.lax.scan(
      add, start, (jnp.arange(micro_batches), parts)
    )
    return jax.tree.map(lambda g: g / micro_batches, grads), (stats, sums)

  return accumulated


def _skip_nonfinite(
  state: TrainState, updated: TrainState, sums: Sums
) -> tuple[TrainState, Sums]:
  """The update, or the state as it was if loss or gradient are not finite."""
  finite = jnp.isfinite(sums["loss"]) & jnp.isfinite(sums["grad_norm"])
  choose = functools.partial(jnp.where, finite)
  skipped = state.replace(step=updated.step)
  sums = {name: choose(value, 0.0) for name, value in sums.items()}
  return (
    jax.tree.map(choose, updated, skipped),
    {**sums, "skipped": choose(0.0, 1.0)},
  )


def _updated(
  state: TrainState,
  params: dict,
  batch_stats: dict,
  opt_state: optax.OptState,
  averages: tuple[dict, dict],
) -> TrainState:
  """The state after an update; the averages are from `_average`."""
  ema_params, ema_batch_stats = averages
  return TrainState(
    step=state.step + 1,
    params=params,
    batch_stats=batch_stats,
    opt_state=opt_state,
    ema_params=ema_params,
    ema_batch_stats=ema_batch_stats,
  )


def _average(
  state: TrainState, params: dict, batch_stats: dict, decay: float
) -> tuple[dict, dict]:
  """The moving averages of parameters and statistics after an update."""
  if not decay:
    return state.ema_params, state.ema_batch_stats
  # Rising, or short runs would be judged by their initial values.
  done = state.step.astype(jnp.float32)
  decay = jnp.minimum(decay, (1 + done) / (10 + done))

  def average(old: dict, new: dict, rate: jax.Array) -> dict:
    # Written so that what does not change is its own average to the last bit.
    return jax.tree.map(lambda old, new: old + rate * (new - old), old, new)

  # Statistics before the first update are of no images: debiased averages, and
  # so the average of them, start with the first batch.
  first = state.step == 0
  return (
    average(state.ema_params, params, 1 - decay),
    average(
      state.ema_batch_stats, batch_stats, jnp.where(first, 1.0, 1 - decay)
    ),
  )


def make_eval_step(
  module: Classifier,
  conventions: Conventions,
  config: Config,
  mesh: Mesh,
  *,
  extracted: bool = False,
) -> EvalStep:
  """Compiles `(state, batch) -> results`, a dictionary of arrays.

  They are 'logits', 'features', 'loss', 'label', 'mask' and 'id', whole on
  every process. Logits are f32[batch, classes], losses f32[batch] in nats: the
  plain cross-entropy (of several labels the binary one), whatever loss is
  trained with. Images are not augmented, logits not adjusted. Features are
  f32[batch, channels], the mean of the last feature map: nothing more is
  computed for them where the head pools too, and nothing is fetched unless
  `evaluate.predict_with_features` asks for it.

  Args:
    module: the network.
    conventions: its input normalisation.
    config: section model.
    mesh: where the batch is sharded.
    extracted: whether a batch's 'image' holds features from
      `Classifier.extract`.
  """

  def forward(variables, images):
    if extracted:
      logits = module.apply(variables, images, False, method="classify")
      return logits, images if images.ndim == 2 else images.mean(axis=(1, 2))
    x = inputs.to_input(
      images,
      resolution=config.model.resolution,
      mean=conventions.mean,
      std=conventions.std,
    )
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return sharding.map_shards(of_shard, x, variables)

  def of_shard(x, variables):
    def network(x):
      logits, maps = module.apply(variables, x, False)
      return logits, maps["pooled"]

    return image_groups.apply(network, x)

  def eval_step(state: TrainState, batch: Batch) -> dict[str, jax.Array]:
    logits, features = forward(eval_variables(state), batch["image"])
    labels = batch["label"]
    if labels.ndim == 2:
      loss = losses.binary_cross_entropy(logits, labels.astype(jnp.float32))
    else:
      targets = jax.nn.one_hot(labels, logits.shape[-1])
      loss = losses.cross_entropy(logits, targets)
    return {
      "logits": logits,
      "features": features,
      "loss": loss,
      "label": labels,
      "mask": batch["mask"],
      "id": batch["id"],
    }

  return jax.jit(
    eval_step,
    in_shardings=(mesh_lib.replicated(mesh), mesh_lib.by_example(mesh)),
    out_shardings=mesh_lib.replicated(mesh),
  )
