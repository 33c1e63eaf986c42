"""Flax and JAX as their examples use them: what to expect without this package.

Convolutions are Flax's, which makes a depthwise one a `lax.conv` with
`feature_group_count`; BatchNorm is Flax's, Adam Optax's, and the state is
donated to a jitted step.
"""

import dataclasses
from typing import Any

from mn_jax.perf.bench import side_process

# MobileNetV1 (Howard et al. 2017, table 1): output channels and stride.
_V1 = (
  (64, 1),
  (128, 2),
  (128, 1),
  (256, 2),
  (256, 1),
  (512, 2),
  *((512, 1),) * 5,
  (1024, 2),
  (1024, 1),
)
# MobileNetV2 (Sandler et al. 2018, table 2): expansion, output channels,
# repetitions, stride of the first.
_V2 = (
  (1, 16, 1, 1),
  (6, 24, 2, 2),
  (6, 32, 3, 2),
  (6, 64, 4, 2),
  (6, 96, 3, 1),
  (6, 160, 3, 2),
  (6, 320, 1, 1),
)
NETWORKS = ("mobilenet_v1", "mobilenet_v2")


def _network(case: side_process.Case) -> Any:
  """A Flax module: f32[batch, h, w, 3], train -> f32[batch, classes]."""
  import flax.linen as nn
  import jax
  import jax.numpy as jnp

  class MobileNet(nn.Module):
    @nn.compact
    def __call__(self, x, train):
      def conv(x, features, window=1, stride=1, groups=1, active=True):
        x = nn.Conv(
          features,
          (window, window),
          (stride, stride),
          feature_group_count=groups,
          use_bias=False,
          dtype=case.dtype,
        )(x)
        x = nn.BatchNorm(use_running_average=not train, dtype=case.dtype)(x)
        return jax.nn.relu6(x) if active else x

      def depthwise(x, stride):
        return conv(x, x.shape[-1], 3, stride, groups=x.shape[-1])

      x = conv(x, 32, 3, 2)
      if case.model == "mobilenet_v1":
        for features, stride in _V1:
          x = conv(depthwise(x, stride), features)
      else:
        for expansion, features, repetitions, first in _V2:
          for i in range(repetitions):
            shortcut, stride = x, first if i == 0 else 1
            if expansion > 1:
              x = conv(x, expansion * x.shape[-1])
            x = conv(depthwise(x, stride), features, active=False)
            if x.shape == shortcut.shape:
              x = x + shortcut
        x = conv(x, 1280)
      x = jnp.mean(x, axis=(1, 2)).astype(jnp.float32)
      return nn.Dense(case.classes)(x)

  return MobileNet()


def build(case: side_process.Case) -> side_process.Program:
  """A jitted step with a donated state."""
  import jax
  import jax.numpy as jnp
  import numpy as np

  steps = _steps(case)
  draw = np.random.default_rng(0)

  def values(leaf):
    """Kernels from a normal distribution: compiling `init` takes long."""
    if len(leaf.shape) < 2:
      return jnp.ones(leaf.shape, leaf.dtype)
    return jnp.asarray(draw.normal(0, 0.1, leaf.shape), leaf.dtype)

  images = jnp.asarray(draw.integers(0, 256, steps.images.shape, np.uint8))
  labels = jnp.asarray(draw.integers(0, case.classes, case.batch, np.int32))
  device = jax.devices()[0]
  variables = jax.tree.map(values, steps.variables)
  state = steps.init(variables) if case.mode == "train" else None

  def run(count: int) -> None:
    nonlocal state
    for _ in range(count):
      if case.mode == "train":
        state, out = steps.train(state, images, labels)
      else:
        out = steps.classify(variables, images)
    jax.block_until_ready((out, state))

  return side_process.Program(
    run=run,
    device=device.device_kind,
    packages=("jax", "jaxlib", "flax", "optax", "numpy"),
    device_peak=lambda: side_process.peak_device_memory(device),
  )


def num_params(case: side_process.Case) -> int:
  """The number of parameters of a case's network."""
  import math

  import jax

  params = _steps(case).variables["params"]
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def lower(case: side_process.Case, device: Any) -> Any:
  """Lowers the step for a JAX device, which need not exist here.

  Returns:
    A `jax.stages.Lowered`.

  Raises:
    RefusedError: for a network that is not in NETWORKS.
  """
  import jax

  steps = _steps(case)
  sharding = jax.sharding.SingleDeviceSharding(device)

  def place(tree):
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )

  if case.mode == "train":
    state = jax.eval_shape(steps.init, steps.variables)
    labels = jax.ShapeDtypeStruct((case.batch,), "int32")
    return steps.train.lower(*place((state, steps.images, labels)))
  return steps.classify.lower(*place((steps.variables, steps.images)))


@dataclasses.dataclass(frozen=True)
class _Steps:
  """Jitted functions of a case, and the shapes of their arguments."""

  train: Any
  classify: Any
  init: Any
  variables: Any
  images: Any


def _steps(case: side_process.Case) -> _Steps:
  import functools

  import jax
  import jax.numpy as jnp
  import optax

  side_process.check_network(case, "plain-jax", NETWORKS)
  module = _network(case)
  adam = optax.adam(1e-4)

  def normalise(images):
    return images.astype(jnp.float32) / 127.5 - 1

  @functools.partial(jax.jit, donate_argnums=0)
  def train_step(state, images, labels):
    params, stats, moments = state

    def loss_fn(params):
      logits, updated = module.apply(
        {"params": params, "batch_stats": stats},
        normalise(images),
        True,
        mutable=["batch_stats"],
      )
      losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return jnp.mean(losses), updated["batch_stats"]

    (loss, stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(params)
    updates, moments = adam.update(grads, moments)
    return (optax.apply_updates(params, updates), stats, moments), loss

  @jax.jit
  def classify(variables, images):
    return jax.nn.softmax(module.apply(variables, normalise(images), False))

  def init(variables):
    params, stats = variables["params"], variables["batch_stats"]
    return params, stats, adam.init(params)

  shape = (case.batch, case.resolution, case.resolution, 3)
  variables = jax.eval_shape(
    lambda x: module.init(jax.random.key(0), x, False),
    jax.ShapeDtypeStruct((1, *shape[1:]), jnp.float32),
  )
  images = jax.ShapeDtypeStruct(shape, jnp.uint8)
  return _Steps(train_step, classify, init, variables, images)


if __name__ == "__main__":
  side_process.serve(build)
