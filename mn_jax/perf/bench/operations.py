"""Times the formulations of single operations at the shapes of a network."""

import dataclasses
import functools
import math
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mn_jax.models import counting, layers, registry
from mn_jax.ops import batch_norm, depthwise, pointwise
from mn_jax.perf.bench import roofline, side_process
from mn_jax.perf.program import floors

# Seconds after which a formulation gets no more than the fewest repeats.
_PATIENCE = 3.0
_MIN_REPEATS = 3
# Of BatchNorm.
_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Operation:
  """An operation at one shape, for a whole batch.

  Attributes:
    kind: 'depthwise', 'pointwise' or 'norm' (with its activation, relu6).
    input, output: shapes without the batch.
    window, stride, padding: see `counting.Layer`.
    layers: the paths of its layers.
  """

  kind: str
  input: tuple[int, ...]
  output: tuple[int, ...]
  window: tuple[int, int]
  stride: int
  padding: tuple
  layers: tuple[str, ...]

  def arguments(self, batch: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of the arguments, the images first."""
    channels = self.input[-1]
    images = (batch, *self.input)
    if self.kind == "depthwise":
      return images, (*self.window, 1, channels)
    if self.kind == "pointwise":
      return images, (channels, self.output[-1])
    return images, (channels,), (channels,)

  def formulations(self) -> dict[str, Callable]:
    """Functions of the arguments, by the name of the formulation."""
    if self.kind == "depthwise":
      candidates = depthwise.candidates(jax.default_backend())
      return {
        name: functools.partial(
          function, stride=self.stride, padding=self.padding
        )
        for name, function in candidates.items()
      }
    if self.kind == "pointwise":
      return {
        "pointwise_conv": pointwise.pointwise_conv,
        "dot": _pointwise_dot,
        "lax.conv": _pointwise_lax,
      }
    return {"batch_norm": _norm, "derived": _derived_norm}

  def directions(self) -> dict[str, tuple[int, ...]]:
    """Arguments whose gradients are computed; none of them: forward."""
    if self.kind == "norm":
      return {"forward": (), "gradient": (0, 1, 2)}
    return {"forward": (), "input gradient": (0,), "weight gradient": (1,)}

  def work(self, direction: str, batch: int, dtype: str) -> roofline.Work:
    """The least work of one direction, for the batch."""
    size_in = batch * math.prod(self.input)
    size_out = batch * math.prod(self.output)
    item = floors.item_bytes(dtype)
    if self.kind == "norm":
      # Forward reads for the statistics, reads and writes; the gradient reads
      # two arrays for its sums, and them again to write.
      passes = 3 if direction == "forward" else 5
      return roofline.Work(flops=0.0, bytes=item * passes * size_in)
    taps = math.prod(self.window)
    macs = size_out * (self.input[-1] if self.kind == "pointwise" else taps)
    return roofline.Work(flops=2 * macs, bytes=item * (size_in + size_out))


def list_operations(model: str, resolution: int) -> list[Operation]:
  """Lists the operations of a network, each shape once, in layer order."""
  module = registry.build(registry.describe(model, num_classes=2))
  paths: dict[tuple, list[str]] = {}
  for layer in counting.list_layers(module, resolution):
    kind = "pointwise" if layer.kind == "conv 1x1" else layer.kind.split()[0]
    if kind not in ("depthwise", "pointwise", "norm"):
      continue
    shape = layer.input
    if kind == "pointwise" and layer.stride > 1:  # which only picks pixels
      shape = (*layer.output[:2], layer.input[-1])
    key = (kind, shape, layer.output, layer.window, layer.stride, layer.padding)
    paths.setdefault(key, []).append(layer.path)
  return [Operation(*key, tuple(names)) for key, names in paths.items()]


def measure(case: side_process.Case, *, repeats: int) -> dict[str, Any]:
  """Times every formulation of every operation, interleaved, as JSON.

  Args:
    case: model, resolution, batch and dtype.
    repeats: how often each is timed.
  """
  peaks = roofline.measure_peaks(case.dtype)
  device = jax.devices()[0]
  return {
    "case": dataclasses.asdict(case),
    "device": device.device_kind,
    "ceilings": dataclasses.asdict(peaks),
    "operations": [
      _measure_operation(operation, case, peaks, repeats)
      for operation in list_operations(case.model, case.resolution)
    ],
    "peak_memory_bytes": side_process.peak_memory(),
    "peak_device_memory_bytes": side_process.peak_device_memory(device),
    "versions": side_process.versions(("jax", "jaxlib", "numpy")),
  }


def _measure_operation(
  operation: Operation,
  case: side_process.Case,
  peaks: roofline.Peaks,
  repeats: int,
) -> dict[str, Any]:
  draw = np.random.default_rng(0)

  def array(shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(draw.normal(0, 1, shape), case.dtype)

  arguments = [array(shape) for shape in operation.arguments(case.batch)]
  gradient = array((case.batch, *operation.output))
  floors, times = {}, {}
  for direction, wanted in operation.directions().items():
    work = operation.work(direction, case.batch, case.dtype)
    arithmetic, memory = work.seconds(peaks)
    floors[direction] = {
      "flop_milliseconds": 1e3 * arithmetic,
      "byte_milliseconds": 1e3 * memory,
    }
    compiled = {
      name: compile_direction(function, wanted)
      for name, function in operation.formulations().items()
    }
    runs = {
      name: functools.partial(function, gradient, *arguments)
      for name, function in compiled.items()
    }
    times[direction] = {}
    for name, seconds in time_interleaved(runs, repeats).items():
      median = float(np.median(seconds))
      times[direction][name] = {
        "milliseconds": 1e3 * median,
        "min_milliseconds": 1e3 * min(seconds),
        "max_milliseconds": 1e3 * max(seconds),
        "percent_of_floor": 100 * max(arithmetic, memory) / median,
      }
  return {**dataclasses.asdict(operation), "floors": floors, "times": times}


def compile_direction(function: Callable, wanted: tuple[int, ...]) -> Callable:
  """Compiles a formulation, or its gradients of the wanted arguments."""
  if not wanted:
    return jax.jit(lambda gradient, *arguments: function(*arguments))

  def backward(gradient, *arguments):
    # What is not wanted, the compiler removes.
    gradients = jax.vjp(function, *arguments)[1](gradient)
    return [gradients[i] for i in wanted]

  return jax.jit(backward)


def time_interleaved(
  runs: dict[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
  """Seconds of several functions, interleaved; slow ones get fewer repeats."""
  for run in runs.values():
    jax.block_until_ready(run())
  times: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(repeats):
    for name, run in runs.items():
      seconds = times[name]
      if len(seconds) >= _MIN_REPEATS and sum(seconds) > _PATIENCE:
        continue
      start = time.perf_counter()
      jax.block_until_ready(run())
      seconds.append(time.perf_counter() - start)
  return times


def _pointwise_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A pointwise convolution as XLA's convolution."""
  return lax.conv_general_dilated(
    x,
    kernel.reshape(1, 1, *kernel.shape),
    (1, 1),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _pointwise_dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """A pointwise convolution as a product, with JAX's derived gradients."""
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
  """BatchNorm with batch statistics, and relu6."""
  return batch_norm.batch_norm(
    x, scale, bias, epsilon=_EPSILON, activation=layers.relu6
  )[0]


def _derived_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
  """BatchNorm and relu6 with the gradient that JAX derives."""
  x32 = x.astype(jnp.float32)
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x32, axes, keepdims=True)
  var = jnp.mean(x32 * x32, axes, keepdims=True) - mean * mean
  factor = scale.reshape(mean.shape) * lax.rsqrt(var + _EPSILON)
  out = x32 * factor + (bias.reshape(mean.shape) - mean * factor)
  return layers.relu6(out).astype(x.dtype)
