"""Single operations in all their formulations, at the shapes of a network."""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mn_jax.models import layers, registry
from mn_jax.ops import batch_norm, depthwise, pointwise
from mn_jax.perf.bench import floors, shapes, worker

# So long a formulation is timed at most, if it has had a few turns.
_PATIENCE = 3.0
_FEW = 3
# Of BatchNorm.
_EPSILON = 1e-3


@dataclasses.dataclass(frozen=True)
class Operation:
  """An operation at one shape, for a whole batch.

  Attributes:
    kind: 'depthwise', 'pointwise' or 'norm' (with its activation, relu6).
    input, output: shapes without the batch.
    window, stride, padding: see `shapes.Call`.
    layers: the paths of the layers that are it.
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

  def formulations(self) -> dict[str, Callable | None]:
    """All ways to compute it: functions of the arguments; None: not here."""
    if self.kind == "depthwise":
      here = jax.default_backend()
      return {
        name: functools.partial(way, stride=self.stride, padding=self.padding)
        if depthwise.CONFINED.get(name, here) == here
        else None
        for name, way in depthwise.CANDIDATES.items()
      }
    if self.kind == "pointwise":
      return {
        "pointwise_conv": pointwise.pointwise_conv,
        "dot": _pointwise_dot,
        "lax.conv": _pointwise_lax,
      }
    return {"batch_norm": _norm, "derived": _derived_norm}

  def directions(self) -> dict[str, tuple[int, ...]]:
    """Which arguments a gradient is taken of; of none: forward."""
    if self.kind == "norm":
      return {"forward": (), "gradient": (0, 1, 2)}
    return {"forward": (), "input gradient": (0,), "weight gradient": (1,)}

  def work(self, direction: str, batch: int, dtype: str) -> floors.Work:
    """What one direction costs at least, for the batch."""
    given, out = (batch * int(np.prod(s)) for s in (self.input, self.output))
    item = 2 if dtype == "bfloat16" else 4
    if self.kind == "norm":
      # Forward reads for the statistics, reads and writes; the gradient reads
      # two arrays for its sums, and them again to write.
      touched = 3 * given if direction == "forward" else 5 * given
      return floors.Work(flops=0.0, bytes=item * touched)
    per_output = (
      self.input[-1] if self.kind == "pointwise" else int(np.prod(self.window))
    )
    return floors.Work(flops=2 * per_output * out, bytes=item * (given + out))


def list_operations(model: str, resolution: int) -> list[Operation]:
  """Those of a network, each shape once, in the order of its layers."""
  module = registry.build(registry.describe(model, num_classes=2))
  found: dict[tuple, list[str]] = {}
  for call in shapes.list_calls(module, resolution):
    kind = "pointwise" if call.pointwise else call.kind
    if kind not in ("depthwise", "pointwise", "norm"):
      continue
    given = call.input
    if kind == "pointwise" and call.stride > 1:  # which only picks pixels
      given = (*call.output[:2], call.input[-1])
    key = (kind, given, call.output, call.window, call.stride, call.padding)
    found.setdefault(key, []).append(call.path)
  return [Operation(*key, tuple(paths)) for key, paths in found.items()]


def measure(case: worker.Case, *, repeats: int) -> dict[str, Any]:
  """Times every formulation of every operation in turns, as JSON.

  Args:
    case: model, resolution, batch and type.
    repeats: timed turns of each.
  """
  ceilings = floors.measure_ceilings(case.dtype)
  device = jax.devices()[0]
  return {
    "case": dataclasses.asdict(case),
    "device": device.device_kind,
    "ceilings": dataclasses.asdict(ceilings),
    "operations": [
      _measure_one(operation, case, ceilings, repeats)
      for operation in list_operations(case.model, case.resolution)
    ],
    "peak_memory_bytes": worker.peak_memory(),
    "peak_device_memory_bytes": floors.device_peak(device),
    "versions": worker.versions(("jax", "jaxlib", "numpy")),
  }


def _measure_one(
  operation: Operation,
  case: worker.Case,
  ceilings: floors.Ceilings,
  repeats: int,
) -> dict[str, Any]:
  draw = np.random.default_rng(0)

  def array(shape: tuple[int, ...]) -> jax.Array:
    return jnp.asarray(draw.normal(0, 1, shape), case.dtype)

  arguments = [array(shape) for shape in operation.arguments(case.batch)]
  gradient = array((case.batch, *operation.output))
  least, times = {}, {}
  for direction, wanted in operation.directions().items():
    work = operation.work(direction, case.batch, case.dtype)
    arithmetic, memory = work.seconds(ceilings)
    least[direction] = {
      "flop_milliseconds": 1e3 * arithmetic,
      "byte_milliseconds": 1e3 * memory,
    }
    seconds = take(
      {
        name: functools.partial(
          compile_direction(way, wanted), gradient, *arguments
        )
        for name, way in operation.formulations().items()
        if way is not None
      },
      repeats,
    )
    times[direction] = dict.fromkeys(operation.formulations()) | {
      name: {
        "milliseconds": 1e3 * float(np.median(taken)),
        "min_milliseconds": 1e3 * min(taken),
        "max_milliseconds": 1e3 * max(taken),
        "percent_of_floor": 100
        * max(arithmetic, memory)
        / float(np.median(taken)),
      }
      for name, taken in seconds.items()
    }
  return {**dataclasses.asdict(operation), "floors": least, "times": times}


def compile_direction(way: Callable, wanted: tuple[int, ...]) -> Callable:
  """A formulation, or its gradients of the wanted arguments, compiled."""
  if not wanted:
    return jax.jit(lambda gradient, *arguments: way(*arguments))

  def backward(gradient, *arguments):
    # What is not wanted, the compiler removes.
    found = jax.vjp(way, *arguments)[1](gradient)
    return [found[i] for i in wanted]

  return jax.jit(backward)


def take(
  runs: dict[str, Callable[[], Any]], repeats: int
) -> dict[str, list[float]]:
  """Seconds of each, in turns; slow ones drop out when they have had enough."""
  for run in runs.values():
    jax.block_until_ready(run())
  seconds: dict[str, list[float]] = {name: [] for name in runs}
  for _ in range(repeats):
    for name, run in runs.items():
      taken = seconds[name]
      if len(taken) >= _FEW and sum(taken) > _PATIENCE:
        continue
      start = time.perf_counter()
      jax.block_until_ready(run())
      taken.append(time.perf_counter() - start)
  return seconds


def _pointwise_lax(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """`ops.pointwise.pointwise_conv` as XLA's convolution."""
  return lax.conv_general_dilated(
    x,
    kernel.reshape(1, 1, *kernel.shape),
    (1, 1),
    "VALID",
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )


def _pointwise_dot(x: jax.Array, kernel: jax.Array) -> jax.Array:
  """The same as a product whose gradients JAX derives."""
  return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())))


def _norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
  """BatchNorm with batch statistics, and relu6."""
  return batch_norm.batch_norm(
    x, scale, bias, epsilon=_EPSILON, activation=layers.relu6
  )[0]


def _derived_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
  """The same with the gradient that JAX derives."""
  x32 = x.astype(jnp.float32)
  axes = tuple(range(x.ndim - 1))
  mean = jnp.mean(x32, axes, keepdims=True)
  var = jnp.mean(x32 * x32, axes, keepdims=True) - mean * mean
  factor = scale.reshape(mean.shape) * lax.rsqrt(var + _EPSILON)
  out = x32 * factor + (bias.reshape(mean.shape) - mean * factor)
  return layers.relu6(out).astype(x.dtype)
