"""Augmentation pipeline: all random changes of training images, in order."""

import jax
import jax.numpy as jnp

from mn_jax.augment import (
  colour,
  erasing,
  geometry,
  randaugment,
  resampling,
  spaces,
  stain,
)
from mn_jax.config.sections.augment import AugmentConfig


def augment(
  images: jax.Array, key: jax.Array, config: AugmentConfig
) -> jax.Array:
  """Augments every image at random, independently of the others.

  1. Whole pixels move, as bytes: flips, quarter turns, padded crop.
  2. Bytes become f32, and are resampled once: random crop, RandAugment's
     geometry.
  3. Colours, each in [0, 255] again: stains, brightness, contrast, saturation,
     hue, RandAugment's.
  4. RandAugment's and TrivialAugment's operations as others have them, on whole
     numbers (`spaces`), with a resampling of their own.
  5. Random erasing.

  What is off in `config` costs nothing. Mixup and CutMix, in `mix`, come later.

  Args:
    images: u8[batch, h, w, 3].
    key: the only source of randomness.
    config: the changes that are on, and their strengths.

  Returns:
    f32[batch, h, w, 3] in [0, 255].

  Raises:
    ValueError: for quarter turns of images that are not square.
  """
  (
    flip_key,
    turn_key,
    padding_key,
    crop_key,
    stain_key,
    brightness_key,
    contrast_key,
    saturation_key,
    hue_key,
    choice_key,
    erasing_key,
  ) = jax.random.split(key, 11)
  count = images.shape[0]
  if config.flip != "none":
    images = geometry.flip(images, flip_key, config.flip)
  if config.quarter_turns:
    images = geometry.quarter_turns(images, turn_key)
  if config.crop_padding:
    images = geometry.padded_crop(images, padding_key, config.crop_padding)
  x = images.astype(jnp.float32)

  strengths = None
  smooth = config.randaugment_space == "smooth"
  if config.randaugment and smooth:
    strengths = randaugment.draw(
      choice_key,
      count,
      choices=config.randaugment,
      magnitude=config.randaugment_magnitude,
    )
  x = _resample(x, crop_key, strengths, config)

  if config.stain:
    x = stain.jitter(x, stain_key, config.stain)
  for change, change_key, strength in (
    (colour.brightness, brightness_key, config.brightness),
    (colour.contrast, contrast_key, config.contrast),
    (colour.saturation, saturation_key, config.saturation),
  ):
    if strength:
      x = change(x, 1 + colour.random_changes(change_key, count, strength))
  if config.hue:
    x = colour.hue(x, colour.random_changes(hue_key, count, config.hue))
  if config.randaugment:
    if smooth:
      x = randaugment.recolour(x, strengths)
    else:
      x = spaces.apply(x, choice_key, config)
  if config.erasing:
    x = erasing.erase(x, erasing_key, config.erasing)
  return x


def _resample(
  images: jax.Array,
  key: jax.Array,
  strengths: dict[str, jax.Array] | None,
  config: AugmentConfig,
) -> jax.Array:
  """Random crop and RandAugment's geometry, if they are on, in one resampling.

  Args:
    images: f32[batch, h, w, 3].
    key: of the crops.
    strengths: of RandAugment's operations.
    config: the changes that are on.

  Returns:
    f32[batch, h, w, 3].
  """
  count, *size, _ = images.shape
  crops = None
  if config.crop_scale < 1:
    crops = geometry.random_crops(
      key, count, size=tuple(size), min_area=config.crop_scale
    )
  if strengths is None:
    if crops is None:
      return images
    return resampling.scale_and_translate(images, crops)
  maps = randaugment.maps(strengths, tuple(size))
  if crops is not None:
    maps = geometry.compose(maps, crops)
  return resampling.warp(images, maps)
