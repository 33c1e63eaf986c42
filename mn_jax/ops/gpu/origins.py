"""Of arrays in a trace: what they were computed from.

A layer hands the next one a normalised map. A kernel that normalises on the way
wants the raw map, its factor and its offset instead; and BatchNorm wants the
sums that the kernel of the convolution before it made. Both are noted here
beside the arrays, while a program is traced, so that layers need not know. An
array without a note is an array like any other: notes make programs smaller,
never different.
"""

import dataclasses
import weakref
from collections.abc import Callable
from typing import Any

import jax

Activation = Callable[[jax.Array], jax.Array]
# Factor and offset, f32[channels] each.
Affine = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True)
class Normalised:
  """activation(raw * factor + offset)."""

  raw: jax.Array
  affine: Affine
  activation: Activation | None


@dataclasses.dataclass(frozen=True)
class Sums:
  """Sums per channel over images and pixels, f32[channels] each."""

  total: jax.Array
  squares: jax.Array


# By id: traced arrays cannot be hashed. An entry goes with its array.
_NOTES: dict[int, tuple[weakref.ref, Any]] = {}


def note(x: jax.Array, origin: Normalised | Sums) -> None:
  """Notes what `x` was computed from, or what was computed with it."""
  key = id(x)
  _NOTES[key] = weakref.ref(x, lambda _: _NOTES.pop(key, None)), origin


def find(x: jax.Array, kind: type) -> Any | None:
  """Returns the note of this kind on `x`, None where there is none."""
  reference, origin = _NOTES.get(id(x), (lambda: None, None))
  return origin if reference() is x and isinstance(origin, kind) else None
