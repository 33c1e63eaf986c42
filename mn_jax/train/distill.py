"""Knowledge distillation: a network learns the predictions of a teacher.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", 2015
(arXiv:1503.02531). Loading a teacher, and whether it suits a run, is left to
`run.teacher`.
"""

import dataclasses

import jax
import jax.numpy as jnp

from mn_jax.augment import inputs
from mn_jax.models.classifier import Classifier
from mn_jax.models.spec import Conventions

# What `sums` returns.
SUMS = ("teacher_loss", "teacher_agreement")


@dataclasses.dataclass(frozen=True)
class Teacher:
  """A network for inference, and how images become its input.

  Its variables are an argument wherever they are needed, so that a compiled
  step does not hold them as constants.

  Attributes:
    module: the network, BatchNorm folded.
    conventions: its input normalisation.
    resolution: height and width of its input in pixels.
  """

  module: Classifier
  conventions: Conventions
  resolution: int

  def logits(self, variables: dict, images: jax.Array) -> jax.Array:
    """Predicts images in evaluation mode; no gradient passes through it.

    Args:
      variables: of the module.
      images: u8 or f32[batch, h, w, 3] in [0, 255], augmented and mixed.

    Returns:
      f32[batch, classes].
    """
    x = inputs.to_input(
      images,
      resolution=self.resolution,
      mean=self.conventions.mean,
      std=self.conventions.std,
    )
    logits, _ = self.module.apply(variables, x, False)
    return jax.lax.stop_gradient(logits)


def sums(
  logits: jax.Array,
  teacher_logits: jax.Array,
  mask: jax.Array,
  *,
  temperature: float,
  multi_label: bool,
) -> dict[str, jax.Array]:
  """Compares the predictions of a batch with a teacher's.

  Args:
    logits, teacher_logits: f32[batch, classes].
    mask: f32[batch], 1 for each image that counts, else 0.
    temperature: of both, above 0.
    multi_label: whether an image may have several labels.

  Returns:
    'teacher_loss', the sum of `divergence`, and 'teacher_agreement', the number
    of images that both predict alike (of several labels, the share of an
    image's labels), f32[].
  """
  per_example = divergence(
    logits, teacher_logits, temperature=temperature, multi_label=multi_label
  )
  if multi_label:
    same = (logits >= 0) == (teacher_logits >= 0)
    agrees = jnp.mean(same, axis=-1)
  else:
    same = jnp.argmax(logits, -1) == jnp.argmax(teacher_logits, -1)
    agrees = same.astype(jnp.float32)
  totals = (jnp.sum(mask * per_example), jnp.sum(mask * agrees))
  return dict(zip(SUMS, totals, strict=True))


def divergence(
  logits: jax.Array,
  teacher_logits: jax.Array,
  *,
  temperature: float,
  multi_label: bool,
) -> jax.Array:
  """The divergence of predictions from a teacher's, at a temperature.

  It is T^2 KL(teacher || student), where both are the softmax of logits / T
  (Hinton et al. 2015, section 2): the factor T^2 keeps the size of gradients
  about the same for every T. Of several labels it is the mean over the labels
  of the same for the sigmoid of each, the distribution of a label's presence.

  Args:
    logits: f32[batch, classes].
    teacher_logits: f32[batch, classes].
    temperature: T, above 0.
    multi_label: whether an image may have several labels.

  Returns:
    f32[batch], in nats, at least 0 but for rounding.
  """
  student, teacher = logits / temperature, teacher_logits / temperature
  if multi_label:
    kl = jnp.zeros_like(student)
    for sign in (1.0, -1.0):  # present, absent
      log_p = jax.nn.log_sigmoid(sign * teacher)
      kl += jnp.exp(log_p) * (log_p - jax.nn.log_sigmoid(sign * student))
    per_example = jnp.mean(kl, axis=-1)
  else:
    log_p = jax.nn.log_softmax(teacher)
    log_q = jax.nn.log_softmax(student)
    per_example = jnp.sum(jnp.exp(log_p) * (log_p - log_q), axis=-1)
  return temperature**2 * per_example
