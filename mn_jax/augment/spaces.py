"""RandAugment and TrivialAugment as published codes have them.

A space is a set of operations with the argument of each at every magnitude. The
same set goes by one name in several codes, with other arguments: those of
`SPACES` are what published recipes were trained with.

As in `randaugment`, a batch is computed as a whole: every operation runs once,
on the images that were drawn for it. Deviations from these codes:

- Operations run in the order of `operations`: first where pixels are, then
  colours, and one that is drawn twice for an image runs once.
- Pixels are interpolated bilinearly (timm: bilinear or bicubic, at random;
  TensorFlow: nearest). timm fills what is beyond the edges with the data set's
  mean, here it is grey.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp

from mn_jax.augment import operations
from mn_jax.config.sections.augment import AugmentConfig

# (share of the largest magnitude, random sign, side of the image in pixels)
# -> the operation's argument, each f32[batch] but for the side.
Argument = Callable[[jax.Array, jax.Array, int], jax.Array]

# The largest magnitude that these codes' tables are written for.
LEVELS = 10
# timm: from this standard deviation on, magnitudes are uniform from 0.
UNIFORM_STD = 100
# TrivialAugment draws one of so many magnitudes.
_BINS = 31


@dataclasses.dataclass(frozen=True)
class Space:
  """A set of operations and their arguments.

  Attributes:
    arguments: of each operation.
    highest: magnitudes are clipped to it; None: they are not.
    drawn: whether all magnitudes are equally likely, whatever is asked for.
    fill: grey level beyond the edges.
  """

  arguments: Mapping[str, Argument]
  highest: float | None
  drawn: bool = False
  fill: float = 128.0


def _none(share, sign, side):
  del sign, side
  return jnp.zeros_like(share)


def _signed(largest: float) -> Argument:
  return lambda share, sign, side: sign * share * largest


def _sides(largest: float) -> Argument:
  """A shift, given as a share of the image's side."""
  return lambda share, sign, side: sign * share * (largest * side)


def _whole(start: float, slope: float) -> Argument:
  """Start + slope * share, in whole numbers of the product."""

  def argument(share, sign, side):
    del sign, side
    return start + jnp.sign(slope) * jnp.floor(abs(slope) * share)

  return argument


def _factor(share, sign, side):
  """A colour's factor from 0.1 to 1.9, which is 1 in the middle."""
  del sign, side
  return 1.8 * share + 0.1


def _factor_increasing(share, sign, side):
  """A colour's factor that is the further from 1, the larger the magnitude."""
  del side
  return jnp.maximum(1 + sign * 0.9 * share, 0.1)


def _enhance(factor: Argument) -> dict[str, Argument]:
  names = ("color", "contrast", "brightness", "sharpness")
  return dict.fromkeys(names, factor)


_COMMON = {
  "autocontrast": _none,
  "equalize": _none,
  "invert": _none,
  "rotate": _signed(30),
  "shear_x": _signed(0.3),
  "shear_y": _signed(0.3),
  "solarize_add": _whole(0, 110),
}
# AutoAugment's table as TensorFlow's EfficientNet has it: posterize and
# solarize are the stronger, the smaller the magnitude.
_AUTOAUGMENT = {
  **_COMMON,
  "posterize": _whole(0, 4),
  "solarize": _whole(0, 256),
  **_enhance(_factor),
}
_RELATIVE = {"translate_x": _sides(0.45), "translate_y": _sides(0.45)}


def _tensorflow(translate: int, cutout: int = 0) -> Space:
  """AutoAugment's table with shifts and squares in pixels, not clipped."""
  more = {"cutout": _whole(0, cutout)} if cutout else {}
  shifts = dict.fromkeys(("translate_x", "translate_y"), _signed(translate))
  return Space({**_AUTOAUGMENT, **shifts, **more}, highest=None)


# timm 1.0, data/auto_augment.py; big_vision, pp/autoaugment.py; Model Garden's
# configs of MobileNetV4; torchvision's TrivialAugmentWide (Müller and Hutter,
# "TrivialAugment", 2021, table 7).
SPACES: dict[str, Space] = {
  "timm": Space({**_AUTOAUGMENT, **_RELATIVE}, highest=LEVELS),
  "timm_inc1": Space(
    {
      **_COMMON,
      "posterize": _whole(4, -4),
      "solarize": _whole(256, -256),
      **_enhance(_factor_increasing),
      **_RELATIVE,
    },
    highest=LEVELS,
  ),
  "big_vision": _tensorflow(translate=100, cutout=40),
  "mobilenet_v4_small": _tensorflow(translate=20),
  # Its config leaves translate_const to that of the configs' class.
  "mobilenet_v4_medium": _tensorflow(translate=10),
  "trivial_wide": Space(
    {
      "identity": _none,
      "autocontrast": _none,
      "equalize": _none,
      "rotate": _signed(135),
      "shear_x": _signed(0.99),
      "shear_y": _signed(0.99),
      "translate_x": _signed(32),
      "translate_y": _signed(32),
      "posterize": lambda share, sign, side: 8 - jnp.round(6 * share),
      "solarize": lambda share, sign, side: 255 * (1 - share),
      **_enhance(lambda share, sign, side: 1 + 0.99 * sign * share),
    },
    highest=None,
    drawn=True,
    fill=0.0,
  ),
}


def apply(
  images: jax.Array, key: jax.Array, config: AugmentConfig
) -> jax.Array:
  """Applies a few random operations of a space to every image.

  Args:
    images: f32[batch, h, w, 3] in [0, 255]; they are rounded.
    key: the source of randomness.
    config: fields randaugment and randaugment_*.

  Returns:
    f32[batch, h, w, 3], whole numbers in [0, 255].
  """
  space = SPACES[config.randaugment_space]
  draw_key, cutout_key = jax.random.split(key)
  size = (images.shape[1], images.shape[2])
  drawn = draw(draw_key, len(images), config, size=size)
  x = jnp.floor(images + 0.5)
  zero = jnp.zeros(len(images))
  moves = {
    name: jnp.where(*drawn[name], zero) if name in drawn else zero
    for name in operations.GEOMETRY
  }
  x = operations.warp(x, moves, fill=space.fill)
  for name, operation in operations.COLOURS.items():
    if name in drawn:
      on, argument = drawn[name]
      x = jnp.where(on.reshape(-1, 1, 1, 1), operation(x, argument), x)
  if "cutout" in drawn:
    pad = jnp.where(*drawn["cutout"], zero)
    x = operations.cutout(x, pad, cutout_key, fill=space.fill)
  return x


def draw(
  key: jax.Array, count: int, config: AugmentConfig, *, size: tuple[int, int]
) -> dict[str, tuple[jax.Array, jax.Array]]:
  """Draws operations and their arguments for every image.

  Args:
    key: the source of randomness.
    count: number of images.
    config: fields randaugment and randaugment_*.
    size: height and width of the images in pixels.

  Returns:
    For each operation bool[count], whether it is applied, and its argument
    f32[count].
  """
  space = SPACES[config.randaugment_space]
  names = tuple(space.arguments)
  choice_key, applied_key, magnitude_key, sign_key = jax.random.split(key, 4)
  layers = (count, config.randaugment)
  choices = jax.random.randint(choice_key, layers, 0, len(names))
  applied = jax.random.bernoulli(
    applied_key, config.randaugment_probability, layers
  )
  shape = (count, len(names))
  share = _magnitudes(magnitude_key, shape, space, config) / LEVELS
  sign = jnp.where(jax.random.bernoulli(sign_key, shape=shape), 1.0, -1.0)
  drawn = {}
  for i, name in enumerate(names):
    side = size[0] if name == "translate_y" else size[1]
    argument = space.arguments[name](share[:, i], sign[:, i], side)
    drawn[name] = (jnp.any(applied & (choices == i), axis=1), argument)
  return drawn


def _magnitudes(
  key: jax.Array, shape: tuple[int, int], space: Space, config: AugmentConfig
) -> jax.Array:
  """Draws f32[count, operations], the magnitudes from 0 to LEVELS or more."""
  if space.drawn:
    bins = jax.random.randint(key, shape, 0, _BINS)
    return bins.astype(jnp.float32) * (LEVELS / (_BINS - 1))
  magnitude, std = config.randaugment_magnitude, config.randaugment_std
  if std >= UNIFORM_STD:
    drawn = jax.random.uniform(key, shape, maxval=magnitude)
  else:
    drawn = magnitude + std * jax.random.normal(key, shape)
  return jnp.clip(drawn, 0, space.highest)
