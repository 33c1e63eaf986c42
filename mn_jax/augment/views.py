"""Views of an image for test-time augmentation: symmetries of the square.

A view is a mirror image or a quarter turn, so no pixel is interpolated. What a
network says of several views of an image is averaged by `metrics.ensemble`.
Only those views are sensible that training showed the network too: an X-ray
with its head down is an image that it never saw.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


@dataclasses.dataclass(frozen=True)
class View:
  """A symmetry of the square.

  Attributes:
    turns: counter-clockwise quarter turns, 0 to 3.
    mirrored: whether left and right are swapped before.
  """

  turns: int = 0
  mirrored: bool = False

  def __call__(self, images: np.ndarray | jax.Array) -> Any:
    """Returns the view of images.

    Args:
      images: [..., h, w, channels] of any dtype, NumPy's or JAX's; square for
        odd numbers of turns.

    Returns:
      The same shape and dtype.

    Raises:
      ValueError: for an odd number of turns of images that are not square.
    """
    height, width = images.shape[-3:-1]
    if self.turns % 2 and height != width:
      raise ValueError(
        f"images: got {height}x{width} pixels; valid: square ones for quarter "
        "turns"
      )
    if self.mirrored:
      images = images[..., ::-1, :]
    for _ in range(self.turns):
      images = images.swapaxes(-3, -2)[..., ::-1, :, :]
    return images


PLAIN = View()
# Each is a group: the views of a view are the same views.
KINDS: Mapping[str, tuple[View, ...]] = {
  "horizontal": (PLAIN, View(mirrored=True)),
  "flips": (PLAIN, View(mirrored=True), View(2), View(2, mirrored=True)),
  "turns": tuple(View(turns) for turns in range(4)),
  "dihedral": tuple(
    View(turns, mirrored) for mirrored in (False, True) for turns in range(4)
  ),
}


def trained(flip: str, quarter_turns: bool) -> str:
  """Returns the kind of views that training showed the network.

  Args:
    flip: `augment.flip`.
    quarter_turns: `augment.quarter_turns`.

  Returns:
    A name in KINDS; '' if training neither mirrors nor turns, as where images
    have an orientation.
  """
  if quarter_turns:
    return "turns" if flip == "none" else "dihedral"
  return {"none": "", "horizontal": "horizontal", "both": "flips"}[flip]
