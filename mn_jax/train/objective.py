"""What training minimises: the loss of a batch, with labels and a teacher.

Images are augmented and mixed here, so that whoever predicts them, the network
or a teacher, sees the same ones.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from mn_jax.augment import inputs, mix, pipeline
from mn_jax.config import Config, TrainConfig
from mn_jax.models.classifier import Classifier
from mn_jax.models.spec import Conventions
from mn_jax.train import distill, losses
from mn_jax.train.rules import merge

Sums = dict[str, jax.Array]
# (trained, frozen, batch_stats, batch, key), and with a teacher its variables
# -> (loss, (batch_stats, sums)).
LossFn = Callable[..., tuple[jax.Array, tuple[dict, Sums]]]


def names_of_sums(teacher: distill.Teacher | None) -> tuple[str, ...]:
  """Returns the names of the sums that a loss comes with."""
  of_teacher = () if teacher is None else distill.SUMS
  return ("loss", "correct", "count", *of_teacher)


def make_loss(
  module: Classifier,
  conventions: Conventions,
  config: Config,
  *,
  class_weights: jax.Array,
  log_prior: jax.Array,
  teacher: distill.Teacher | None,
  extracted: bool,
) -> LossFn:
  """Makes the mean loss of a batch; arguments are those of `make_train_step`.

  With a teacher it is (1 - w) times the loss of the labels plus w times that of
  the teacher, w being `train.teacher_weight`. Weights of classes, logit
  adjustment, label smoothing and the focal loss are of the labels' part alone.
  """
  weight_of_teacher = config.train.teacher_weight
  augmentation = config.augment
  if config.data.short_side:  # the loader has cropped already
    augmentation = dataclasses.replace(augmentation, crop_scale=1.0)

  def forward(variables, images, dropout_key):
    rest = {"mutable": ["batch_stats"], "rngs": {"dropout": dropout_key}}
    if extracted:
      return module.apply(variables, images, True, method="classify", **rest)
    x = inputs.to_input(
      images,
      resolution=config.model.train_resolution or config.model.resolution,
      mean=conventions.mean,
      std=conventions.std,
    )
    (logits, _), updated = module.apply(variables, x, True, **rest)
    return logits, updated

  def loss_fn(trained, frozen, batch_stats, batch, key, of_teacher=None):
    variables = {"params": merge(trained, frozen), "batch_stats": batch_stats}
    augment_key, dropout_key, mix_key = jax.random.split(key, 3)
    images, labels = batch["image"], batch["label"]
    multi_label = labels.ndim == 2
    if multi_label:
      targets = labels.astype(jnp.float32)
    else:
      targets = jax.nn.one_hot(labels, len(class_weights))
    if not extracted:
      images = pipeline.augment(images, augment_key, augmentation)
      images, targets = mix.mix(
        images, targets, mix_key, config.augment, mask=batch["mask"]
      )
    logits, updated = forward(variables, images, dropout_key)
    weight = batch["mask"]
    if not multi_label:
      weight *= losses.target_weights(class_weights, targets)
    per_example = _per_example(
      logits, targets, config.train, class_weights, log_prior, multi_label
    )
    loss = jnp.sum(weight * per_example)
    if multi_label:
      hits = batch["mask"] * jnp.mean((logits >= 0) == (labels > 0), axis=-1)
    else:
      hit = jnp.argmax(logits, axis=-1) == labels
      hits = jnp.where(hit, batch["mask"], 0)
    count = jnp.sum(batch["mask"])
    sums = {"loss": loss, "correct": jnp.sum(hits), "count": count}
    if teacher is not None:
      sums |= distill.sums(
        logits,
        teacher.logits(of_teacher, images),
        batch["mask"],
        temperature=config.train.teacher_temperature,
        multi_label=multi_label,
      )
      loss = (1 - weight_of_teacher) * loss + weight_of_teacher * sums[
        "teacher_loss"
      ]
      sums["loss"] = loss
    return loss / count, (updated["batch_stats"], sums)

  return loss_fn


def _per_example(
  logits: jax.Array,
  targets: jax.Array,
  config: TrainConfig,
  class_weights: jax.Array,
  log_prior: jax.Array,
  multi_label: bool,
) -> jax.Array:
  """The loss of each example, f32[batch].

  Weights of classes are in that of several labels; an example of one class is
  weighted as a whole.
  """
  if config.logit_adjustment:
    logits = losses.adjust_logits(
      logits, log_prior, tau=config.logit_adjustment
    )
  options = {
    "label_smoothing": config.label_smoothing,
    "focal_gamma": config.focal_gamma,
  }
  if multi_label:
    return losses.binary_cross_entropy(
      logits, targets, weights=class_weights, **options
    )
  return losses.cross_entropy(logits, targets, **options)
