"""Learning-rate schedules and the optax chain."""

import jax
import optax

from mn_jax.config import OptimConfig
from mn_jax.rules import Rules


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
  config: OptimConfig, schedule: optax.Schedule, rules: Rules
) -> optax.GradientTransformation:
  """The chain: clipping, L2 (sgd), the optimizer, decoupled decay (adamw).

  Args:
    config: which, with its numbers.
    schedule: learning rate by completed updates.
    rules: factors of learning rate and weight decay by parameter path. Frozen
      parameters are not given to the optimizer; see `Rules.split`.
  """
  parts = []
  if config.clip_norm:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  if config.name == "sgd":
    parts += [
      _decay(config.weight_decay, rules),
      optax.trace(config.momentum, nesterov=config.nesterov),
    ]
  else:
    parts.append(
      optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon)
    )
  if config.name == "adamw":
    parts.append(_decay(config.weight_decay, rules))
  parts += [_multiply_rates(rules), optax.scale_by_learning_rate(schedule)]
  return optax.chain(*parts)


def _decay(weight_decay: float, rules: Rules) -> optax.GradientTransformation:
  """Adds every parameter, times the weight decay and its factor."""

  def add(updates: dict, params: dict) -> dict:
    factors = rules.factors(params, "decay")
    return jax.tree.map(
      lambda u, p, f: u + weight_decay * f * p if f else u,
      updates,
      params,
      factors,
    )

  return optax.stateless(add) if weight_decay else optax.identity()


def _multiply_rates(rules: Rules) -> optax.GradientTransformation:
  """Multiplies every update by the factor of its learning rate."""

  def multiply(updates: dict, params: dict) -> dict:
    del params
    factors = rules.factors(updates, "lr")
    return jax.tree.map(lambda u, f: u * f, updates, factors)

  return optax.stateless(multiply)
