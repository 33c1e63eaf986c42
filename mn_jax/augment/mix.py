"""Mixup and CutMix: two images and their targets mixed."""

import jax
import jax.numpy as jnp
from jax import lax

from mn_jax.augment import boxes
from mn_jax.config.sections.augment import AugmentConfig


def mix(
  images: jax.Array,
  targets: jax.Array,
  key: jax.Array,
  config: AugmentConfig,
  *,
  mask: jax.Array,
) -> tuple[jax.Array, jax.Array]:
  """Mixes every image with the next one of the batch.

  Mixup (Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018) adds
  the two; CutMix (Yun et al., "CutMix", 2019) pastes a rectangle of one into
  the other. The order of a batch is random, and so are the pairs. Every image
  has a share of its own, drawn from Beta(alpha, alpha). If both are on, one of
  them is chosen for the whole batch, with probability 1/2 each.

  Args:
    images: f32[batch, h, w, 3].
    targets: f32[batch, classes], in [0, 1]: one-hot or multi-hot.
    key: the source of randomness.
    config: its fields mixup and cutmix are alpha, 0 for off; with both off
      nothing is changed.
    mask: f32[batch], 0 for padding images, which are mixed into no other.

  Returns:
    Images and targets of the same shapes.
  """
  if not (config.mixup or config.cutmix):
    return images, targets
  # Or XLA would compute every image twice: for itself, and for its neighbour.
  images = lax.optimization_barrier(images)
  choice_key, share_key, place_key = jax.random.split(key, 3)
  count, size = images.shape[0], images.shape[1:3]
  pastes = jnp.array(not config.mixup)
  if config.mixup and config.cutmix:
    pastes = jax.random.bernoulli(choice_key)
  alpha = jnp.where(pastes, config.cutmix, config.mixup)
  # Drawn once for either of them: it takes seconds to compile.
  share = jax.random.beta(share_key, alpha, alpha, (count,))
  weights = share.reshape(-1, 1, 1, 1)
  if config.cutmix:
    outside, outside_share = cut(place_key, share, size=size)
    share = jnp.where(pastes, outside_share, share)
    weights = jnp.where(pastes, outside, weights)
  valid = jnp.roll(mask, -1) > 0
  share = jnp.where(valid, share, 1).reshape(-1, 1)
  weights = jnp.where(valid.reshape(-1, 1, 1, 1), weights, 1)
  return _blend(images, weights), _blend(targets, share)


def cut(
  key: jax.Array, share: jax.Array, *, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
  """Draws a random rectangle of each image, for CutMix.

  Its centre is uniform in the image, and the rectangle is clipped to the image
  (Yun et al. 2019, section 3.1).

  Args:
    key: the source of randomness.
    share: f32[batch] in [0, 1], the share of the pixels outside of the
      rectangle before it is clipped.
    size: height and width of the images in pixels.

  Returns:
    f32[batch, h, w, 1], 1 outside of the rectangle and 0 inside, where the
    other image is pasted; and f32[batch], the share of the pixels outside.
  """
  row_key, column_key = jax.random.split(key)
  side = jnp.sqrt(1 - share)
  start, stop, pasted = [], [], 1
  for axis_key, pixels in zip((row_key, column_key), size, strict=True):
    length = jnp.round(side * pixels).astype(jnp.int32)
    center = jax.random.randint(axis_key, share.shape, 0, pixels)
    first = jnp.clip(center - length // 2, 0, pixels)
    last = jnp.clip(center - length // 2 + length, 0, pixels)
    start.append(first)
    stop.append(last)
    pasted *= last - first
  inside = boxes.inside(tuple(start), tuple(stop), size)
  outside_share = 1 - pasted.astype(jnp.float32) / (size[0] * size[1])
  return 1 - inside.astype(jnp.float32), outside_share


def _blend(x: jax.Array, weights: jax.Array) -> jax.Array:
  return x * weights + jnp.roll(x, -1, axis=0) * (1 - weights)
