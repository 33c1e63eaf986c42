"""Tests of the GPU kernels: as plain JAX on the host, and lowered for a GPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import triton

from mn_jax.models import layers
from mn_jax.ops import depthwise, depthwise_kernels, depthwise_pallas, padding
from tests.ops import depthwise_cases as cases

_interpreted = functools.partial(
  depthwise_pallas.depthwise_conv, interpret=True
)


@pytest.fixture
def small_tiles(monkeypatch):
  """Tiny images have several tiles along each axis, none of which fits."""
  monkeypatch.setattr(depthwise_kernels, "_CHANNELS", (2,))
  monkeypatch.setattr(depthwise_kernels, "_VALUES", 8)
  monkeypatch.setattr(depthwise_kernels, "_ROWS", 2)
  # Of the kernel's gradient the last program has fewer tiles than the others.
  monkeypatch.setattr(depthwise_kernels, "_PROGRAMS", 3)


def _check(got, expected, names=("y", "dx", "dkernel")):
  for what, a, b in zip(names, got, expected, strict=True):
    assert a.shape == b.shape
    np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5, err_msg=what)


def _run(name, **shape):
  """What the kernels give and what the loops do."""
  size, window, stride, pad = cases.case(name)
  arrays = cases.inputs(size, window, stride, pad, **shape)
  got = jax.jit(
    lambda *arrays: cases.compute(_interpreted, *arrays, stride, pad)
  )(*(a.astype(np.float32) for a in arrays))
  return got, cases.reference(*arrays, stride, pad)


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize("size", [(4, 4, 3), (5, 7, 4), (1, 1, 1)])
def test_tiles_cover_every_value_once(size):
  """A GPU would write what is unmasked outside, plain JAX drops it."""
  tiling = depthwise_kernels._tiling(size, held=9)
  found = np.zeros((size[0] * size[1], size[2]), int)
  for blocks in np.ndindex(tiling.blocks):
    corner = tiling.corner(*blocks)
    for q in range(tiling.tile[0]):
      pixels, mask = corner.pixels(corner.row + q, corner.cols, size[:2])
      pixels = np.broadcast_to(pixels, mask.shape)
      np.add.at(found, (pixels[mask], np.asarray(corner.chans)[mask]), 1)
  assert (found == 1).all()


@pytest.mark.usefixtures("small_tiles")
@pytest.mark.parametrize(
  "name",
  ["3x3-stride2-mixed", "1x1-stride3", "asymmetric"],
)
def test_values_and_gradients(name):
  _check(*_run(name))


def test_values_and_gradients_of_one_tile():
  _check(*_run("2x2", batch=1))


@pytest.mark.usefixtures("small_tiles")
def test_vmap_over_replicas():
  size, window, stride, pad = cases.case("2x2")
  arrays = cases.inputs(size, window, stride, pad)
  replicas = [[(1 + i) * a for a in arrays] for i in range(2)]
  stacked = [
    np.stack(a).astype(np.float32) for a in zip(*replicas, strict=True)
  ]
  got = jax.jit(
    jax.vmap(lambda *a: cases.compute(_interpreted, *a, stride, pad))
  )(*stacked)
  for i, one in enumerate(replicas):
    _check([a[i] for a in got], cases.reference(*one, stride, pad))


def test_bfloat16_is_summed_in_float32():
  """2,000 terms: a bfloat16 sum stalls far below, a float32 one rounds once."""
  size, window, stride, pad = (32, 32), (1, 1), 1, ((0, 0), (0, 0))
  arrays = [
    # Positive, so that nothing cancels; exact in bfloat16.
    np.asarray(jnp.asarray(np.abs(a), jnp.bfloat16), np.float64)
    for a in cases.inputs(size, window, stride, pad)
  ]
  got = jax.jit(
    lambda *arrays: cases.compute(
      _interpreted, *arrays, stride, pad, dtype=jnp.bfloat16
    )
  )(*(jnp.asarray(a, jnp.bfloat16) for a in arrays))
  expected = cases.reference(*arrays, stride, pad)
  for a, b in zip(got, expected, strict=True):
    assert a.dtype == jnp.bfloat16
    # 2^-8 is half a unit in the last of bfloat16's 8 bits.
    np.testing.assert_allclose(np.asarray(a, np.float64), b, rtol=2**-8)


@pytest.mark.usefixtures("small_tiles")
def test_activated_conv_is_the_operations_one_after_the_other():
  size, window, stride, pad = cases.case("asymmetric")
  x, kernel, dy = (
    a.astype(np.float32) for a in cases.inputs(size, window, stride, pad)
  )
  draw = np.random.default_rng(1)
  vectors = draw.normal(0.5, 1, (4, x.shape[-1])).astype(np.float32)
  factor, offset, dtotal, dsquares = vectors

  def together(x, factor, offset, kernel):
    return depthwise_pallas.activated_conv(
      x,
      factor,
      offset,
      kernel,
      activation=layers.relu6,
      stride=stride,
      padding=pad,
      interpret=True,
    )

  def apart(x, factor, offset, kernel):
    z = layers.relu6(
      x * factor.reshape(1, 1, 1, -1) + offset.reshape(1, 1, 1, -1)
    )
    y = depthwise.grouped(z, kernel, stride=stride, padding=pad)
    return y, jnp.sum(y, (0, 1, 2)), jnp.sum(y * y, (0, 1, 2))

  def both_ways(way):
    out, pullback = jax.vjp(way, x, factor, offset, kernel)
    return *out, *pullback((dy, dtotal, dsquares))

  got, expected = (
    jax.jit(functools.partial(both_ways, way))() for way in (together, apart)
  )
  names = ("y", "total", "squares", "dx", "dfactor", "doffset", "dkernel")
  for what, a, b in zip(names, got, expected, strict=True):
    # Sums of some hundred products.
    np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4, err_msg=what)


def _lowered(compute, *shapes) -> str:
  """A program for an H200, which need not be there."""
  device = jax.sharding.AbstractDevice(
    device_kind="NVIDIA H200", num_cores=None, platform="gpu"
  )
  mesh = jax.sharding.AbstractMesh((), (), abstract_device=device)
  with jax.sharding.use_abstract_mesh(mesh):
    traced = jax.jit(compute).trace(*shapes)
    return traced.lower(lowering_platforms=("cuda",)).as_text()


# JAX's own warning that this backend will be removed.
@pytest.mark.filterwarnings(
  "ignore:The Pallas Triton backend:DeprecationWarning"
)
@pytest.mark.parametrize(
  ("channels", "size", "window", "stride", "dtype"),
  [
    (64, 112, 3, 2, "bfloat16"),
    (24, 56, 3, 1, "bfloat16"),
    (144, 25, 3, 2, "float32"),
    (72, 14, 5, 2, "bfloat16"),
  ],
)
def test_networks_shapes_become_programs_for_gpus(
  channels, size, window, stride, dtype
):
  pad = padding.resolve("same", (size, size), (window, window), stride)
  shapes = [
    jax.ShapeDtypeStruct(a.shape, dtype)
    for a in cases.inputs(
      (size, size), (window, window), stride, pad, channels=channels
    )
  ]
  text = _lowered(
    lambda *arrays: cases.compute(
      depthwise.pallas, *arrays, stride, pad, dtype=dtype
    ),
    *shapes,
  )
  assert text.count(f"@{triton.CUSTOM_CALL_TARGET_NAME}") == 3
  assert "convolution" not in text


@pytest.mark.filterwarnings(
  "ignore:The Pallas Triton backend:DeprecationWarning"
)
def test_activated_conv_becomes_a_program_for_gpus():
  size, window, stride, pad = cases.case("3x3-stride2-odd")
  x, kernel, dy = (
    jax.ShapeDtypeStruct(a.shape, jnp.bfloat16)
    for a in cases.inputs(size, window, stride, pad, channels=24)
  )
  vector = jax.ShapeDtypeStruct((24,), jnp.float32)

  def compute(x, factor, offset, kernel, dy):
    out, pullback = jax.vjp(
      functools.partial(
        depthwise_pallas.activated_conv,
        activation=layers.relu6,
        stride=stride,
        padding=pad,
      ),
      x,
      factor,
      offset,
      kernel,
    )
    return out, pullback((dy, *out[1:]))

  text = _lowered(compute, x, vector, vector, kernel, dy)
  assert text.count(f"@{triton.CUSTOM_CALL_TARGET_NAME}") == 3


@pytest.mark.parametrize("platform", ["cpu", "cuda"])
def test_no_platform_uses_the_kernels(platform):
  x, kernel = jnp.ones((1, 4, 5, 2)), jnp.ones((3, 3, 1, 2))
  conv = functools.partial(depthwise.depthwise_conv, padding=((1, 1), (1, 1)))
  lowered = jax.jit(conv).trace(x, kernel).lower(lowering_platforms=(platform,))
  assert triton.CUSTOM_CALL_TARGET_NAME not in lowered.as_text()


def test_candidates_run_where_they_say():
  x, kernel = jnp.ones((1, 4, 5, 2)), jnp.ones((3, 3, 1, 2))
  for name, way in depthwise.CANDIDATES.items():
    conv = functools.partial(way, stride=1, padding=((1, 1), (1, 1)))
    if depthwise.CONFINED.get(name, "cpu") == "cpu":
      assert conv(x, kernel).shape == x.shape
    else:
      with pytest.raises(ValueError, match="interpret"):
        conv(x, kernel)
