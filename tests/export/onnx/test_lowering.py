"""Operations of JAX as nodes of ONNX, one at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import pytest
from jax import lax
from onnx import TensorProto, helper

from mn_jax.errors import InputError
from mn_jax.export.onnx import equations, lowering
from mn_jax.export.onnx.graph import Graph
from mn_jax.models import layers
from mn_jax.ops import pooling

_DRAW = np.random.default_rng(0)
KERNEL = _DRAW.normal(size=(3, 4)).astype(np.float32)


def lowered(function, shape=(6, 5, 3)):
  """Traces (variables, x) -> f32[batch, ...]; returns its nodes."""
  variables = {"params": {"kernel": KERNEL}}
  return lowering.lower(equations.trace(function, variables, shape))


def check(function, shape=(6, 5, 3)):
  """ONNX computes what JAX does; returns the operations that it has."""
  nodes = lowered(function, shape)
  graph = Graph()
  graph.network(nodes, "x", "y")
  inputs, outputs = (
    helper.make_tensor_value_info(
      name, TensorProto.FLOAT, ["batch", *dims[-1:], *dims[:-1]]
    )
    for name, dims in (("x", shape), ("y", nodes.output.shape))
  )
  model = graph.model("one", inputs, [outputs])
  onnx.checker.check_model(model, full_check=True)
  session = onnxruntime.InferenceSession(model.SerializeToString())
  x = _DRAW.normal(0, 3, (2, *shape)).astype(np.float32)
  turned = np.moveaxis(x, -1, 1) if len(shape) == 3 else x
  (found,) = session.run(None, {"x": turned})
  if found.ndim == 4:
    found = np.moveaxis(found, 1, -1)
  expected = function({"params": {"kernel": KERNEL}}, x)
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
  return [node.op for node in nodes.order]


@pytest.mark.parametrize(
  ("function", "operations"),
  [
    (layers.relu6, ["Clip"]),
    (layers.hard_sigmoid, ["HardSigmoid"]),
    (layers.hard_swish, ["HardSwish"]),
    (jax.nn.relu, ["Clip"]),
    (jax.nn.silu, ["Sigmoid", "Mul"]),
    (lax.erf, ["Erf"]),
    (lambda x: jax.nn.gelu(x, approximate=True), None),
    (jnp.tanh, ["Tanh"]),
    (lambda x: jnp.sqrt(jnp.abs(x)), ["Abs", "Sqrt"]),
    (lambda x: jnp.log(1 + jnp.exp(-x)), ["Neg", "Exp", "Add", "Log"]),
    (lambda x: x**2 - x**3, ["Pow", "Pow", "Sub"]),
    (lambda x: jnp.minimum(x, 1.0), ["Clip"]),
    (lambda x: jnp.maximum(jnp.minimum(x, 1.0), -1.0), ["Clip", "Clip"]),
    (lambda x: jnp.maximum(x, 2 * x), ["Mul", "Max"]),
    (lambda x: 2.0 / (3.0 + jnp.abs(x)), ["Abs", "Add", "Div"]),
    # Not quite a hard sigmoid, nor a hard swish.
    (lambda x: layers.relu6(x + 3) / 5, ["Add", "Clip", "Div"]),
    (lambda x: layers.relu6(x + 2) / 6, ["HardSigmoid"]),
    (lambda x: (x + 1) * layers.hard_sigmoid(x), None),
    (lambda x: x * layers.relu6(x + 2) / 6, None),
  ],
)
def test_elementwise_operations(function, operations):
  for shape in ((6, 5, 3), (4,)):
    found = check(lambda _, x: function(x), shape)
    assert operations in (None, found)
  assert "HardSwish" not in found or function is layers.hard_swish


@pytest.mark.parametrize("rule", ["same", "symmetric", "valid"])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(6, 5, 3), (9, 8, 2)])
def test_pooling(rule, stride, shape):
  def largest(_, x):
    return pooling.max_pool(x, 3, stride=stride, padding=rule)

  assert check(largest, shape) == ["MaxPool"]
  for counted in (False, True):

    def mean(_, x, counted=counted):
      return pooling.avg_pool(
        x, 3, stride=stride, padding=rule, count_padding=counted
      )

    assert check(mean, shape) == ["AveragePool"]


def test_means_and_sums_over_the_map():
  mean = check(lambda _, x: jnp.mean(x, axis=(1, 2)))
  assert mean == ["GlobalAveragePool", "Flatten"]
  kept = check(lambda _, x: jnp.mean(x, axis=(1, 2), keepdims=True) * x)
  assert kept == ["GlobalAveragePool", "Mul"]
  total = check(lambda _, x: jnp.sum(x, axis=(1, 2)) / 7)
  assert total == ["ReduceSum", "Flatten", "Div"]


def _conv(x, kernel, **kwargs):
  return lax.conv_general_dilated(
    x,
    kernel,
    kwargs.pop("strides", (1, 1)),
    kwargs.pop("padding", "VALID"),
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
    **kwargs,
  )


@pytest.mark.parametrize(
  ("window", "channels", "kwargs"),
  [
    ((3, 3), (3, 4), {}),
    ((3, 2), (3, 4), {"strides": (2, 1)}),
    ((3, 3), (3, 4), {"padding": ((0, 1), (2, 0))}),
    ((3, 3), (1, 6), {"feature_group_count": 3}),
    ((3, 3), (3, 2), {"rhs_dilation": (2, 1)}),
  ],
)
def test_convolutions(window, channels, kwargs):
  kernel = _DRAW.normal(size=(*window, *channels)).astype(np.float32)
  assert check(lambda _, x: _conv(x, kernel, **kwargs)) == ["Conv"]


def test_affine_operations_become_part_of_a_layer():
  factor, bias = _DRAW.normal(size=(2, 1, 1, 1, 4)).astype(np.float32)

  def function(v, x):
    x = _conv(x, v["params"]["kernel"].reshape(1, 1, 3, 4))
    return ((x + bias) * factor * 0.5 + bias) * 2.0

  assert check(function) == ["Conv"]

  def dense(v, x):
    x = x @ v["params"]["kernel"]
    return (x * factor[0, 0] + bias[0, 0]) * 0.5

  assert check(dense, (3,)) == ["Gemm"]


def test_a_result_that_others_read_is_not_changed():
  bias = np.ones((1, 1, 1, 4), np.float32)

  def function(v, x):
    x = _conv(x, v["params"]["kernel"].reshape(1, 1, 3, 4))
    return (x + bias) * x

  assert check(function) == ["Conv", "Add", "Mul"]


def test_programs_within_programs_are_one_list():
  def function(x):
    x = jax.jit(jax.checkpoint(layers.hard_swish))(jnp.copy(x))
    return jnp.square(lax.optimization_barrier(x))

  assert check(lambda _, x: function(x)) == ["HardSwish", "Pow"]


def test_slices():
  kernel = KERNEL.reshape(1, 1, 3, 4)
  assert check(lambda _, x: _conv(x[:, ::2, ::2], kernel)) == ["Conv"]
  # Not from the first pixel, not all, or for a larger window.
  assert check(lambda _, x: _conv(x[:, 1::2, ::2], kernel)) == ["Slice", "Conv"]
  assert check(lambda _, x: x[:, :4, 1:, :2]) == ["Slice"]
  wide = _DRAW.normal(size=(2, 2, 3, 4)).astype(np.float32)
  assert check(lambda _, x: _conv(x[:, ::2, ::2], wide)) == ["Slice", "Conv"]


def test_a_flattened_map_has_the_order_of_jax():
  kernel = _DRAW.normal(size=(6 * 5 * 3, 4)).astype(np.float32)

  def flattened(x):
    return x.reshape(x.shape[0], -1)

  assert check(lambda _, x: flattened(x) @ kernel) == ["Flatten", "Gemm"]
  with pytest.raises(InputError, match="'mul' of"):
    lowered(lambda _, x: flattened(x) * 2)


def test_concatenation_and_constants():
  row = _DRAW.normal(size=(1, 6, 5, 3)).astype(np.float32)
  assert check(lambda _, x: jnp.concatenate([x, x * row], -1)) == [
    "Mul",
    "Concat",
  ]
  # What depends on constants alone is computed.
  assert check(lambda _, x: x + jnp.cumsum(jnp.asarray(row), axis=1)) == ["Add"]


@pytest.mark.parametrize(
  ("function", "named"),
  [
    (lambda _, x: jnp.sort(x, axis=-1), "the operation 'sort'"),
    (lambda _, x: jnp.sum(x, axis=0, keepdims=True) + x, "'reduce_sum'"),
    (lambda _, x: jnp.sum(x, axis=3), "'reduce_sum'"),
    (lambda _, x: jnp.concatenate([x, x], axis=1), "'concatenate'"),
    (lambda _, x: x.astype(jnp.bfloat16).astype(jnp.float32), "bfloat16"),
    (lambda _, x: jnp.transpose(x, (0, 2, 1, 3)), "'transpose'"),
    (lambda _, x: x[::-1], "'rev'"),
    (lambda _, x: x[:1] + x, "'slice'"),
    (lambda _, x: x.reshape(-1, 3), "'reshape'"),
    (lambda _, x: x.reshape(x.shape[0], 5, 6, 3), "'reshape'"),
    (lambda _, x: lax.cumsum(x, axis=1), "'cumsum'"),
    (lambda v, x: v["params"]["kernel"], "does not depend on the images"),
    (
      lambda _, x: lax.reduce_window(
        x, np.float32(0), lax.add, (1, 2, 2, 1), (1, 1, 1, 1), "VALID"
      ),
      "sums over windows",
    ),
  ],
)
def test_what_is_not_known_is_named(function, named):
  with pytest.raises(InputError, match=named) as caught:
    lowered(function)
  assert "\n" not in str(caught.value)
