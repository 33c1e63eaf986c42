"""The network that is exported: BatchNorm folded, in float32."""

import dataclasses

import jax

from mn_jax.augment import inputs
from mn_jax.deploy.trained import Trained
from mn_jax.models import folding, registry
from mn_jax.models.classifier import Classifier


@dataclasses.dataclass(frozen=True)
class Source:
  """A trained network, folded, from which files of all formats are made.

  Attributes:
    trained: the network with its weights, classes and rules of images.
    module: the network with folded BatchNorm, which computes in float32.
    variables: its 'params' and 'batch_stats', f32 NumPy arrays.
  """

  trained: Trained
  module: Classifier
  variables: dict

  @property
  def resolution(self) -> int:
    """Height and width of the network's input, in pixels."""
    return self.trained.resolution or self.trained.image_size

  def normalise(self, images: jax.Array) -> jax.Array:
    """Maps images u8[batch, r, r, 3] to the network's input, f32."""
    conventions = self.trained.network.conventions
    return inputs.to_input(
      images,
      resolution=self.resolution,
      mean=conventions.mean,
      std=conventions.std,
    )

  def logits(self, x: jax.Array) -> jax.Array:
    """Maps normalised images f32[batch, r, r, 3] to f32[batch, classes]."""
    return self.module.apply(self.variables, x, False)[0]

  def probabilities(self, logits: jax.Array) -> jax.Array:
    """Probabilities f32[batch, classes] of logits, by softmax or sigmoid."""
    multi_label = self.trained.multi_label
    return (jax.nn.sigmoid if multi_label else jax.nn.softmax)(logits)


def of(trained: Trained) -> Source:
  """Folds a trained network's BatchNorm."""
  network = trained.network
  return Source(
    trained=trained,
    module=registry.build(network, dtype="float32", folded=True),
    variables=folding.fold(
      trained.variables, epsilon=network.conventions.epsilon
    ),
  )
