"""Draws textured images of any number of classes, for the generated samples.

Two colours alternate in a random pattern. Classes come in pairs that share
their colours and the size of the pattern: one of a pair has blobs, the other
streaks. So colour narrows the class down and texture decides, and a small
network learns both. Many images have something of both textures, some of them
about as much of one as of the other: no classifier can be perfect. Light,
colour, size and direction of the pattern differ by image.
"""

import numpy as np
from numpy.random import Generator
from PIL import Image

_SIDE = 64  # Of the pattern, which is then enlarged to the size of the image.
_STREAK = 3.0  # Length of a streak over its width.

# Ground and pattern of a pair of classes, f64[5, 2, 3], RGB in [0, 255].
_COLOURS = np.array(
  [
    [[205, 160, 135], [70, 105, 75]],
    [[225, 190, 215], [125, 75, 145]],
    [[150, 190, 225], [45, 75, 120]],
    [[235, 225, 180], [190, 110, 60]],
    [[190, 190, 190], [75, 70, 85]],
  ],
  np.float64,
)


def draw(
  rng: Generator,
  label: int,
  num_classes: int,
  *,
  height: int,
  width: int,
  look: np.ndarray,
) -> np.ndarray:
  """Draws an image of a class.

  Args:
    rng: generator of this image.
    label: in [0, num_classes).
    num_classes: at most 10; with an odd number the last class has no partner.
    height, width: in pixels.
    look: f64[4], factors of red, green, blue and the size of the pattern, which
      the images of one slide or person have in common.

  Returns:
    u8[height, width, 3], RGB.
  """
  pairs = (num_classes + 1) // 2
  has_streaks, pair = divmod(label, pairs)
  size = 0.1 + 0.06 * pair / pairs  # Of a blob, in sides of the image.
  size *= look[3] * np.exp(rng.normal(0, 0.1))
  own, other = (_STREAK, 1.0) if has_streaks else (1.0, _STREAK)
  mixture = 0.29 * np.pi * rng.beta(1, 1.7)
  pattern = np.cos(mixture) * _pattern(rng, size, own)
  pattern += np.sin(mixture) * _pattern(rng, size, other)
  pattern = _resize(pattern, height, width) + rng.normal(0, 0.25)
  cover = 1 / (1 + np.exp(-rng.uniform(2, 8) * pattern[..., None]))

  ground, colour = _COLOURS[pair] * np.exp(rng.normal(0, 0.08, (2, 1)))
  rgb = ground + rng.uniform(0.6, 1) * cover * (colour - ground)
  rgb *= look[:3] * np.exp(rng.normal(0, 0.1, 3))
  rgb *= 1 + 0.1 * _resize(_pattern(rng, 0.5, 1.0), height, width)[..., None]
  rgb += rng.normal(0, rng.uniform(2, 8), rgb.shape)
  return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def _pattern(rng: Generator, size: float, stretch: float) -> np.ndarray:
  """Random field f64[64, 64] of zero mean and unit variance.

  `size` is that of a blob, or the width of a streak, in sides of the image;
  `stretch` is the length of a streak over its width, in a random direction.
  """
  noise = np.fft.rfft2(rng.standard_normal((_SIDE, _SIDE)))
  y, x = np.fft.fftfreq(_SIDE)[:, None], np.fft.rfftfreq(_SIDE)[None]
  angle = rng.uniform(0, np.pi)
  across = x * np.cos(angle) + y * np.sin(angle)
  along = y * np.cos(angle) - x * np.sin(angle)
  frequency = np.hypot(across, stretch * along) * 2 * size * _SIDE
  field = np.fft.irfft2(noise * np.exp(-(((frequency - 1) / 0.35) ** 2)))
  return (field - field.mean()) / field.std()


def _resize(field: np.ndarray, height: int, width: int) -> np.ndarray:
  """Resizes a field f64[64, 64] to f32[height, width]."""
  image = Image.fromarray(field.astype(np.float32))
  return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))
