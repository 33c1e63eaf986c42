"""Which pixels a network's answer depends on: maps of saliency.

Each of these shows something else, and none proves what a network has learned.
A map that hardly changes when the parameters are drawn anew says nothing about
them (Adebayo et al. 2018, arXiv:1810.03292); the tests hold these to that.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import inputs
from mn_jax.models.classifier import Classifier
from mn_jax.models.registry import Conventions

# One number per image, of f32[batch, ...]: the logit that is asked about.
Score = Callable[[jax.Array], jax.Array]

METHODS = ("gradient", "smooth_grad", "integrated_gradients", "grad_cam")


@dataclasses.dataclass(frozen=True)
class Settings:
  """What the methods leave open.

  Attributes:
    samples: of SmoothGrad, noisy copies of each image.
    noise: of SmoothGrad, standard deviation over the image's range of values.
    seed: of that noise.
    steps: of integrated gradients, points on the way from the baseline.
    baseline: of integrated gradients, the grey value of the image in which
      nothing is to be seen, in [0, 255].
  """

  samples: int = 32
  noise: float = 0.15
  seed: int = 0
  steps: int = 256
  baseline: float = 0.0


def gradient(score: Score, x: jax.Array) -> jax.Array:
  """How strongly a score depends on each pixel, near the image.

  Simonyan et al. 2013, arXiv:1312.6034: the largest derivative, by absolute
  value, of a pixel's channels.

  Args:
    score: f32[batch, h, w, 3] -> f32[batch], each image's by itself.
    x: f32[batch, h, w, 3].

  Returns:
    f32[batch, h, w], 0 and more.
  """
  return jnp.abs(_derivative(score, x)).max(axis=-1)


def smooth_grad(
  score: Score, x: jax.Array, *, samples: int, noise: float, seed: int
) -> jax.Array:
  """`gradient` with derivatives that are means over noisy copies.

  Smilkov et al. 2017, arXiv:1706.03825.

  Args:
    score, x: see `gradient`.
    samples, noise, seed: see `Settings`.

  Returns:
    f32[batch, h, w], 0 and more.
  """
  axes = (1, 2, 3)
  span = x.max(axis=axes, keepdims=True) - x.min(axis=axes, keepdims=True)

  def add(total: jax.Array, key: jax.Array) -> tuple[jax.Array, None]:
    noisy = x + noise * span * jax.random.normal(key, x.shape)
    return total + _derivative(score, noisy), None

  keys = jax.random.split(jax.random.key(seed), samples)
  total, _ = jax.lax.scan(add, jnp.zeros_like(x), keys)
  return jnp.abs(total / samples).max(axis=-1)


def integrated_gradients(
  score: Score, x: jax.Array, baseline: jax.Array, *, steps: int
) -> jax.Array:
  """What each pixel adds to the score on the way from a baseline.

  Sundararajan et al. 2017, arXiv:1703.01365, with the channels of a pixel
  added. But for the error of the integral, by the midpoint rule, a map's sum is
  the score of the image less that of the baseline. That error is large where
  the score is rough: measure it (`Explainer.rise`).

  Args:
    score, x: see `gradient`.
    baseline: f32[1, 1, 1, 3] or of the shape of x.
    steps: of the integral.

  Returns:
    f32[batch, h, w], of either sign.
  """
  way = x - baseline

  def add(total: jax.Array, share: jax.Array) -> tuple[jax.Array, None]:
    return total + _derivative(score, baseline + share * way), None

  shares = (jnp.arange(steps, dtype=jnp.float32) + 0.5) / steps
  total, _ = jax.lax.scan(add, jnp.zeros_like(x), shares)
  return (way * total / steps).sum(axis=-1)


def grad_cam(score: Score, maps: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Where the channels are active that raise the score.

  Selvaraju et al. 2017, arXiv:1610.02391.

  Args:
    score: f32[batch, h', w', c] -> f32[batch].
    maps: f32[batch, h', w', c], a feature map.
    size: height and width of the result in pixels; bilinear.

  Returns:
    f32[batch, h, w], 0 and more.
  """
  weights = _derivative(score, maps).mean(axis=(1, 2), keepdims=True)
  found = jax.nn.relu((weights * maps).sum(axis=-1))
  return jax.image.resize(found, (len(found), *size), "bilinear")


class Explainer:
  """The maps of a network, compiled once for each method and shape."""

  def __init__(
    self,
    module: Classifier,
    conventions: Conventions,
    *,
    resolution: int,
    settings: Settings | None = None,
  ):
    """Compiles nothing yet.

    Args:
      module: the network.
      conventions: its input's.
      resolution: of its input in pixels; 0: as the images are.
      settings: None for their defaults.
    """
    self._module, self._conventions = module, conventions
    self._resolution = resolution
    self._settings = settings or Settings()
    self._map = jax.jit(self._compute, static_argnums=0)
    self._logits = jax.jit(
      lambda variables, images: self._apply(variables, self._input(images))
    )

  def logits(self, variables: dict, images: np.ndarray) -> np.ndarray:
    """f32[batch, classes] of u8 or f32[batch, h, w, 3] in [0, 255]."""
    return np.asarray(self._logits(variables, images))

  def explain(
    self,
    method: str,
    variables: dict,
    images: np.ndarray,
    classes: np.ndarray,
  ) -> np.ndarray:
    """Maps of what raises a logit.

    Args:
      method: one of METHODS.
      variables: of the network.
      images: u8[batch, h, w, 3].
      classes: i32[batch], whose logits to explain.

    Returns:
      f32[batch, h', w'] at the resolution of the network's input; 0 and more
      but for integrated gradients, which are negative where a pixel lowers the
      logit.
    """
    classes = jnp.asarray(classes, jnp.int32)
    return np.asarray(self._map(method, variables, images, classes))

  def rise(
    self, variables: dict, images: np.ndarray, classes: np.ndarray
  ) -> np.ndarray:
    """f32[batch], what the maps of integrated gradients should add up to.

    Arguments are those of `explain`.
    """
    blank = np.full((1, *images.shape[1:]), self._settings.baseline, np.float32)
    rise = self.logits(variables, images) - self.logits(variables, blank)
    return rise[np.arange(len(classes)), classes]

  def _input(self, images: jax.Array) -> jax.Array:
    return inputs.to_input(
      images,
      resolution=self._resolution,
      mean=self._conventions.mean,
      std=self._conventions.std,
    )

  def _apply(self, variables: dict, x: jax.Array) -> jax.Array:
    return self._module.apply(variables, x, False)[0]

  def _compute(
    self, method: str, variables: dict, images: jax.Array, classes: jax.Array
  ) -> jax.Array:
    x, settings = self._input(images), self._settings

    def of_class(logits: jax.Array) -> jax.Array:
      return jnp.take_along_axis(logits, classes[:, None], axis=1)[:, 0]

    def score(x: jax.Array) -> jax.Array:
      return of_class(self._apply(variables, x))

    if method == "gradient":
      return gradient(score, x)
    if method == "smooth_grad":
      return smooth_grad(
        score,
        x,
        samples=settings.samples,
        noise=settings.noise,
        seed=settings.seed,
      )
    if method == "integrated_gradients":
      blank = jnp.full((1, 1, 1, 3), settings.baseline, jnp.float32)
      # As it is, and not at the network's resolution: it has one value.
      baseline = inputs.to_input(
        blank,
        resolution=0,
        mean=self._conventions.mean,
        std=self._conventions.std,
      )
      return integrated_gradients(score, x, baseline, steps=settings.steps)
    if method == "grad_cam":

      def of_maps(maps: jax.Array) -> jax.Array:
        return of_class(
          self._module.apply(variables, maps, method="classify_map")
        )

      maps = self._module.apply(variables, x, method="last_map")
      return grad_cam(of_maps, maps, x.shape[1:3])
    raise ValueError(f"method: got {method!r}; valid: {', '.join(METHODS)}")


def _derivative(score: Score, x: jax.Array) -> jax.Array:
  # Of the sum over the batch: each image's score depends on it alone.
  return jax.grad(lambda x: score(x).sum())(x)
