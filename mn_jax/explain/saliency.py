"""Saliency maps: which pixels a network's prediction depends on.

Each method shows something else, and none proves what a network has learned. A
map that hardly changes when the network is randomly initialised again says
nothing about its parameters (Adebayo et al. 2018, arXiv:1810.03292); the tests
apply this sanity check to every method.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from mn_jax.augment import inputs
from mn_jax.models.classifier import Classifier
from mn_jax.models.spec import Conventions

# Maps f32[batch, ...] to f32[batch]: the logit to explain of each image.
Score = Callable[[jax.Array], jax.Array]

METHODS = ("gradient", "smooth_grad", "integrated_gradients", "grad_cam")


@dataclasses.dataclass(frozen=True)
class Settings:
  """Hyperparameters of the methods.

  Attributes:
    samples: noisy copies of each image, for SmoothGrad.
    noise: standard deviation of the noise over the image's range of values, for
      SmoothGrad.
    seed: random seed of the noise.
    steps: points on the path from the baseline, for integrated gradients.
    baseline: grey value of the blank image that the path starts from, in
      [0, 255], for integrated gradients.
  """

  samples: int = 32
  noise: float = 0.15
  seed: int = 0
  steps: int = 256
  baseline: float = 0.0


def gradient(score: Score, x: jax.Array) -> jax.Array:
  """Maps the gradient of a score (Simonyan et al. 2013, arXiv:1312.6034).

  It is the largest absolute derivative among a pixel's channels.

  Args:
    score: f32[batch, h, w, 3] -> f32[batch], for each image by itself.
    x: f32[batch, h, w, 3], normalised.

  Returns:
    f32[batch, h, w], non-negative.
  """
  return jnp.abs(_derivative(score, x)).max(axis=-1)


def smooth_grad(
  score: Score, x: jax.Array, *, samples: int, noise: float, seed: int
) -> jax.Array:
  """Maps a score by SmoothGrad (Smilkov et al. 2017, arXiv:1706.03825).

  It is the gradient averaged over noisy copies of the image.

  Args:
    score: f32[batch, h, w, 3] -> f32[batch], for each image by itself.
    x: f32[batch, h, w, 3], normalised.
    samples: number of noisy copies.
    noise: standard deviation over each image's range of values.
    seed: random seed of the noise.

  Returns:
    f32[batch, h, w], non-negative.
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
  """Maps what each pixel adds to a score on the path from a baseline.

  Integrated gradients (Sundararajan et al. 2017, arXiv:1703.01365), summed over
  the channels of a pixel. Up to the error of the integral, by the midpoint
  rule, a map's sum is the score of the image minus that of the baseline. That
  error is large where the score is rough: `Explainer.score_difference` measures
  it.

  Args:
    score: f32[batch, h, w, 3] -> f32[batch], for each image by itself.
    x: f32[batch, h, w, 3], normalised.
    baseline: f32[1, 1, 1, 3] or of the shape of x.
    steps: points at which the gradient is computed.

  Returns:
    f32[batch, h, w], of either sign.
  """
  path = x - baseline

  def add(total: jax.Array, fraction: jax.Array) -> tuple[jax.Array, None]:
    return total + _derivative(score, baseline + fraction * path), None

  fractions = (jnp.arange(steps, dtype=jnp.float32) + 0.5) / steps
  total, _ = jax.lax.scan(add, jnp.zeros_like(x), fractions)
  return (path * total / steps).sum(axis=-1)


def grad_cam(score: Score, maps: jax.Array, size: tuple[int, int]) -> jax.Array:
  """Maps where channels that raise a score are active, by Grad-CAM.

  Selvaraju et al. 2017, arXiv:1610.02391.

  Args:
    score: f32[batch, h', w', channels] -> f32[batch].
    maps: f32[batch, h', w', channels], a layer's feature maps.
    size: height and width in pixels that the result is resized to, bilinearly.

  Returns:
    f32[batch, h, w], non-negative.
  """
  weights = _derivative(score, maps).mean(axis=(1, 2), keepdims=True)
  cam = jax.nn.relu((weights * maps).sum(axis=-1))
  return jax.image.resize(cam, (len(cam), *size), "bilinear")


class Explainer:
  """Saliency maps of one network, compiled once for each method and shape."""

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
      conventions: how its input is normalised.
      resolution: input size in pixels; 0: that of the images.
      settings: of the methods; None for their defaults.
    """
    self._module, self._conventions = module, conventions
    self._resolution = resolution
    self._settings = settings or Settings()
    self._map = jax.jit(self._compute, static_argnums=0)
    self._logits = jax.jit(
      lambda variables, images: self._apply(
        variables, self._input(images, resolution)
      )
    )

  def logits(self, variables: dict, images: np.ndarray) -> np.ndarray:
    """Maps u8 or f32[batch, h, w, 3] in [0, 255] to f32[batch, classes]."""
    return np.asarray(self._logits(variables, images))

  def explain(
    self, method: str, variables: dict, images: np.ndarray, classes: np.ndarray
  ) -> np.ndarray:
    """Maps which pixels raise the logits of some classes.

    Args:
      method: one of METHODS.
      variables: the network's parameters and running statistics.
      images: u8[batch, h, w, 3].
      classes: i32[batch], the class to explain of each image.

    Returns:
      f32[batch, h', w'] at the network's input size; non-negative, except that
      integrated gradients are negative where a pixel lowers the logit.
    """
    classes = jnp.asarray(classes, jnp.int32)
    return np.asarray(self._map(method, variables, images, classes))

  def score_difference(
    self, variables: dict, images: np.ndarray, classes: np.ndarray
  ) -> np.ndarray:
    """Computes what the maps of integrated gradients should add up to.

    Args:
      variables: the network's parameters and running statistics.
      images: u8[batch, h, w, 3].
      classes: i32[batch], the class to explain of each image.

    Returns:
      f32[batch], logits of the images minus those of the baseline.
    """
    blank = np.full((1, *images.shape[1:]), self._settings.baseline, np.float32)
    difference = self.logits(variables, images) - self.logits(variables, blank)
    return difference[np.arange(len(classes)), classes]

  def _input(self, images: jax.Array, resolution: int) -> jax.Array:
    return inputs.to_input(
      images,
      resolution=resolution,
      mean=self._conventions.mean,
      std=self._conventions.std,
    )

  def _apply(self, variables: dict, x: jax.Array) -> jax.Array:
    return self._module.apply(variables, x, False)[0]

  def _compute(
    self, method: str, variables: dict, images: jax.Array, classes: jax.Array
  ) -> jax.Array:
    x, settings = self._input(images, self._resolution), self._settings

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
      # One pixel, which is not resized to the network's resolution.
      baseline = self._input(blank, resolution=0)
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
  # Of the sum over the batch: an image's score depends on that image alone.
  return jax.grad(lambda x: score(x).sum())(x)
