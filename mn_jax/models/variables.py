"""Shapes and initial values of a network's variables, without compiling it."""

import hashlib

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np


def shapes(module: nn.Module, resolution: int) -> dict:
  """Returns the shapes of a network's variables.

  Args:
    module: a network of this package.
    resolution: input height and width in pixels.

  Returns:
    {'params': ..., 'batch_stats': ...} of ShapeDtypeStructs; without BatchNorm
    the second is empty.
  """
  image = jax.ShapeDtypeStruct((1, resolution, resolution, 3), jnp.float32)
  traced = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x, False), image
  )
  return {"batch_stats": {}, **traced}


def initial_values(module: nn.Module, resolution: int, seed: int) -> dict:
  """Initialises a network's variables, randomly and with NumPy.

  Compiling `module.init` takes 5-25 s, tracing it less than one. The values
  have the distributions that the layers declare. Each is drawn from (seed,
  path), so they are the same on every backend.

  Args:
    module: a network of this package.
    resolution: input height and width in pixels.
    seed: of the random numbers.

  Returns:
    {'params': ..., 'batch_stats': ...}, f32 NumPy arrays; without BatchNorm
    the second is empty.
  """
  flat = flax.traverse_util.flatten_dict(shapes(module, resolution))
  weight = 0.0 if module.norm_debias else 1.0
  values = flax.traverse_util.unflatten_dict(
    {path: _draw(path, leaf.shape, seed, weight) for path, leaf in flat.items()}
  )
  return {"batch_stats": {}, **values}


def _draw(
  path: tuple[str, ...], shape: tuple[int, ...], seed: int, weight: float
) -> np.ndarray:
  constants = {
    "scale": 1.0,
    "bias": 0.0,
    "mean": 0.0,
    "var": 1.0,
    "weight": weight,
  }
  if path[-1] in constants:
    return np.full(shape, constants[path[-1]], np.float32)
  # Glorot uniform: see layers.kernel_init.
  window = int(np.prod(shape[:-2]))
  limit = np.sqrt(6 / (window * (shape[-2] + shape[-1])))
  words = hashlib.sha256(f"{seed}\t{'/'.join(path)}".encode()).digest()
  key = np.frombuffer(words[:16], np.uint64)
  draw = np.random.Generator(np.random.Philox(key=key))
  return draw.uniform(-limit, limit, shape).astype(np.float32)
