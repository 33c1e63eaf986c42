"""Stain normalisation of H&E slides by Macenko's method, one slide at a time.

Macenko et al., "A method for normalizing histology slides for quantitative
analysis", ISBI 2009. In optical density each pixel is a mixture of haematoxylin
and eosin. The colours of both are estimated from all images of a slide, and
replaced by reference colours, the amounts scaled to those of a reference.

A patch is too small to be estimated alone: with few nuclei there is no
haematoxylin to see, and how much of each stain a patch has is what a classifier
needs. What is neither stain is kept, so nothing is lost, and glass stays glass.
"""

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterator

import numpy as np

from mn_jax.data import derived
from mn_jax.data.cache import PackedCache

# Of the numbers below: other ones make other pixels.
_VERSION = 1
# Pixels below this density in any channel are nearly glass; percentile of the
# angles that are taken for pure stains (Macenko et al., beta and alpha).
_GLASS = 0.15
_ANGLE = 1.0
_AMOUNT = 99.0  # percentile that is scaled to the reference
# Reference colours and amounts: those of Macenko's published code.
_REFERENCE = np.array([[0.5626, 0.7201, 0.4062], [0.2159, 0.8012, 0.5581]])
_REFERENCE_AMOUNTS = np.array([1.9705, 1.0308])
_PIXELS = 100_000  # of a slide that are looked at, spread evenly
_LEAST = 1_000  # with stain, or the slide is left as it is
_SMALLEST_ANGLE = np.deg2rad(5)  # between the stains
_NAMED = 5  # groups with too little stain


@dataclasses.dataclass(frozen=True)
class Stains:
  """The stains of a slide.

  Attributes:
    colours: f64[2, 3], unit vectors: optical density of red, green and blue
      per unit of haematoxylin and of eosin.
    amounts: f64[2], 99th percentile of the amount of each.
  """

  colours: np.ndarray
  amounts: np.ndarray


REFERENCE = Stains(
  _REFERENCE / np.linalg.norm(_REFERENCE, axis=1, keepdims=True),
  _REFERENCE_AMOUNTS * np.linalg.norm(_REFERENCE, axis=1),
)


def estimate(pixels: np.ndarray) -> Stains | None:
  """Estimates the stains of a slide.

  Args:
    pixels: u8[n, 3].

  Returns:
    Its stains; None if too few pixels are stained, or by one stain alone.
  """
  density = _density(pixels)
  stained = density[(density >= _GLASS).all(axis=1)]
  if len(stained) < _LEAST:
    return None
  _, vectors = np.linalg.eigh(np.cov(stained.T))
  plane = vectors[:, [2, 1]]  # of the largest variance
  # Angles are counted from the direction of the densities, not its opposite.
  plane[:, 0] *= np.sign((stained @ plane[:, 0]).mean())
  projected = stained @ plane
  angles = np.arctan2(projected[:, 1], projected[:, 0])
  ends = np.percentile(angles, [_ANGLE, 100 - _ANGLE])
  if ends[1] - ends[0] < _SMALLEST_ANGLE:
    return None
  colours = np.stack([plane @ (np.cos(end), np.sin(end)) for end in ends])
  # Haematoxylin takes more red away than eosin.
  colours = colours[np.argsort(-colours[:, 0])]
  if (colours < -0.1).any():  # no stain lets more light through
    return None
  amounts = np.percentile(stained @ np.linalg.pinv(colours), _AMOUNT, axis=0)
  return Stains(colours, amounts) if (amounts > 0).all() else None


def transform(stains: Stains, target: Stains = REFERENCE) -> np.ndarray:
  """Returns f64[3, 3], which optical densities f[..., 3] are multiplied by."""
  scale = np.append(target.amounts / stains.amounts, 1.0)
  return np.linalg.inv(_basis(stains)) @ np.diag(scale) @ _basis(target)


def apply(images: np.ndarray, matrix: np.ndarray) -> np.ndarray:
  """Changes the stains of images.

  Args:
    images: u8[..., h, w, 3].
    matrix: f64[..., 3, 3], of `transform`, broadcast against the images.

  Returns:
    u8[..., h, w, 3].
  """
  light = 256 * np.exp(-(_density(images) @ matrix)) - 1
  return np.clip(np.rint(light), 0, 255).astype(np.uint8)


def normalise(
  cache: PackedCache, groups: np.ndarray, folder: pathlib.Path
) -> PackedCache:
  """Returns a data set with normalised stains; they are computed once.

  Args:
    cache: the packed images.
    groups: str[n], the slide or patient of each.
    folder: where the pixels are kept, and found by the next call.
  """
  text = "\n".join([str(_VERSION), cache.sha256, *groups.tolist()])
  sha256 = hashlib.sha256(text.encode()).hexdigest()
  images, notes = derived.open_or_build(
    folder / f"macenko-{sha256[:16]}.u8",
    cache.images.shape,
    functools.partial(_build, cache.images, groups),
  )
  return dataclasses.replace(
    cache, images=images, sha256=sha256, notes=(*cache.notes, *notes)
  )


def _build(
  images: np.ndarray, groups: np.ndarray
) -> tuple[Iterator[np.ndarray], tuple[str, ...]]:
  """Returns normalised images, and a line on them."""
  names, index = np.unique(groups, return_inverse=True)
  matrices, left = np.tile(np.eye(3), (len(names), 1, 1)), []
  for k, name in enumerate(names):
    found = estimate(_sample(images, np.flatnonzero(index == k)))
    if found is None:
      left.append(str(name))
    else:
      matrices[k] = transform(found)
  note = f"stains are normalised, of {len(names)} groups each alone"
  if left:
    note += f"; {len(left)} have too little stain and are as they were: "
    note += ", ".join(left[:_NAMED]) + ", ..." * (len(left) > _NAMED)
  blocks = (
    apply(images[rows], matrices[index[rows], None])
    for start in range(0, len(images), derived.BLOCK)
    for rows in [slice(start, start + derived.BLOCK)]
  )
  return blocks, (note,)


def _sample(images: np.ndarray, rows: np.ndarray) -> np.ndarray:
  """Returns u8[n, 3], pixels spread evenly over some images."""
  pixels = images[rows].reshape(-1, 3)
  return pixels[:: max(1, len(pixels) // _PIXELS)]


def _density(pixels: np.ndarray) -> np.ndarray:
  """Returns f64[..., 3], optical densities; one is added, or black had none."""
  return -np.log((pixels.astype(np.float64) + 1) / 256)


def _basis(stains: Stains) -> np.ndarray:
  """Returns f64[3, 3], both stains and what is at right angles to them."""
  residual = np.cross(*stains.colours)
  return np.stack([*stains.colours, residual / np.linalg.norm(residual)])
