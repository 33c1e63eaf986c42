import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import counting, registry
from mn_jax.perf.bench import operations, roofline, tables
from tests.perf.bench import toy_case


@pytest.fixture(scope="module")
def listed():
  return operations.list_operations("mobilenet_v1", 32)


@pytest.fixture(scope="module")
def firsts(listed):
  """The first operation of each kind."""
  return [
    next(operation for operation in listed if operation.kind == kind)
    for kind in ("depthwise", "pointwise", "norm")
  ]


def test_every_layer_belongs_to_one_operation(listed):
  paths = [path for operation in listed for path in operation.layers]
  module = registry.build(registry.describe("mobilenet_v1", num_classes=2))
  expected = [
    layer.path
    for layer in counting.list_layers(module, 32)
    if layer.kind.startswith(("conv 1x1", "depthwise", "norm"))
  ]
  assert sorted(paths) == sorted(expected)
  assert len(listed) < len(paths)
  shapes = {(*o.arguments(1), o.kind, o.stride) for o in listed}
  assert len(shapes) == len(listed)


def test_formulations_agree_in_every_direction(firsts):
  draw = np.random.default_rng(0)
  for operation in firsts:
    arguments = [
      jnp.asarray(draw.normal(0, 1, shape), jnp.float32)
      for shape in operation.arguments(2)
    ]
    shape = (2, *operation.output)
    gradient = jnp.asarray(draw.normal(0, 1, shape), jnp.float32)
    for wanted in operation.directions().values():
      results = [
        operations.compile_direction(function, wanted)(gradient, *arguments)
        for function in operation.formulations().values()
        if function is not None
      ]
      results = [result if wanted else [result] for result in results]
      shapes = [arguments[i].shape for i in wanted] or [gradient.shape]
      for result in results:
        assert [array.shape for array in result] == shapes
        for one, other in zip(results[0], result, strict=True):
          np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_work_by_hand(firsts):
  depthwise, pointwise, norm = firsts
  size = 2 * 16 * 16 * 32
  assert depthwise.work("forward", 2, "float32") == roofline.Work(
    flops=2 * 9 * size, bytes=4 * (size + size)
  )
  assert pointwise.work("weight gradient", 2, "bfloat16") == roofline.Work(
    flops=2 * 32 * 2 * size, bytes=2 * (size + 2 * size)
  )
  assert norm.work("gradient", 2, "float32").bytes == 4 * 5 * size


def test_every_formulation_is_timed(monkeypatch, firsts):
  two = firsts[:2]
  monkeypatch.setattr(operations, "list_operations", lambda *_: two)
  monkeypatch.setattr(
    roofline, "measure_peaks", lambda dtype: roofline.Peaks(1e9, 1e9)
  )
  report = operations.measure(toy_case.make(batch=2), repeats=2)
  assert [o["kind"] for o in report["operations"]] == ["depthwise", "pointwise"]
  for operation, measured in zip(two, report["operations"], strict=True):
    assert list(measured["times"]) == list(operation.directions())
    for direction, times in measured["times"].items():
      assert list(times) == list(operation.formulations())
      floor = max(measured["floors"][direction].values())
      for time in times.values():
        assert time["min_milliseconds"] <= time["milliseconds"]
        assert time["percent_of_floor"] == pytest.approx(
          100 * floor / time["milliseconds"]
        )
  forward, *_ = tables.operations(report)
  assert forward.columns[:3] == ("depthwise, forward", "layers", "floor")
  assert forward.rows[-1][0] == "all layers"


def test_slow_formulations_get_fewer_repeats(monkeypatch):
  now = 0.0

  def wait(seconds):
    nonlocal now
    now += seconds

  monkeypatch.setattr(operations.time, "perf_counter", lambda: now)
  runs = {"slow": lambda: wait(2.0), "fast": lambda: wait(0.01)}
  times = operations.time_interleaved(runs, 7)
  assert {name: len(seconds) for name, seconds in times.items()} == {
    "slow": 3,
    "fast": 7,
  }
