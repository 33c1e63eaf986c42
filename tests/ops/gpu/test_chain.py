"""Tests of networks whose convolutions and BatchNorms are links of a chain."""

import contextlib
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from mn_jax.models import blocks, layers
from mn_jax.ops.gpu import chain, fused, origins


class _Network(nn.Module):
  """Inverted residuals with and without a shortcut, and a strided 1x1."""

  dtype: type = jnp.bfloat16

  @nn.compact
  def __call__(self, x):
    unit = functools.partial(
      layers.ConvBN, norm=layers.BatchNorm, dtype=self.dtype
    )
    block = functools.partial(
      blocks.InvertedResidual, 12, activation=layers.relu6, unit=unit
    )
    x = unit(8, stride=2, activation=layers.relu6, name="stem")(x, True)
    x = block(8, stride=1, name="block0")(x, True)
    x = block(10, stride=2, name="block1")(x, True)
    x = unit(6, window=1, stride=2, name="top")(x, True)
    # No square: its mean behind BatchNorm is a constant, without a gradient.
    weights = np.random.default_rng(1).normal(size=x.shape)
    return jnp.mean(x.astype(jnp.float32) * weights.astype(np.float32))


class _Varied(nn.Module):
  """What may stand between links, and every kind of statistics."""

  dtype: type = jnp.bfloat16

  @nn.compact
  def __call__(self, x):
    def block(number, features, norm, **options):
      unit = functools.partial(layers.ConvBN, norm=norm, dtype=self.dtype)
      return blocks.InvertedResidual(
        12, features, unit=unit, name=f"block{number}", **options
      )

    norm = layers.BatchNorm
    stem = layers.ConvBN(
      8,
      norm,
      window=1,
      use_bias=True,
      dtype=self.dtype,
      activation=layers.relu6,
      name="stem",
    )
    x = stem(x, True)
    # The expansion and what adds its output to others read one map.
    gated = block(
      0, 8, norm, stride=1, activation=layers.hard_swish, window=5, squeezed=4
    )
    x = gated(x, True)
    frozen = functools.partial(norm, frozen=lambda _: True)
    x = block(1, 10, frozen, stride=2, activation=layers.relu6)(x, True)
    groups = functools.partial(norm, group=2)
    x = block(2, 10, groups, stride=1, activation=jax.nn.relu)(x, True)
    weights = np.random.default_rng(1).normal(size=x.shape)
    return jnp.mean(x.astype(jnp.float32) * weights.astype(np.float32))


def _loss_and_gradients(dtype, linked, x, variables, network=_Network):
  network = network(dtype)

  def loss(params):
    return network.apply(
      {**variables, "params": params}, x.astype(dtype), mutable=["batch_stats"]
    )

  def run(params):
    return jax.value_and_grad(loss, has_aux=True)(params)

  if linked:
    run = chain.links(interpret=True)(run)
  return jax.jit(run)(variables["params"])


@pytest.fixture(scope="module")
def problem():
  x = jnp.asarray(
    np.random.default_rng(0).normal(size=(4, 13, 13, 3)), jnp.float32
  )
  return x, jax.jit(_Network().init)(jax.random.key(0), x)


def _errors(got, expected):
  """Relative error of every gradient, in the norm."""
  pairs = zip(
    jax.tree.leaves(got[1]), jax.tree.leaves(expected[1]), strict=True
  )
  return np.array([np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in pairs])


def test_a_linked_network_is_as_accurate_as_another(problem):
  exact = _loss_and_gradients(jnp.float32, False, *problem)
  plain = _errors(_loss_and_gradients(jnp.bfloat16, False, *problem), exact)
  linked = _errors(_loss_and_gradients(jnp.bfloat16, True, *problem), exact)
  # Some gradients are 0 but for rounding, and have any relative error.
  for share in (0.5, 0.8):
    assert np.quantile(linked, share) < 1.3 * np.quantile(plain, share)


@pytest.fixture
def float32_links(monkeypatch):
  """Links of float32, too: in bfloat16 rounding hides a sum that is missing."""
  monkeypatch.setattr(
    chain,
    "applies",
    lambda x, features=1: chain._INTERPRET.get() is not None and x.ndim == 4,
  )


def _assert_equal_gradients(got, expected):
  largest = max(float(jnp.abs(b).max()) for b in jax.tree.leaves(expected[1]))
  for (path, a), b in zip(
    jax.tree.leaves_with_path(got[1]), jax.tree.leaves(expected[1]), strict=True
  ):
    np.testing.assert_allclose(
      a, b, rtol=1e-3, atol=1e-5 * largest, err_msg=jax.tree_util.keystr(path)
    )


@pytest.mark.extended
@pytest.mark.usefixtures("float32_links")
@pytest.mark.parametrize("network", [_Network, _Varied])
def test_every_gradient_is_right_in_float32(network, problem):
  x, _ = problem
  variables = jax.jit(network(jnp.float32).init)(jax.random.key(0), x)
  got, expected = (
    _loss_and_gradients(jnp.float32, linked, x, variables, network)
    for linked in (True, False)
  )
  _assert_equal_gradients(got, expected)


def test_links_take_what_layers_note(problem, monkeypatch):
  """Were a note lost, results would be right and programs large."""
  taken = []

  def conv(convolution, x, kernel, affine=None, activation=None):
    taken.append((type(convolution).__name__, affine is not None))
    return _conv(convolution, x, kernel, affine, activation)

  _conv = fused.conv
  monkeypatch.setattr(fused, "conv", conv)
  x, variables = problem
  with chain.links(interpret=True):
    jax.eval_shape(
      lambda x: _Network().apply(variables, x, mutable=["batch_stats"]), x
    )
  assert taken == [
    ("Pointwise", True),  # expand
    ("Depthwise", True),
    ("Pointwise", True),  # project
    ("Pointwise", False),  # behind a shortcut
    ("Depthwise", True),
    ("Pointwise", True),
    ("Pointwise", False),  # of some pixels
  ]


def test_nothing_changes_outside_of_links_or_in_float32(problem):
  x, variables = problem

  def program(dtype, linked):
    def run(x):
      return _Network(dtype).apply(variables, x, mutable=["batch_stats"])

    with chain.links(interpret=True) if linked else contextlib.nullcontext():
      return jax.jit(run).lower(x).as_text()

  assert program(jnp.float32, True) == program(jnp.float32, False)
  assert program(jnp.bfloat16, True) != program(jnp.bfloat16, False)


def test_images_beyond_32_bits_are_not_linked():
  def shape(*size, dtype=jnp.bfloat16):
    return jax.ShapeDtypeStruct(size, dtype)

  with chain.links():
    assert chain.applies(shape(1024, 112, 112, 64), features=128)
    assert not chain.applies(shape(2048, 112, 112, 96))
    assert not chain.applies(shape(1024, 112, 112, 32), features=192)
    assert not chain.applies(shape(8, 4, 4, 8, dtype=jnp.float32))
    assert not chain.applies(shape(8, 1, 1, 8))  # of squeeze and excitation
    assert not chain.applies(shape(8, 16))
  assert not chain.applies(shape(8, 4, 4, 8))


def test_every_device_has_32_bits_for_its_own_images():
  """Eight GPUs with 256 images of MobileNetV2 each are linked as one is."""
  images = jax.ShapeDtypeStruct((2048, 112, 112, 96), jnp.bfloat16)
  devices = jax.sharding.AbstractMesh((8,), ("data",))
  with chain.links():
    assert not chain.applies(images)
    with jax.sharding.use_abstract_mesh(devices):
      assert chain.applies(images)
      # Of a batch that cannot be divided, each device has all images.
      whole = jax.ShapeDtypeStruct((2049, 112, 112, 96), jnp.bfloat16)
      assert not chain.applies(whole)


def test_a_note_goes_with_its_array():
  x = jnp.ones((2, 3))
  origins.note(x, origins.Sums(jnp.ones(3), jnp.ones(3)))
  assert origins.find(x, origins.Sums) is not None
  assert origins.find(x, origins.Normalised) is None
  assert origins.find(x + 1, origins.Sums) is None
  count = len(origins._NOTES)
  del x
  assert len(origins._NOTES) == count - 1


@pytest.mark.devices(4)
@pytest.mark.usefixtures("float32_links")
def test_devices_sum_over_the_whole_batch(problem):
  mesh = jax.make_mesh((4,), ("data",), axis_types=(AxisType.Auto,))
  x, variables = problem

  def run(x):
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
      return _loss_and_gradients(jnp.float32, True, x, variables)

  compiled = jax.jit(run, in_shardings=NamedSharding(mesh, P("data"))).lower(x)
  compiled = compiled.compile()
  assert "all-gather" not in compiled.as_text()
  got = compiled(jax.device_put(x, NamedSharding(mesh, P("data"))))
  _assert_equal_gradients(
    got, _loss_and_gradients(jnp.float32, False, x, variables)
  )
