"""Learning-rate schedules and the optax chain."""

import jax
import jax.numpy as jnp
import optax

from mn_jax.config.experiment import OptimConfig
from mn_jax.train.rules import Rules

# Of the batch's growth, by `lr_scaling`. In proportion: Goyal et al. 2017,
# arXiv:1706.02677, for sgd. Its square root keeps the noise of Adam's steps:
# Malladi et al. 2022, arXiv:2205.10287; also You et al. 2020 for lamb.
_GROWTH = {"none": 0.0, "linear": 1.0, "sqrt": 0.5}


def peak_rate(config: OptimConfig, batch_size: int) -> float:
  """The schedule's highest learning rate for so many images per step."""
  growth = batch_size / config.lr_batch_size
  return config.learning_rate * growth ** _GROWTH[config.lr_scaling]


def make_schedule(
  config: OptimConfig,
  total_steps: int,
  warmup_steps: int,
  *,
  batch_size: int,
  decay_steps: int = 0,
) -> optax.Schedule:
  """Learning rate of a step, counted in completed updates.

  A linear warm-up from 0 to `peak_rate`, then 'constant', 'cosine' (to 0 at
  `total_steps`), 'step' (times `decay_factor` at each share `decay_at` of the
  run) or 'exponential' (times `decay_factor` every `decay_steps`, counted from
  the start of the run as in TensorFlow and timm).
  """
  peak = peak_rate(config, batch_size)
  if config.schedule == "constant":
    course = optax.constant_schedule(peak)
  elif config.schedule == "cosine":
    course = optax.cosine_decay_schedule(peak, total_steps - warmup_steps)
  elif config.schedule == "exponential":
    course = _exponential(config, peak, warmup_steps, decay_steps)
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


def _exponential(
  config: OptimConfig, peak: float, warmup_steps: int, decay_steps: int
) -> optax.Schedule:
  """The rate of steps after the warm-up."""

  def course(step: jax.Array) -> jax.Array:
    done = step + warmup_steps
    drops = done / decay_steps
    if config.decay_staircase:
      # Of integers: XLA multiplies floats by 1 / decay_steps, which may fall
      # short of a whole number.
      drops = jnp.float32(done // decay_steps)
    return peak * config.decay_factor**drops

  return course


def make_optimizer(
  config: OptimConfig, schedule: optax.Schedule, rules: Rules
) -> optax.GradientTransformation:
  """The chain of gradient clipping, the optimizer, its decay and its rate.

  Weight decay comes before the momentum of 'sgd' and 'lars' and the moment of
  'rmsprop' (L2), and after Adam's moments in 'adamw' and 'lamb' (decoupled).
  'rmsprop' is TensorFlow 1's and timm's RMSpropTF, of published recipes for
  MobileNets: its moment starts at 1, epsilon is inside the square root, and
  momentum is of steps already scaled by the rate. 'lars' (You et al. 2017,
  arXiv:1708.03888) and 'lamb' (You et al. 2020, arXiv:1904.00962) then scale
  the update of every parameter to the parameter's norm; those without weight
  decay, by convention biases and factors of BatchNorm, are left out of that.

  Args:
    config: which, with its numbers.
    schedule: learning rate by completed updates.
    rules: factors of learning rate and weight decay by parameter path. Frozen
      parameters are not given to the optimizer; see `Rules.split`.
  """
  parts = []
  if config.clip_norm:
    parts.append(optax.clip_by_global_norm(config.clip_norm))
  if config.name in ("adam", "adamw", "lamb"):
    parts.append(
      optax.scale_by_adam(b1=config.b1, b2=config.b2, eps=config.epsilon)
    )
  if config.name != "adam":
    parts.append(_decay(config.weight_decay, rules))
  if config.name == "rmsprop":
    parts.append(
      optax.scale_by_rms(config.b2, config.epsilon, initial_scale=1.0)
    )
  if config.name == "lars":
    parts.append(_scale_by_trust(config.trust_coefficient, rules))
  if config.name == "lamb":
    parts.append(_scale_by_trust(1.0, rules))
  momentum = optax.trace(config.momentum, nesterov=config.nesterov)
  if config.name == "sgd":
    parts.append(momentum)
  parts += [_multiply_rates(rules), optax.scale_by_learning_rate(schedule)]
  if config.name == "lars":
    # Of steps already scaled: a step keeps the rate that it was taken with.
    parts.append(momentum)
  if config.name == "rmsprop":
    parts.append(optax.trace(config.momentum))
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


def _scale_by_trust(
  coefficient: float, rules: Rules
) -> optax.GradientTransformation:
  """Scales updates to `coefficient` times the norms of their parameters."""

  def decayed(params: dict) -> dict:
    return jax.tree.map(bool, rules.factors(params, "decay"))

  return optax.masked(
    optax.scale_by_trust_ratio(trust_coefficient=coefficient), decayed
  )


def _multiply_rates(rules: Rules) -> optax.GradientTransformation:
  """Multiplies every update by the factor of its learning rate."""

  def multiply(updates: dict, params: dict) -> dict:
    del params
    factors = rules.factors(updates, "lr")
    return jax.tree.map(lambda u, f: u * f, updates, factors)

  return optax.stateless(multiply)
