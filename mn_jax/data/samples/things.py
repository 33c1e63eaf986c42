"""Ten things as a child would draw them, of ellipses, boxes and strokes.

Each is painted in a pose and colours of its own before a ground. Some share
both, so that they are hard to tell apart.
"""

import dataclasses
import math

import numpy as np
from numpy.random import Generator

SIDE = 64  # Pixels per side that are painted.

# Colours f64[n, 3], RGB in [0, 255].
_GLOSSY = np.array(
  [[190, 25, 35], [120, 15, 40], [90, 150, 45], [215, 185, 60], [70, 35, 20]],
  float,
)
_FUR = np.array([[110, 72, 45], [60, 45, 38], [28, 25, 26], [150, 115, 75]])
_POLAR = np.array([[225, 220, 205]], float)
_SKIN = np.array([[235, 190, 165], [205, 150, 120], [130, 88, 65]], float)
_CLOTH = np.array(
  [[240, 240, 242], [225, 150, 175], [130, 165, 215], [150, 35, 70]], float
)
_WOOD = np.array([[130, 80, 45], [85, 55, 40], [190, 150, 105]], float)
_CHITIN = np.array([[28, 26, 24], [70, 42, 25], [165, 30, 22], [20, 90, 50]])
_HONEY = np.array([[225, 165, 40], [190, 130, 50], [235, 195, 90]], float)
_SCALES = np.array(
  [
    [235, 120, 30],
    [240, 200, 50],
    [170, 190, 205],
    [200, 50, 40],
    [50, 90, 190],
  ],
  float,
)
_PAINT = np.array(
  [[30, 30, 34], [190, 30, 45], [40, 80, 170], [200, 205, 210]], float
)
_GLASS = np.array([[190, 205, 205]], float)
_BLACK = np.full(3, 25.0)
_WHITE = np.full(3, 235.0)

# Those of grounds.
_PLAIN = np.array([[248, 248, 248], [225, 225, 228], [20, 20, 24]], float)
_GRASS = np.array([[95, 130, 60], [60, 95, 45], [150, 165, 95]], float)
_EARTH = np.array([[150, 120, 90], [105, 90, 75], [185, 165, 135]], float)
_WATER = np.array([[70, 105, 130], [45, 75, 95], [110, 140, 145]], float)
_SKY = np.array([[165, 195, 225], [210, 220, 230], [120, 150, 185]], float)
_ROOM = np.array([[205, 185, 160], [165, 130, 110], [130, 100, 105]], float)
_PETALS = np.array([[235, 205, 40], [215, 110, 175], [150, 110, 190]], float)


def paint(rng: Generator, label: int) -> np.ndarray:
  """Paints a thing of class `label`, in [0, 10), and its ground.

  Returns:
    f64[64, 64, 3], RGB about in [0, 255].
  """
  line = (np.arange(SIDE) + 0.5) * 2 / SIDE - 1
  x, y = np.meshgrid(line, line)
  scene = _Scene(rng, np.zeros((SIDE, SIDE, 3)), x, y, SIDE / 2)
  _PAINT_THING[label](scene)
  return scene.rgb


@dataclasses.dataclass(frozen=True)
class _Scene:
  """A picture that is being painted, and where its thing lies.

  Attributes:
    rng: generator of the image.
    rgb: f64[64, 64, 3], RGB in [0, 255], which is painted on.
    x: f64[64, 64], to the right in the thing's own coordinates, where it spans
      about [-1, 1].
    y: f64[64, 64], the same downwards.
    grain: pixels of `rgb` per unit.
  """

  rng: Generator
  rgb: np.ndarray
  x: np.ndarray
  y: np.ndarray
  grain: float

  def posed(
    self, *, turn: float = 0.25, shift: float = 0.2, size: float = 0.75
  ) -> "_Scene":
    """The scene around a thing of about this size, turn and shift.

    Args:
      turn: standard deviation, in radians.
      shift: standard deviation, in half images.
      size: median, in half images.
    """
    rng = self.rng
    angle = rng.normal(0, turn)
    scale = size * math.exp(rng.normal(0, 0.15))
    x, y = self.x - rng.normal(0, shift), self.y - rng.normal(0, shift)
    flip = 1 if rng.random() < 0.5 else -1
    stretch = math.exp(rng.normal(0, 0.08))
    return dataclasses.replace(
      self,
      x=flip * (x * math.cos(angle) + y * math.sin(angle)) / scale / stretch,
      y=(y * math.cos(angle) - x * math.sin(angle)) / scale * stretch,
      grain=self.grain * scale,
    )

  def pick(self, palette: np.ndarray) -> np.ndarray:
    """A colour f64[3] near one of a palette's f64[n, 3]."""
    colour = palette[self.rng.integers(len(palette))]
    shade = self.rng.uniform(0.8, 1.1)
    return shade * colour * np.exp(self.rng.normal(0, 0.1, 3))

  def paint(
    self, depth: np.ndarray, colour: np.ndarray, strength: float = 1.0
  ) -> None:
    """Lays a colour f64[3] over what is within an edge; `depth` in units."""
    cover = strength * np.clip(depth * self.grain + 0.5, 0, 1)[..., None]
    self.rgb[:] += cover * (colour - self.rgb)

  def ball(self, depth: np.ndarray, colour: np.ndarray) -> None:
    """Paints something round: lighter in the middle, darker below."""
    self.paint(depth, colour)
    self.paint(depth - 0.12, colour * 1.15 + 10)
    self.paint(np.minimum(depth, self.y - 0.35), colour * 0.75, 0.6)

  def fur(self) -> None:
    """Makes the whole picture a little rough."""
    self.rgb[:] *= 1 + 0.06 * self.smooth(0.12)[..., None]

  def ellipse(
    self, x: float, y: float, across: float, along: float
  ) -> np.ndarray:
    """Depth f64[64, 64] within an ellipse of these half axes."""
    radius = np.hypot((self.x - x) / across, (self.y - y) / along)
    return (1 - radius) * min(across, along)

  def box(
    self, left: float, top: float, right: float, low: float
  ) -> np.ndarray:
    """Depth f64[64, 64] within a box."""
    inside = np.minimum(self.x - left, right - self.x)
    return np.minimum(inside, np.minimum(self.y - top, low - self.y))

  def stroke(
    self, x: float, y: float, to_x: float, to_y: float, half: float
  ) -> np.ndarray:
    """Depth f64[64, 64] within a line of half a width."""
    dx, dy = to_x - x, to_y - y
    place = ((self.x - x) * dx + (self.y - y) * dy) / (dx * dx + dy * dy)
    place = np.clip(place, 0, 1)
    return half - np.hypot(self.x - x - place * dx, self.y - y - place * dy)

  def smooth(self, wavelength: float) -> np.ndarray:
    """Random field f64[64, 64] of zero mean and unit variance, in units."""
    rng = self.rng
    angle = rng.uniform(0, 2 * np.pi, 10)
    wave = 2 * np.pi / (wavelength * self.grain * rng.uniform(0.5, 1.7, 10))
    phase = rng.uniform(0, 2 * np.pi, 10)
    line = 1j * np.arange(SIDE)[:, None]
    rows = np.exp(line * wave * np.sin(angle) + 1j * phase)
    columns = np.exp(line * wave * np.cos(angle))
    return (rows @ columns.T).real / np.sqrt(5)


def _ground(scene: _Scene, *palettes: np.ndarray) -> None:
  """Fills the picture with one of some grounds, or, at times, another."""
  rng = scene.rng
  everywhere = (_PLAIN, _GRASS, _EARTH, _SKY, _ROOM)
  pool = palettes if rng.random() < 0.7 else everywhere
  palette = pool[rng.integers(len(pool))]
  above, below = scene.pick(palette), scene.pick(palette)
  slope = scene.y + rng.normal(0, 0.3) * scene.x + rng.normal(0, 0.4)
  share = 0.5 + 0.5 * np.tanh(math.exp(rng.uniform(-1, 2.5)) * slope)
  scene.rgb[:] = above + share[..., None] * (below - above)
  rough = 0 if palette is _PLAIN else rng.uniform(0.03, 0.22)
  for wavelength in (0.25, 0.7):
    scene.rgb[:] *= 1 + rough * scene.smooth(wavelength)[..., None]
  for _ in range(rng.integers(0, 4)):  # things out of focus
    x, y = rng.uniform(-1, 1, 2)
    blob = scene.ellipse(x, y, *rng.uniform(0.1, 0.5, 2))
    scene.paint(blob * 0.2, scene.pick(palette), rng.uniform(0.2, 0.7))


# The classes. Each paints a scene.


def _apple(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _PLAIN, _GRASS, _ROOM)
  count = int(rng.choice((1, 1, 1, 2, 3)))
  for _ in range(count):
    fruit = scene.posed(
      shift=0.12 if count == 1 else 0.4, size=0.78 if count == 1 else 0.45
    )
    colour = fruit.pick(_GLOSSY)
    halves = [fruit.ellipse(x, 0.0, 0.68, 0.85) for x in (-0.2, 0.2)]
    fruit.ball(np.maximum(*halves), colour)
    fruit.paint(fruit.ellipse(-0.35, -0.35, 0.14, 0.2), _WHITE, 0.6)
    fruit.paint(
      fruit.stroke(0, -0.75, 0.1, -1.05, 0.05), np.array([70, 50, 30])
    )
    if rng.random() < 0.3:
      fruit.paint(fruit.ellipse(0.3, -0.95, 0.25, 0.1), fruit.pick(_GRASS))


def _aquarium_fish(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _WATER, _WATER, _GRASS, _PLAIN[2:])
  fish = scene.posed(size=0.85)
  colour, other = fish.pick(_SCALES), fish.pick(_SCALES)
  high = rng.uniform(0.35, 0.6)
  tail = np.minimum(fish.box(0.5, -0.5, 1.05, 0.5), fish.x - 0.45 - abs(fish.y))
  fish.paint(tail, other)
  fish.paint(fish.ellipse(0.05, -high, 0.35, 0.25), other)
  body = fish.ellipse(-0.15, 0, 0.8, high)
  fish.ball(body, colour)
  if rng.random() < 0.5:
    stripes = np.cos(fish.x * rng.uniform(8, 16)) * 0.1
    fish.paint(np.minimum(body, stripes), other * 0.5, 0.8)
  fish.paint(fish.ellipse(-0.68, -0.08, 0.09, 0.09), _BLACK)


def _baby(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _PLAIN, _ROOM, _ROOM, _CLOTH)
  child = scene.posed(turn=0.4, size=rng.uniform(0.6, 1.0))
  skin = child.pick(_SKIN)
  child.ball(child.ellipse(0, 1.0, 0.75, 0.65), child.pick(_CLOTH))
  for x in (-0.75, 0.75):
    child.paint(child.stroke(0.6 * x, 0.6, x, rng.uniform(0.2, 1), 0.14), skin)
  child.paint(child.ellipse(0, -0.28, 0.62, 0.68), child.pick(_FUR), 0.7)
  child.ball(child.ellipse(0, -0.15, 0.6, 0.62), skin)
  for x in (-0.24, 0.24):
    child.paint(child.ellipse(x, -0.18, 0.08, 0.07), _BLACK)
  child.paint(child.ellipse(0, 0.2, 0.16, 0.06), np.array([170, 70, 75]))


def _bear(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _GRASS, _EARTH, _WATER, _PLAIN)
  bear = scene.posed(turn=0.1)
  coat = bear.pick(_POLAR if rng.random() < 0.2 else _FUR)
  for x in (-0.35, 0.0, 0.4, 0.65):
    bear.paint(bear.stroke(x, 0.2, x, 0.85, 0.15), coat * 0.8)
  bear.ball(bear.ellipse(0.2, 0.1, 0.75, 0.48), coat)
  up = rng.uniform(-0.6, 0.0)
  for x in (-0.85, -0.45):
    bear.paint(bear.ellipse(x, up - 0.3, 0.13, 0.13), coat * 0.85)
  bear.ball(bear.ellipse(-0.65, up, 0.37, 0.34), coat)
  bear.paint(bear.ellipse(-0.75, up + 0.12, 0.16, 0.12), coat * 0.5 + 70)
  bear.fur()


def _beaver(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _WATER, _WATER, _EARTH, _GRASS)
  beaver = scene.posed(turn=0.15)
  coat = beaver.pick(_FUR)
  beaver.paint(beaver.ellipse(0.95, 0.45, 0.45, 0.16), coat * 0.5)
  beaver.ball(beaver.ellipse(0.15, 0.15, 0.72, 0.5), coat)
  up = rng.uniform(-0.3, 0.1)
  beaver.ball(beaver.ellipse(-0.6, up, 0.34, 0.3), coat)
  beaver.paint(beaver.ellipse(-0.45, up - 0.27, 0.08, 0.08), coat * 0.8)
  beaver.paint(beaver.ellipse(-0.85, up + 0.08, 0.1, 0.08), coat * 0.4)
  if rng.random() < 0.5:  # in the water
    water = beaver.pick(_WATER)
    beaver.paint(beaver.y - rng.uniform(0.2, 0.5), water, 0.9)
  beaver.fur()


def _bed(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _ROOM, _ROOM, _PLAIN)
  bed = scene.posed(turn=0.06, size=0.85)
  wood, sheet = bed.pick(_WOOD), bed.pick(_CLOTH)
  lean = rng.uniform(-0.4, 0.4)
  bed.paint(bed.box(-0.7, -0.8, 0.7, 0.2), wood)
  tilted = dataclasses.replace(bed, x=bed.x - lean * (bed.y + 0.2))
  bed.paint(tilted.box(-0.75, -0.2, 0.75, 0.55), sheet)
  for x in (-0.35, 0.35):
    pillow = tilted.ellipse(x, -0.2, 0.3, 0.15)
    bed.paint(pillow, np.minimum(sheet * 1.1 + 25, 250))
  bed.paint(
    tilted.box(-0.78, 0.5, 0.78, 0.8), (wood, sheet * 0.8)[rng.integers(2)]
  )
  for x in (-0.72, 0.72):
    bed.paint(tilted.stroke(x, 0.3, x, 0.95, 0.07), wood * 0.8)


def _bee(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _PETALS, _GRASS, _PETALS, _PLAIN)
  bee = scene.posed(turn=1.5)
  _legs(bee, _BLACK)
  honey = bee.pick(_HONEY)
  body = bee.ellipse(0.3, 0, 0.62, 0.36)
  bee.ball(body, honey)
  stripes = np.cos(bee.x * rng.uniform(12, 17)) * 0.08
  bee.paint(np.minimum(body, stripes), _BLACK, 0.9)
  bee.ball(bee.ellipse(-0.35, 0, 0.3, 0.32), honey * 0.6)
  bee.paint(bee.ellipse(-0.72, 0, 0.18, 0.22), _BLACK)
  for side in (-1, 1):
    wing = bee.ellipse(0.15, 0.5 * side, 0.5, 0.2)
    bee.paint(wing, _WHITE, 0.55)


def _beetle(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _GRASS, _EARTH, _PETALS, _PLAIN)
  beetle = scene.posed(turn=1.5)
  shell = beetle.pick(_HONEY if rng.random() < 0.15 else _CHITIN)
  _legs(beetle, _BLACK)
  body = beetle.ellipse(0.2, 0, 0.68, rng.uniform(0.38, 0.55))
  beetle.ball(body, shell)
  if rng.random() < 0.35:
    spots = np.cos(7 * beetle.x) * np.cos(9 * beetle.y) * 0.1 - 0.03
    beetle.paint(np.minimum(body - 0.05, spots), _BLACK)
  beetle.paint(beetle.stroke(-0.4, 0, 0.85, 0, 0.03), shell * 0.4)
  beetle.paint(beetle.ellipse(-0.5, 0, 0.25, 0.32), shell * 0.7)
  beetle.paint(beetle.ellipse(-0.8, 0, 0.16, 0.18), _BLACK)
  beetle.paint(beetle.ellipse(0.1, -0.2, 0.25, 0.06), _WHITE, 0.4)


def _legs(scene: _Scene, colour: np.ndarray) -> None:
  """Six legs and two feelers of an insect that looks to the left."""
  for x in (-0.4, 0.0, 0.4):
    for side in (-1, 1):
      foot = x + scene.rng.normal(0.1 * np.sign(x), 0.12)
      leg = scene.stroke(x, 0, foot, side * scene.rng.uniform(0.7, 0.9), 0.04)
      scene.paint(leg, colour)
  for side in (-1, 1):
    scene.paint(scene.stroke(-0.8, 0, -1.1, 0.3 * side, 0.03), colour)


def _bicycle(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _PLAIN, _SKY, _ROOM, _EARTH)
  bike = scene.posed(turn=0.12, size=0.85)
  colour, tyre = bike.pick(_PAINT), np.full(3, rng.uniform(20, 70))
  half = rng.uniform(0.04, 0.08)
  for x in (-0.62, 0.62):
    radius = np.hypot(bike.x - x, bike.y - 0.3)
    bike.paint(0.06 - abs(radius - 0.4), tyre)
  for ends in (
    (-0.62, 0.3, -0.35, -0.3),
    (-0.35, -0.3, 0.4, -0.35),
    (0.4, -0.35, 0.62, 0.3),
    (-0.35, -0.3, 0.0, 0.35),
    (0.0, 0.35, 0.4, -0.35),
    (-0.62, 0.3, 0.0, 0.35),
    (0.4, -0.35, 0.38, -0.6),
  ):
    bike.paint(bike.stroke(*ends, half), colour)
  bike.paint(bike.stroke(-0.5, -0.45, -0.2, -0.45, 0.07), tyre)
  bike.paint(bike.stroke(0.25, -0.6, 0.5, -0.6, 0.05), tyre)


def _bottle(scene: _Scene) -> None:
  rng = scene.rng
  _ground(scene, _PLAIN, _ROOM, _PLAIN, _GRASS)
  count = int(rng.choice((1, 1, 1, 2)))
  for _ in range(count):
    bottle = scene.posed(
      turn=1.0 if rng.random() < 0.15 else 0.08,
      shift=0.12 if count == 1 else 0.35,
      size=0.85,
    )
    colour = bottle.pick(_GLASS if rng.random() < 0.2 else _GLOSSY)
    half = rng.uniform(0.22, 0.45)
    bottle.paint(bottle.box(-0.13, -0.95, 0.13, 0.0), colour)
    bottle.paint(bottle.ellipse(0, -0.25, half, 0.35), colour)
    bottle.paint(bottle.box(-half, -0.25, half, 0.95), colour)
    bottle.paint(bottle.box(-0.15, -1.0, 0.15, -0.8), bottle.pick(_CLOTH))
    bottle.paint(
      bottle.box(-0.7 * half, -0.2, -0.4 * half, 0.8), colour + 60, 0.6
    )
    if rng.random() < 0.5:
      label = bottle.box(-half, 0.1, half, 0.1 + rng.uniform(0.2, 0.5))
      bottle.paint(label, bottle.pick(_CLOTH))


_PAINT_THING = (
  _apple,
  _aquarium_fish,
  _baby,
  _bear,
  _beaver,
  _bed,
  _bee,
  _beetle,
  _bicycle,
  _bottle,
)
