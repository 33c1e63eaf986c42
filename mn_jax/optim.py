"""Learning-rate schedules and the optax chain."""

import jax
import optax

from mn_jax.config import OptimConfig


def make_schedule(
  config: OptimConfig, total_steps: int, warmup_steps: int
) -> optax.Schedule:
  """Learning rate of a step, counted in completed updates.

  A linear warm-up from 0, then 'constant', 'cosine' (to 0 at `total_steps`)
  or 'step' (times `decay_factor` at each share `decay_at` of the run).
  """
  peak = config.learning_rate
  if config.schedule == "constant":
    course = optax.constant_schedule(peak)
  elif config.schedule == "cosine":
    course = optax.cosine_decay_schedule(peak, total_steps - warmup_steps)
  else:
    drops: dict[int, float] = {}
    for share in config.decay_at:
      step = round(share * total_steps) - warmup_steps
      # Short runs can have two drops at one step.
      drops[step] = drops.get(step, 1.0) * config.decay_factor
    course = optax.piecewise_constant_schedule(peak, drops)
  if not warmup_steps:
    return course
  rise = optax.linear_schedule(0.0, peak, warmup_steps)
  return optax.join_schedules([rise, course], [warmup_steps])


def make_optimizer(
  config: OptimConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
  """The chain: clipping, L2 (sgd), the optimizer, decoupled decay (adamw).

  Weight decay is for kernels; BatchNorm's scale and bias and the biases of
  dense layers are left alone.
  """
  parts = []
  if config.clip_norm:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  if config.name == "sgd":
    if config.weight_decay:
      parts.append(optax.add_decayed_weights(config.weight_decay, _kernels))
    parts.append(optax.sgd(schedule, momentum=config.momentum, nesterov=True))
  elif config.name == "adam":
    parts.append(
      optax.adam(schedule, b1=config.b1, b2=config.b2, eps=config.epsilon)
    )
  else:
    parts.append(
      optax.adamw(
        schedule,
        b1=config.b1,
        b2=config.b2,
        eps=config.epsilon,
        weight_decay=config.weight_decay,
        mask=_kernels,
      )
    )
  return optax.chain(*parts)


def _kernels(params: dict) -> dict:
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == "kernel", params
  )
