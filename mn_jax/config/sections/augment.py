"""Section `augment`."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Random changes of training images, made on the device.

  In what order, and what each one is: `mn_jax/augment/`.
  """

  flip: str = field(
    "none",
    "mirror with 1/2 left-right (horizontal), or that and, with 1/2, up-down "
    "(both); photographs and X-rays have an upside",
    choices=("none", "horizontal", "both"),
  )
  quarter_turns: bool = field(False, "turn by 0, 90, 180 or 270 degrees")
  crop_padding: int = field(
    0, "move by up to so many pixels, the edge reflected", low=0, high=1024
  )
  crop_scale: float = field(
    1.0,
    "random resized crop: smallest share of the area, sides up to 4:3; 1: none",
    low=0.01,
    high=1,
  )
  brightness: float = field(
    0.0, "multiply by 1 - this to 1 + this", low=0, high=1
  )
  contrast: float = field(
    0.0, "the same for differences from the image's mean grey", low=0, high=1
  )
  saturation: float = field(
    0.0, "the same for differences from a pixel's grey", low=0, high=1
  )
  hue: float = field(
    0.0, "turn the hue by up to this, in whole turns", low=0, high=0.5
  )
  stain: float = field(
    0.0,
    "H&E slides: multiply the amount of each stain by 1 - this to 1 + this, "
    "and add -this to this in optical density",
    low=0,
    high=1,
  )
  erasing: float = field(
    0.0, "probability that a random rectangle is covered", low=0, high=1
  )
  mixup: float = field(
    0.0,
    "alpha of the beta distribution of mixup's shares; 0: none; with cutmix, "
    "each batch has one of them",
    low=0,
    high=100,
  )
  cutmix: float = field(0.0, "the same for CutMix", low=0, high=100)
  randaugment: int = field(
    0, "operations per image after RandAugment; 0: none", low=0, high=12
  )
  randaugment_magnitude: float = field(
    9.0, "their magnitude; 0 changes nothing", low=0, high=10
  )
