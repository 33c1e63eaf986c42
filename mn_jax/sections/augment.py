"""Section `augment`."""

import dataclasses

from mn_jax.sections.field import field


@dataclasses.dataclass(frozen=True)
class AugmentConfig:
  """Random changes of training images, made on the device."""

  flip: bool = field(False, "mirror left-right and up-down, each with 1/2")
  quarter_turns: bool = field(False, "turn by 0, 90, 180 or 270 degrees")
