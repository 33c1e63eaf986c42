"""Tests of the trial of the kernels for GPUs before a run."""

import jax
import jax.numpy as jnp
import pytest

from mn_jax.config import files
from mn_jax.errors import RunError
from mn_jax.ops.gpu import chain, pointwise_kernels
from mn_jax.parallel import mesh as mesh_lib
from mn_jax.run import gpu_kernels


@pytest.fixture
def found(monkeypatch):
  """A GPU in the CPU's place; the errors that are found there."""
  found = []

  def errors(*, interpret):
    assert not interpret
    return found.pop()

  monkeypatch.setattr(chain, "supports", lambda device: True)
  monkeypatch.setattr(gpu_kernels, "errors", errors)
  return found


def check(*changes):
  config = files.load_config("idc_v1", ["model.dtype=bfloat16", *changes])
  gpu_kernels.check(config, mesh_lib.make_mesh(jax.devices()[:1]))


@pytest.mark.parametrize("errors", [(0.9, 0.1), (float("nan"), 0.1)])
def test_wrong_kernels_stop_a_run_before_it_begins(found, errors):
  found.append(errors)
  with pytest.raises(RunError, match=r"valid: model\.gpu_kernels=xla"):
    check()


def test_kernels_that_are_as_accurate_as_xla_pass(found):
  found.append((0.12, 0.1))
  check()
  assert not found


def test_kernels_that_do_not_compile_stop_a_run(found, monkeypatch):
  def errors(*, interpret):
    raise NotImplementedError("no\nsuch instruction")

  monkeypatch.setattr(gpu_kernels, "errors", errors)
  with pytest.raises(RunError, match=r"failed on cpu \(no such instruction\)"):
    check()


@pytest.mark.parametrize(
  "change", ["model.gpu_kernels=xla", "model.dtype=float32"]
)
def test_what_uses_no_kernels_tries_none(found, change):
  found.append((0.9, 0.1))
  check(change)
  assert found


@pytest.mark.extended
def test_errors_of_kernels_and_of_a_broken_one(monkeypatch):
  small = {"interpret": True, "count": 3, "size": 29}
  kernels, xla = gpu_kernels.errors(**small)
  assert 0 < kernels < 1.5 * xla

  def nothing(given, gradient, *, dtype, interpret):
    del dtype, interpret
    channels = given.images[0].shape[-1], gradient.images[0].shape[-1]
    return jnp.zeros(channels, jnp.float32)

  monkeypatch.setattr(pointwise_kernels, "kernel_gradient", nothing)
  assert gpu_kernels.errors(**small)[0] == pytest.approx(1)
