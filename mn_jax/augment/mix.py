"""Two images and their targets mixed: mixup and CutMix."""

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
  has a share of its own, drawn from Beta(alpha, alpha). With both, one of them
  is drawn for the whole batch, with 1/2 each.

  Args:
    images: f32[batch, h, w, 3].
    targets: f32[batch, classes], each row with the sum 1.
    key: the source of randomness.
    config: fields mixup and cutmix; with neither nothing is changed.
    mask: f32[batch], 0 for images that count nothing; none gets into others.

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
    kept, kept_share = cut(place_key, share, size=size)
    share = jnp.where(pastes, kept_share, share)
    weights = jnp.where(pastes, kept, weights)
  valid = jnp.roll(mask, -1) > 0
  share = jnp.where(valid, share, 1).reshape(-1, 1)
  weights = jnp.where(valid.reshape(-1, 1, 1, 1), weights, 1)
  return _blend(images, weights), _blend(targets, share)


def cut(
  key: jax.Array, share: jax.Array, *, size: tuple[int, int]
) -> tuple[jax.Array, jax.Array]:
  """A random rectangle of each image, for CutMix.

  Its centre is anywhere in the image, and what would be outside is cut off (Yun
  et al. 2019, section 3.1).

  Args:
    key: the source of randomness.
    share: f32[batch] in [0, 1], of the pixels that would stay if nothing were
      cut off.
    size: height and width of the images in pixels.

  Returns:
    f32[batch, h, w, 1], 1 where a pixel stays and 0 where the other image is
    pasted; and f32[batch], the share of the pixels that stay.
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
  kept_share = 1 - pasted.astype(jnp.float32) / (size[0] * size[1])
  return 1 - inside.astype(jnp.float32), kept_share


def _blend(x: jax.Array, weights: jax.Array) -> jax.Array:
  return x * weights + jnp.roll(x, -1, axis=0) * (1 - weights)
