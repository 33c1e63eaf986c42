"""Section `augment`: random changes of training images."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Random changes of training images, made on the device.

  `mn_jax/augment/` applies them and documents their order.
  """

  flip: str = field(
    "none",
    "mirror left-right with probability 1/2 (horizontal), and up-down as well "
    "(both), for images with no canonical orientation",
    choices=("none", "horizontal", "both"),
  )
  quarter_turns: bool = field(False, "rotate by 0, 90, 180 or 270 degrees")
  repeats: int = field(
    1,
    "repeated augmentation: times that an image is in its batch, each with "
    "changes of its own; an epoch has as many images, fewer different ones",
    low=1,
    high=64,
  )
  crop_padding: int = field(
    0, "shift by up to this many pixels, edges reflected", low=0, high=1024
  )
  crop_scale: float = field(
    1.0,
    "random resized crop: smallest share of the area, aspect ratio up to 4:3; "
    "1: none; of the packed square, or with data.short_side of the whole image",
    low=0.01,
    high=1,
  )
  brightness: float = field(
    0.0, "multiply by a factor of 1 - this to 1 + this", low=0, high=1
  )
  contrast: float = field(
    0.0,
    "scale differences from the image's mean grey by 1 - this to 1 + this",
    low=0,
    high=1,
  )
  saturation: float = field(
    0.0,
    "scale differences from each pixel's grey by 1 - this to 1 + this",
    low=0,
    high=1,
  )
  hue: float = field(
    0.0, "rotate the hue by up to this, in full turns", low=0, high=0.5
  )
  stain: float = field(
    0.0,
    "H&E slides: multiply the amount of each stain by 1 - this to 1 + this, "
    "and add -this to this in optical density",
    low=0,
    high=1,
  )
  erasing: float = field(
    0.0, "probability of erasing a random rectangle", low=0, high=1
  )
  mixup: float = field(
    0.0,
    "mixup: alpha of the beta distribution; 0: none; with cutmix, each batch "
    "gets one of the two at random",
    low=0,
    high=100,
  )
  cutmix: float = field(
    0.0, "CutMix: alpha of the beta distribution; 0: none", low=0, high=100
  )
  randaugment: int = field(
    0, "RandAugment: operations per image; 0: none", low=0, high=12
  )
  randaugment_space: str = field(
    "smooth",
    "RandAugment: operations and their strengths: smooth, those of "
    "mn_jax/augment/randaugment.py; or as published recipes have them, in "
    "mn_jax/augment/spaces.py; trivial_wide with randaugment=1 is "
    "TrivialAugment, whatever the magnitude",
    choices=(
      "smooth",
      "timm",
      "timm_inc1",
      "big_vision",
      "mobilenet_v4_small",
      "mobilenet_v4_medium",
      "trivial_wide",
    ),
  )
  randaugment_magnitude: float = field(
    9.0,
    "RandAugment: magnitude, up to 10 in smooth, where 0 changes nothing",
    low=0,
    high=30,
  )
  randaugment_std: float = field(
    0.0,
    "RandAugment, not smooth: standard deviation of the magnitude (timm: "
    "mstd); from 100 on, it is uniform from 0 to the magnitude",
    low=0,
    high=1000,
  )
  randaugment_probability: float = field(
    1.0,
    "RandAugment, not smooth: probability of applying an operation that was "
    "chosen (timm: 0.5)",
    low=0,
    high=1,
  )
