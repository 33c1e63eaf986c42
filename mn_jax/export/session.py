"""An exported file as its own runtime has opened it."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Outputs(NamedTuple):
  """What a file computes of a batch, f32[batch, classes] each."""

  probabilities: np.ndarray
  logits: np.ndarray


@dataclasses.dataclass(frozen=True)
class Session:
  """An opened file.

  Attributes:
    run: maps images, u8[batch, h, w, 3] or f32 where it takes normalised ones,
      to the outputs.
    batch: number of images that a call takes; None for any.
    metadata: the description that is in the file, as JSON; '' where the format
      has no room for one.
  """

  run: Callable[[np.ndarray], Outputs]
  batch: int | None
  metadata: str
