"""Stain jitter of histological images: haematoxylin and eosin (H&E)."""

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import colour


def _unit(vector: np.ndarray) -> np.ndarray:
  return vector / np.linalg.norm(vector)


# Optical density of red, green and blue per unit of haematoxylin and of eosin:
# Ruifrok & Johnston, "Quantification of histochemical staining by color
# deconvolution", 2001. The third row, at right angles to both, takes up what
# is neither.
_STAINS = np.array([_unit([0.65, 0.70, 0.29]), _unit([0.07, 0.99, 0.11])])
_STAINS = np.stack([*_STAINS, _unit(np.cross(*_STAINS))])


def jitter(images: jax.Array, key: jax.Array, strength: float) -> jax.Array:
  """Changes the amounts of both stains at random.

  In each image, the amount of each stain is multiplied by a uniform number from
  1 - strength to 1 + strength, and a uniform number from -strength to strength
  is added (Tellez et al., "Whole-slide mitosis detection in H&E breast
  histology using PHH3 as a reference", 2018). The residual after both stains
  does not change, and unlike there, no more of a stain is removed than there
  is: glass would turn green.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    key: the source of randomness.
    strength: in [0, 1]; the added number is in optical density, the natural
      logarithm of incident over transmitted light.

  Returns:
    f32[batch, h, w, 3] in [0, 255].
  """
  scale_key, shift_key = jax.random.split(key)
  shape = (images.shape[0], 2)
  scale = jax.random.uniform(scale_key, shape, minval=-1.0, maxval=1.0)
  shift = jax.random.uniform(shift_key, shape, minval=-1.0, maxval=1.0)
  return restain(images, 1 + strength * scale, strength * shift)


def restain(images: jax.Array, scale: jax.Array, shift: jax.Array) -> jax.Array:
  """Multiplies amounts of haematoxylin and eosin, and adds to them.

  Args:
    images: f32[batch, h, w, 3] in [0, 255].
    scale: f32[batch, 2], factors of haematoxylin and eosin.
    shift: f32[batch, 2], added to them, in optical density.

  Returns:
    f32[batch, h, w, 3] in [0, 255]. Factors of 1 and shifts of 0 leave the
    images as they are, up to rounding. Where less than nothing of a stain would
    be left, nothing is.
  """
  # One is added, or black would be infinitely dense.
  density = -jnp.log((images + 1) / 256)
  amounts = np.float32(np.linalg.inv(_STAINS)[:, :2])
  stains = np.float32(_STAINS[:2])
  more = jnp.zeros_like(density)
  for i in range(2):
    amount = sum(density[..., c : c + 1] * amounts[c, i] for c in range(3))
    factor, added = (x[:, i].reshape(-1, 1, 1, 1) for x in (scale, shift))
    changed = jnp.maximum(amount * factor + added, jnp.minimum(amount, 0))
    more += (changed - amount) * stains[i].reshape(1, 1, 1, 3)
  return colour.clip((images + 1) * jnp.exp(-more) - 1)
