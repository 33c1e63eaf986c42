import jax.numpy as jnp
import numpy as np
import pytest

from mn_jax.models import registry
from mn_jax.perf.bench import floors, ops, shapes, show, worker

CASE = worker.Case(
  model="mobilenet_v1",
  resolution=32,
  batch=2,
  mode="train",
  dtype="float32",
  classes=2,
  threads=1,
  allocator="glibc",
)


def operations():
  """The first of each kind."""
  found = ops.list_operations("mobilenet_v1", 32)
  return [
    next(o for o in found if o.kind == kind)
    for kind in ("depthwise", "pointwise", "norm")
  ]


def test_every_layer_belongs_to_one_operation():
  found = ops.list_operations("mobilenet_v1", 32)
  paths = [path for operation in found for path in operation.layers]
  module = registry.build(registry.describe("mobilenet_v1", num_classes=2))
  wanted = [
    call.path
    for call in shapes.list_calls(module, 32)
    if call.pointwise or call.kind in ("depthwise", "norm")
  ]
  assert sorted(paths) == sorted(wanted)
  assert len(found) < len(paths)
  assert len({(*o.arguments(1), o.kind, o.stride) for o in found}) == len(found)


@pytest.mark.parametrize("operation", operations(), ids=lambda o: o.kind)
def test_formulations_agree_in_every_direction(operation):
  draw = np.random.default_rng(0)
  arguments = [
    jnp.asarray(draw.normal(0, 1, shape), jnp.float32)
    for shape in operation.arguments(2)
  ]
  gradient = jnp.asarray(draw.normal(0, 1, (2, *operation.output)), jnp.float32)
  for wanted in operation.directions().values():
    results = [
      ops.compile_direction(way, wanted)(gradient, *arguments)
      for way in operation.formulations().values()
      if way is not None
    ]
    for result in results:
      if wanted:
        assert [r.shape for r in result] == [arguments[i].shape for i in wanted]
      else:
        assert result.shape == gradient.shape
      for one, other in zip(
        *([results[0], result] if wanted else [[results[0]], [result]]),
        strict=True,
      ):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)


def test_work_by_hand():
  depthwise, pointwise, norm = operations()
  given, out = 2 * 16 * 16 * 32, 2 * 16 * 16 * 32
  assert depthwise.work("forward", 2, "float32") == floors.Work(
    flops=2 * 9 * out, bytes=4 * (given + out)
  )
  assert pointwise.work("weight gradient", 2, "bfloat16") == floors.Work(
    flops=2 * 32 * 2 * out, bytes=2 * (given + 2 * out)
  )
  assert norm.work("gradient", 2, "float32").bytes == 4 * 5 * given


def test_every_formulation_is_timed(monkeypatch):
  two = operations()[:2]
  monkeypatch.setattr(ops, "list_operations", lambda *_: two)
  monkeypatch.setattr(
    floors, "measure_ceilings", lambda dtype: floors.Ceilings(1e9, 1e9)
  )
  report = ops.measure(CASE, repeats=2)
  assert [o["kind"] for o in report["operations"]] == ["depthwise", "pointwise"]
  for operation, found in zip(two, report["operations"], strict=True):
    assert list(found["times"]) == list(operation.directions())
    for direction, times in found["times"].items():
      assert list(times) == list(operation.formulations())
      least = max(found["floors"][direction].values())
      assert ("pallas" in times) == (operation.kind == "depthwise")
      assert times.pop("pallas", None) is None
      for time in times.values():
        assert time["min_milliseconds"] <= time["milliseconds"]
        assert time["percent_of_floor"] == pytest.approx(
          100 * least / time["milliseconds"]
        )
  rows, names = show.by_shape(report, "depthwise", "forward")
  assert rows[-1][0] == "all layers"
  assert len(rows[0]) == 3 + len(names)


def test_slow_formulations_drop_out(monkeypatch):
  now = 0.0

  def wait(seconds):
    nonlocal now
    now += seconds

  monkeypatch.setattr(ops.time, "perf_counter", lambda: now)
  runs = {"slow": lambda: wait(2.0), "fast": lambda: wait(0.01)}
  taken = ops.take(runs, 7)
  assert {name: len(seconds) for name, seconds in taken.items()} == {
    "slow": 3,
    "fast": 7,
  }
