"""The norm of all gradients together, computed beside the update."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

# Larger gradients are not worth a copy.
_SMALL = 20_000


def with_norm(grads: dict) -> tuple[dict, jax.Array]:
  """Computes the Euclidean norm of all gradients together.

  Args:
    grads: tree of f32[...].

  Returns:
    The gradients, bit for bit, in what form the update reads best; and f32[].
  """
  leaves, structure = jax.tree.flatten(grads)
  leaves, norm = lax.platform_dependent(leaves, **FORMULATIONS)
  return structure.unflatten(leaves), norm


def by_products(
  leaves: Sequence[jax.Array],
) -> tuple[list[jax.Array], jax.Array]:
  """Adds a dot product of each gradient.

  XLA's CPU backend would write squares to memory first.
  """
  vectors = [x.reshape(-1) for x in leaves]
  return list(leaves), jnp.sqrt(sum(jnp.dot(x, x) for x in vectors))


def by_vector(leaves: Sequence[jax.Array]) -> tuple[list[jax.Array], jax.Array]:
  """Gathers the small gradients in one vector, and returns them as parts of it.

  XLA's GPU backend then updates parameters of one shape in one kernel, as it
  does where kernels read the same array, and has no kernels for the norm of
  each: the rest of them is one sum.
  """
  leaves = list(leaves)
  small = [i for i, x in enumerate(leaves) if x.size <= _SMALL]
  # Sums of rows, which kernels of the update compute as they read the gradient.
  squares = [
    jnp.sum(jnp.square(x), axis=-1).reshape(-1)
    for x in leaves
    if x.size > _SMALL
  ]
  if small:
    vector = jnp.concatenate([leaves[i].reshape(-1) for i in small])
    vector = lax.optimization_barrier(vector)
    squares.append(jnp.square(vector))
    start = 0
    for i in small:
      part = lax.slice(vector, (start,), (start + leaves[i].size,))
      start += leaves[i].size
      leaves[i] = part.reshape(leaves[i].shape)
  # Behind a barrier, or XLA would take the sum apart again.
  total = jnp.sum(lax.optimization_barrier(jnp.concatenate(squares)))
  return leaves, jnp.sqrt(total)


# The formulation of each platform. Only the CPU's has been measured; the GPU's
# is by the kernels of the compiled program.
FORMULATIONS = {
  "cuda": by_vector,
  "rocm": by_vector,
  "default": by_products,
}
