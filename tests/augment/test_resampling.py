"""Tests of resampling: every formulation of every platform, on the CPU."""

import jax
import numpy as np
import pytest
import scipy.ndimage
from jax.sharding import NamedSharding, PartitionSpec

from mn_jax.augment import resampling

_WARPS = {f.__name__: jax.jit(f) for f in resampling.WARPS.values()}
_SCALINGS = {f.__name__: jax.jit(f) for f in resampling.FORMULATIONS.values()}
_ALL = {**_WARPS, **_SCALINGS}


def _images(*shape: int) -> np.ndarray:
  return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def _resampled(how: str, images: np.ndarray, maps: np.ndarray) -> np.ndarray:
  maps = np.float32(maps).reshape(-1, 3, 3)
  return np.asarray(_ALL[how](np.float32(images), maps))


def _assert_scipys(
  resampled: np.ndarray, images: np.ndarray, maps: np.ndarray
) -> None:
  """Compares with SciPy's result in float64."""
  center = (np.array(images.shape[1:3]) - 1) / 2
  for image, matrix, got in zip(images, maps, resampled, strict=True):
    offset = matrix[:2, 2] + center - matrix[:2, :2] @ center
    for channel in range(3):
      expected = scipy.ndimage.affine_transform(
        image[..., channel].astype(np.float64),
        matrix[:2, :2],
        offset,
        order=1,
        mode="reflect",  # Of SciPy, which is NumPy's symmetric.
      )
      # Coordinates of up to 60 pixels in float32, times steps of up to 255.
      np.testing.assert_allclose(got[..., channel], expected, atol=5e-3)


@pytest.mark.parametrize("how", _ALL)
def test_the_identity_leaves_every_bit(how):
  images = _images(2, 5, 8)
  maps = np.broadcast_to(np.eye(3), (2, 3, 3))
  np.testing.assert_array_equal(_resampled(how, images, maps), images)


@pytest.mark.parametrize("how", _ALL)
def test_whole_pixels_move_and_edges_are_mirrored(how):
  images = _images(1, 4, 6)
  padded = np.pad(images, ((0, 0), (13, 13), (13, 13), (0, 0)), "symmetric")
  for down, right in ((2, -3), (-4, 6), (-13, 13)):
    moved = _resampled(how, images, [[1, 0, down], [0, 1, right], [0, 0, 1]])
    expected = padded[:, 13 + down : 17 + down, 13 + right : 19 + right]
    np.testing.assert_array_equal(moved, expected)


@pytest.mark.parametrize("how", _WARPS)
def test_an_affine_quarter_turn_is_rot90(how):
  images = _images(3, 9, 12)[:, :, :9]
  # The result's row is the source's column, and its column leads downward.
  turn = [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]
  turned = _resampled(how, images, [turn] * 3)
  np.testing.assert_array_equal(turned, np.rot90(images, 1, axes=(1, 2)))
  angle = np.pi / 2  # Of which the cosine is not quite 0.
  cos, sin = np.cos(angle), np.sin(angle)
  turn = [[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]
  turned = _resampled(how, images, [turn] * 3)
  expected = np.rot90(images, -1, axes=(1, 2))
  np.testing.assert_allclose(turned, expected, atol=1e-3)


@pytest.mark.parametrize("how", _WARPS)
def test_warps_are_scipys_affine_transform(how):
  images = _images(3, 9, 12)
  draw = np.random.default_rng(1)
  maps = np.tile(np.eye(3), (3, 1, 1))
  maps[:, :2, :2] += draw.normal(size=(3, 2, 2))
  maps[:, :2, 2] = 20 * draw.normal(size=(3, 2))
  _assert_scipys(_resampled(how, images, maps), images, maps)


@pytest.mark.parametrize("how", _ALL)
def test_scaling_and_translating_is_scipys_affine_transform(how):
  images = _images(4, 9, 12)
  draw = np.random.default_rng(2)
  maps = np.tile(np.eye(3), (4, 1, 1))
  maps[:, 0, 0], maps[:, 1, 1] = draw.normal(size=(2, 4))
  maps[:, :2, 2] = 20 * draw.normal(size=(4, 2))
  _assert_scipys(_resampled(how, images, maps), images, maps)


def test_what_this_platform_runs_is_one_of_them():
  images, maps = np.float32(_images(2, 6, 7)), np.zeros((2, 3, 3), np.float32)
  maps[:] = np.diag([0.7, 1.2, 1])
  for run, how in (
    (resampling.warp, resampling.WARPS["cpu"]),
    (resampling.scale_and_translate, resampling.FORMULATIONS["cpu"]),
  ):
    expected = jax.jit(how)(images, maps)
    np.testing.assert_array_equal(jax.jit(run)(images, maps), expected)


@pytest.mark.devices(4)
@pytest.mark.parametrize("how", _ALL)
def test_every_device_resamples_its_own_images(how):
  mesh = jax.make_mesh((4,), ("data",), devices=jax.devices())
  shard = NamedSharding(mesh, PartitionSpec("data"))
  resample = jax.jit(_ALL[how], in_shardings=shard, out_shardings=shard)
  images = jax.ShapeDtypeStruct((8, 6, 7, 3), np.float32)
  maps = jax.ShapeDtypeStruct((8, 3, 3), np.float32)
  program = resample.lower(images, maps).compile().as_text()
  assert "f32[2,6,7,3]" in program
  assert "all-" not in program
