"""Tries the kernels for GPUs on the very GPU, before a run relies on them.

The kernels of `ops.gpu` are compiled anew for each kind of GPU, and what a
compiler gets wrong would be silent: a network that learns a little worse. So a
few layers are trained for a step, by these kernels and by XLA's operations, and
the gradients of both compared with those in float32.
"""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from mn_jax.config import Config
from mn_jax.errors import RunError, in_one_line
from mn_jax.models import blocks, layers
from mn_jax.ops.gpu import chain
from mn_jax.train import step

# How much larger than that of XLA's operations the kernels' error may be, and
# what is no error at all. A tile that is left out is an error of about 1.
_TOLERANCE, _ROUNDING = 2.0, 0.05
# Images, and their height and width in pixels: no tile fits, and programs have
# several, some of them fewer than others.
_IMAGES, _SIZE = 64, 131


def check(config: Config, mesh: Mesh) -> Mesh:
  """Compares gradients on a GPU of this process, if training uses the kernels.

  Returns:
    The mesh.

  Raises:
    RunError: if the kernels do not compile there or are wrong.
  """
  if not step.uses_gpu_kernels(config, mesh):
    return mesh
  device = mesh.local_devices[0]
  valid = "valid: model.gpu_kernels=xla, which is without them"
  try:
    with jax.default_device(device):
      kernels, xla = errors(interpret=False)
  except Exception as error:  # Whatever a compiler says.
    raise RunError(
      f"model.gpu_kernels: the kernels failed on {device.device_kind} "
      f"({in_one_line(error)}); {valid}"
    ) from error
  if not kernels <= _TOLERANCE * xla + _ROUNDING:
    raise RunError(
      f"model.gpu_kernels: gradients on {device.device_kind} are off by "
      f"{kernels:.2g} of their norm, those of XLA's operations by {xla:.2g}; "
      f"{valid}"
    )
  return mesh


def errors(
  *, interpret: bool, count: int = _IMAGES, size: int = _SIZE
) -> tuple[float, float]:
  """Errors of a step's gradients in bfloat16, by the kernels and by XLA.

  Args:
    interpret: run the kernels as plain JAX, on any platform.
    count: number of images.
    size: their height and width in pixels.

  Returns:
    Of each the largest error of a parameter's gradient, relative to its norm.
  """
  draw = np.random.default_rng(0)
  images = draw.normal(size=(count, size, size, 3)).astype(np.float32)
  with jax.default_matmul_precision("highest"):
    params = jax.jit(_Layers(jnp.float32).init)(jax.random.key(0), images)
    exact = _gradients(jnp.float32, params, images)
  xla = _gradients(jnp.bfloat16, params, images)
  with chain.links(interpret=interpret):
    kernels = _gradients(jnp.bfloat16, params, images)
  return _largest_error(kernels, exact), _largest_error(xla, exact)


class _Layers(nn.Module):
  """Layers of every kind that has kernels, none of a size that suits tiles."""

  dtype: type

  @nn.compact
  def __call__(self, x: jax.Array) -> jax.Array:
    norm = functools.partial(layers.BatchNorm, momentum=0.9)
    unit = functools.partial(
      layers.ConvBN, norm=norm, dtype=self.dtype, activation=layers.relu6
    )
    x = unit(24, stride=2, name="stem")(x, True)
    x = unit(None, name="depthwise")(x, True)
    x = unit(40, window=1, name="pointwise")(x, True)
    block = blocks.InvertedResidual(
      72,
      40,
      stride=2,
      window=5,
      activation=layers.hard_swish,
      unit=functools.partial(layers.ConvBN, norm=norm, dtype=self.dtype),
      name="block",
    )
    x = block(x, True)
    # No plain mean: behind BatchNorm that is a constant, without a gradient.
    weights = np.random.default_rng(1).normal(size=x.shape).astype(np.float32)
    return jnp.sum(x.astype(jnp.float32) * weights)


def _gradients(dtype: type, variables: dict, images: np.ndarray) -> list:
  network = _Layers(dtype)

  # A function of its own for each program: whether it is made of kernels is no
  # argument that jit could tell them by.
  @jax.jit
  def gradients(params: dict) -> dict:
    def loss(params: dict) -> jax.Array:
      values = {**variables, "params": params}
      x = jnp.asarray(images, dtype)
      return network.apply(values, x, mutable=["batch_stats"])[0]

    return jax.grad(loss)(params)

  return [
    np.asarray(x) for x in jax.tree.leaves(gradients(variables["params"]))
  ]


def _largest_error(got: list, exact: list) -> float:
  norms = [np.linalg.norm(x) for x in exact]
  found = [
    np.linalg.norm(a - b) / norm
    for a, b, norm in zip(got, exact, norms, strict=True)
    # What a BatchNorm behind takes away has no gradient but rounding.
    if norm > _ROUNDING * max(norms) / len(norms)
  ]
  return float(np.max(found))
