"""Where a network is fake-quantised, and the ranges of its activations.

A network whose 'batch_stats' have ranges computes as its int8 file will: the
kernel of a convolution, multiplied by the factor of the BatchNorm behind it, is
rounded per output channel, and what the layers pass on is rounded per tensor.
Without ranges nothing here changes anything. `run.calibrate` computes them;
training updates them.

They are variables of the layers, f32[2] with the lowest and the highest value,
named as in RANGES.
"""

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from mn_jax.ops import fake_quant

# Collection in which `rounded` puts what it sees, if it is mutable.
OBSERVED = "ranges"
# Ends the name of every range.
_SUFFIX = "_range"
# Share of the old range that a step of training keeps.
_MOMENTUM = 0.99


def is_on(module: nn.Module, name: str = "output") -> bool:
  """Returns whether a layer is fake-quantised, or observed for that.

  Args:
    module: the layer, bound.
    name: of one of its ranges.
  """
  return _observing(module) or module.has_variable(
    "batch_stats", name + _SUFFIX
  )


def kernel(module: nn.Module, values: jax.Array) -> jax.Array:
  """Rounds a kernel f32[..., channels], unless the network is observed."""
  return values if _observing(module) else fake_quant.kernel(values)


def rounded(module: nn.Module, x: jax.Array, name: str) -> jax.Array:
  """Rounds an activation if its range is known.

  Where the running statistics are mutable, in training, the range grows first
  until it has all of `x`, or shrinks a little towards that of `x`.

  Args:
    module: the layer that computes it.
    x: f32[...].
    name: of the activation, one of its own for every activation of the layer.

  Returns:
    f32[...], `x` itself where there is no range.
  """
  name += _SUFFIX
  if _observing(module):
    module.sow(
      OBSERVED,
      name,
      _range(x),
      reduce_fn=lambda _, new: new,
      init_fn=lambda: None,
    )
    return x
  if not module.has_variable("batch_stats", name):
    return x
  limits = module.get_variable("batch_stats", name)
  if module.is_mutable_collection("batch_stats"):
    low, high = _range(x)
    kept = _MOMENTUM * limits + (1 - _MOMENTUM) * jnp.stack([low, high])
    # Nothing of a batch is clipped, as in files that are calibrated by the
    # extremes of all images.
    limits = jnp.stack([jnp.minimum(kept[0], low), jnp.maximum(kept[1], high)])
    module.put_variable("batch_stats", name, limits)
  return fake_quant.activation(x, limits)


def with_ranges(variables: dict, ranges: dict) -> dict:
  """Returns variables whose 'batch_stats' have ranges too.

  Args:
    variables: 'params' and 'batch_stats' of a network.
    ranges: what was put into `OBSERVED`.
  """
  stats = flax.traverse_util.flatten_dict(variables["batch_stats"])
  stats |= flax.traverse_util.flatten_dict(ranges)
  return {**variables, "batch_stats": flax.traverse_util.unflatten_dict(stats)}


def without_ranges(variables: dict) -> dict:
  """Returns variables without ranges: those of the network in float32."""
  stats = flax.traverse_util.flatten_dict(variables["batch_stats"])
  kept = {p: x for p, x in stats.items() if not p[-1].endswith(_SUFFIX)}
  return {**variables, "batch_stats": flax.traverse_util.unflatten_dict(kept)}


def _observing(module: nn.Module) -> bool:
  mutable = module.is_mutable_collection(OBSERVED)
  return mutable and not module.is_initializing()


def _range(x: jax.Array) -> jax.Array:
  x = jax.lax.stop_gradient(x)
  return jnp.stack([jnp.min(x), jnp.max(x)])
