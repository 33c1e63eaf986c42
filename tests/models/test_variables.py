"""Tests of the initial values of networks, and of counts."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import counting, registry, variables
from tests.models import networks


def _build(**fields):
  return networks.build("mobilenet_v1", width=0.25, shallow=True, **fields)


def _kernels(values: dict) -> dict[str, np.ndarray]:
  flat = flax.traverse_util.flatten_dict(values["params"], sep="/")
  return {path: x for path, x in flat.items() if path.endswith("kernel")}


def _glorot_limit(shape: tuple[int, ...]) -> float:
  """Of a kernel [kh, kw, in, out] or [in, out]."""
  window = np.prod(shape[:-2])
  return np.sqrt(6 / (window * shape[-2] + window * shape[-1]))


def test_values_are_distributed_like_the_modules_own():
  module = _build()
  values = variables.initial_values(module, 32, 0)
  # The default generator takes four times as long to compile.
  key = jax.random.key(0, impl="unsafe_rbg")
  own = jax.jit(lambda key, x: module.init(key, x, False))(
    key, jnp.zeros((1, 32, 32, 3))
  )
  own = flax.traverse_util.flatten_dict(own, sep="/")
  for path, x in flax.traverse_util.flatten_dict(values, sep="/").items():
    if path.endswith("kernel"):
      # Within four standard errors of the uniform distribution's moments.
      n, limit = x.size, _glorot_limit(x.shape)
      # The largest of n draws is within 10 / n of the limit, but for e^-10.
      assert limit * (1 - 10 / n) < np.abs(x).max()
      for drawn in (x, np.asarray(own[path])):
        assert np.abs(drawn).max() <= limit
        assert abs(drawn.mean()) < 4 * limit / np.sqrt(3 * n), path
        assert abs(drawn.var() * 3 / limit**2 - 1) < 4 / np.sqrt(n), path
    else:
      np.testing.assert_array_equal(x, own[path], err_msg=path)


def test_values_are_pinned():
  """The drawn numbers are part of a result: they may not change unseen."""
  values = variables.initial_values(_build(), 32, 7)
  kernel = values["params"]["backbone"]["stem"]["conv"]["kernel"]
  np.testing.assert_array_equal(
    kernel[0, 0, 0, :3], np.float32([0.24223909, -0.0101738535, -0.22138473])
  )


def test_values_depend_on_seed_and_path_alone():
  first, again, other = (
    _kernels(variables.initial_values(_build(), pixels, seed))
    for pixels, seed in ((32, 0), (96, 0), (32, 1))
  )
  for path, x in first.items():
    np.testing.assert_array_equal(x, again[path])
    assert not np.any(x == other[path]), path
  # Two kernels of equal shape.
  a, b = (first[f"backbone/block{i}/depthwise/conv/kernel"] for i in (4, 5))
  assert a.shape == b.shape
  assert not np.any(a == b)


@pytest.mark.parametrize(("debias", "weight"), [(True, 0), (False, 1)])
def test_weight_of_the_running_averages(debias, weight):
  module = _build(norm_debias=debias)
  stats = variables.initial_values(module, 32, 0)["batch_stats"]
  flat = flax.traverse_util.flatten_dict(stats)
  weights = [x for path, x in flat.items() if path[-1] == "weight"]
  assert len(weights) == 17
  assert all(x.shape == () and x == weight for x in weights)


def test_count_params_leaves_the_weight_out():
  values = {
    "params": {"a": {"kernel": np.zeros((3, 3, 1, 4)), "bias": np.zeros(4)}},
    "batch_stats": {
      "n": {"mean": np.zeros(4), "var": np.zeros(4), "weight": np.zeros(())}
    },
  }
  assert counting.count_params(values) == (40, 8)


@pytest.mark.parametrize(
  "name",
  # Elsewhere the 3x3 windows that hang over small maps count: to the compiler
  # what is outside costs nothing, in papers it does.
  [
    pytest.param(
      name,
      marks=[] if name == "mobilenet_v1" else [pytest.mark.extended],
    )
    for name in registry.MODELS
    if name.startswith("mobilenet")
  ],
)
def test_count_macs_agrees_with_the_compiler(name):
  """XLA counts the elementwise work of BatchNorm and activations too."""
  # Wide, so that this is a few percent.
  module = networks.build(name)
  values = variables.shapes(module, 64)
  x = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
  # Lowered for a GPU, where a depthwise convolution stays one.
  cost = (
    jax.jit(lambda v, x: module.apply(v, x, False)[0])
    .trace(values, x)
    .lower(lowering_platforms=("cuda",))
    .cost_analysis()
  )
  assert 2 * counting.count_macs(module, 64) == pytest.approx(
    cost["flops"], rel=0.05
  )
