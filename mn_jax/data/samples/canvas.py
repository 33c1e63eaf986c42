"""Draws the parts of stained tissue: nuclei, fibres and regions, by amount."""

import dataclasses

import numpy as np
from numpy.random import Generator

# Optical density per unit of haematoxylin and eosin (rows) for red, green and
# blue. Haematoxylin: Ruifrok & Johnston, "Quantification of histochemical
# staining by color deconvolution", 2001. Their eosin (0.07, 0.99, 0.11) is more
# magenta than scanned slides are; this one is the usual reference in the method
# of Macenko et al., "A method for normalizing histology slides for quantitative
# analysis", 2009.
STAINS = np.array([[0.65, 0.70, 0.29], [0.2159, 0.8012, 0.5581]])

_REACH = 6  # Pixels around the centre of a nucleus in which it is drawn.


@dataclasses.dataclass(frozen=True)
class Canvas:
  """A square of tissue and the random numbers that it is drawn from.

  Attributes:
    rng: generator of the image.
    size: pixels per side.
  """

  rng: Generator
  size: int

  def smooth(self, wavelength: float) -> np.ndarray:
    """Random field f64[size, size] of zero mean and unit variance."""
    angle = self.rng.uniform(0, 2 * np.pi, 12)
    wave = 2 * np.pi / (wavelength * self.rng.uniform(0.6, 1.6, 12))
    phase = self.rng.uniform(0, 2 * np.pi, 12)
    line = 1j * np.arange(self.size)[:, None]
    rows = np.exp(line * wave * np.sin(angle) + 1j * phase)
    columns = np.exp(line * wave * np.cos(angle))
    # The real part of the product. A matrix product would have threads, which
    # are many times slower where other processes keep the cores busy.
    rows, columns = rows.view(float), columns.conj().view(float)
    return np.einsum("ik,jk->ij", rows, columns) / np.sqrt(6)

  def region(self, wavelength: float, coverage: float) -> np.ndarray:
    """Soft mask f64[size, size] in [0, 1]: blobs that cover such a fraction."""
    field = self.smooth(wavelength)
    edge = np.quantile(field, 1 - coverage)
    return 1 / (1 + np.exp(-(field - edge) * wavelength))

  def fibres(self, direction: float) -> np.ndarray:
    """Eosin f64[size, size] of stroma, 1 on average; `direction` in radians."""
    row, column = np.mgrid[: self.size, : self.size]
    across = column * np.sin(direction) - row * np.cos(direction)
    phase = across * (2 * np.pi / self.rng.uniform(3.5, 8))
    phase += self.rng.uniform(0.5, 2) * self.smooth(25)
    waves = self.rng.uniform(0.05, 0.3) * np.cos(phase)
    return np.maximum(1 + waves + 0.1 * self.smooth(6), 0.1)

  def scatter(self, spacing: float, jitter: float) -> np.ndarray:
    """Points f64[n, 2] of a triangular grid, turned and disturbed at random.

    The distance of neighbours is `spacing` pixels; `jitter` is the standard
    deviation of the disturbance as a fraction of it.
    """
    half = int(0.8 * self.size / spacing) + 2
    row, column = np.mgrid[-half : half + 1, -half : half + 1]
    points = np.stack([row * np.sqrt(0.75), column + row % 2 / 2], -1)
    points = points.reshape(-1, 2) + self.rng.random(2)
    points += jitter * self.rng.standard_normal(points.shape)
    angle = self.rng.uniform(0, 2 * np.pi)
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    points = self.size / 2 + spacing * points @ np.array(turn)
    return points[((points > -3) & (points < self.size + 3)).all(1)]

  def inside(self, points: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The rows of f64[n, >=2], a point first, where the mask is above a half.

    Args:
      points: f64[n, >=2], row and column in pixels first.
      mask: f64[size, size] in [0, 1].
    """
    nearest = np.rint(points[:, :2]).astype(int)
    near = ((nearest > -3) & (nearest < self.size + 3)).all(1)
    row, column = nearest.clip(0, self.size - 1).T
    return points[near & (mask[row, column] > 0.5)]

  def nuclei(
    self,
    points: np.ndarray,
    radius: float,
    spread: float,
    aspect: float,
    amount: float,
    angle: np.ndarray | float | None = None,
  ) -> np.ndarray:
    """Makes nuclei of points.

    Args:
      points: f64[n, 2] rows and columns of the centres, in pixels.
      radius: Median radius, in pixels.
      spread: Standard deviation of the logarithm of radius, aspect and amount.
      aspect: Median ratio of the axes.
      amount: Median amount of haematoxylin.
      angle: Direction of the long axes, in radians; random if None.

    Returns:
      f64[n, 6]: row, column, half axes in pixels, direction, haematoxylin.
    """
    n = len(points)
    noise = np.exp(spread * self.rng.standard_normal((3, n)))
    if angle is None:
      angle = self.rng.uniform(0, np.pi, n)
    angle = angle + 0.25 * self.rng.standard_normal(n)
    size = radius * noise[0]
    root = np.sqrt(aspect * noise[1])
    amount = amount * noise[2]
    return np.column_stack([points, size * root, size / root, angle, amount])

  def draw(self, nuclei: np.ndarray) -> np.ndarray:
    """Haematoxylin f64[size, size] of nuclei.

    Args:
      nuclei: f64[n, 6] as of `nuclei`, their centres at most 3 pixels outside
        the square.
    """
    window = np.arange(-_REACH, _REACH + 1)
    centre = nuclei[:, :2, None]
    row, column = (np.rint(centre).astype(int) + window).transpose(1, 0, 2)
    dy = (row - centre[:, 0])[:, :, None]
    dx = (column - centre[:, 1])[:, None, :]
    long, short, angle, amount = nuclei.T[2:, :, None, None]
    long = np.minimum(long, _REACH - 1)  # The window would cut longer ones.
    u = (dx * np.cos(angle) + dy * np.sin(angle)) / long
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / short
    # Soft over about a pixel, as a pixel is covered in part.
    depth = np.sqrt(long * short) * (1 - np.hypot(u, v))
    drawn = amount / (1 + np.exp(-4 * depth))
    margin = _REACH + 4  # Centres lie up to 3 pixels outside.
    side = self.size + 2 * margin
    flat = (row + margin)[:, :, None] * side + (column + margin)[:, None, :]
    canvas = np.bincount(flat.ravel(), drawn.ravel(), side * side)
    canvas = canvas.reshape(side, side)[margin:-margin, margin:-margin]
    # Nuclei on top of each other absorb together, but a section is thin.
    return 2.2 * np.tanh(canvas / 2.2)
