"""Plans: their rows, their file and their errors, with steps made by hand."""

import dataclasses
import json
import math
import types

import jax
import pytest

from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.parallel.accelerators import ACCELERATORS
from mn_jax.perf.program import targets
from mn_jax.perf.program.costs import CollectiveTotal
from mn_jax.perf.scaling.plan import compiled, plan, planner
from mn_jax.perf.scaling.plan.prediction import PlanRow, Work
from tests.perf.scaling.small_config import small_config, with_batch

pytestmark = pytest.mark.devices(4)

FIXED, PER_IMAGE = 2**30, 100 * 2**20


class FakeSteps:
  """Stands for the compiled steps: memory and work linear in the batch."""

  calls: list

  def __init__(self, config, folder, console):
    del config, folder, console
    FakeSteps.calls = []

  def step(self, chip, shape, *, batch_per_chip):
    FakeSteps.calls.append((chip.name, shape, batch_per_chip))
    memory = FIXED + PER_IMAGE * batch_per_chip
    several = math.prod(shape) > 1
    work = Work(
      flops=1e10 * batch_per_chip,
      cycles=0,
      bytes=1e8 * batch_per_chip,
      collectives=(CollectiveTotal("all-reduce", 100, 2**24, False),) * several,
    )
    return types.SimpleNamespace(
      work=work if memory <= chip.memory_bytes.value else None,
      memory_bytes=memory,
    )


@pytest.fixture
def planned(monkeypatch, tmp_path):
  """Plans with hand-made steps."""
  monkeypatch.setattr(plan, "CompiledSteps", FakeSteps)

  def run(config=None, **arguments):
    return plan.run(
      config or small_config(),
      **{
        "chips": ["v5e"],
        "counts": [1, 4, 16],
        "batch_per_chip": 64,
        "scaling": "weak",
        "output": tmp_path / "plan",
        "console": Console(quiet=True),
        **arguments,
      },
    )

  return run


def test_weak_scaling_keeps_the_batch_per_chip(planned):
  found = planned()
  assert [row.count for row in found] == [1, 4, 16]
  assert [row.topology for row in found] == ["1x1", "2x2", "4x4"]
  assert [row.global_batch for row in found] == [64, 256, 1024]
  assert all(row.fits and row.compiled for row in found)
  assert found[0].efficiency == 1
  assert found[0].link_seconds == 0
  assert 1 > found[1].efficiency > found[2].efficiency > 0
  for row in found:
    assert row.step_seconds >= max(row.compute_seconds, row.memory_seconds)
    assert row.images_per_sec == pytest.approx(
      row.global_batch / row.step_seconds
    )
    # IDC has 277,524 images.
    assert row.chip_hours_per_epoch == pytest.approx(
      277_524 / row.images_per_sec * row.count / 3600
    )


def test_strong_scaling_divides_the_batch(planned):
  def strong(batch):
    config = with_batch(small_config(), batch)
    return planned(config, scaling="strong", batch_per_chip=None)

  found = strong(96)
  assert [row.batch_per_chip for row in found] == [96, 24, 6]
  assert {row.global_batch for row in found} == {96}
  assert found[1].step_seconds < found[0].step_seconds
  assert found[2].efficiency < found[1].efficiency < 1
  # A batch that does not divide.
  found = strong(24)
  assert [row.fits for row in found] == [True, True, False]
  assert "24 does not divide" in found[2].note
  assert found[2].images_per_sec is None
  # Efficiency where one chip is too small.
  found = strong(320)
  assert [row.fits for row in found] == [False, True, True]
  assert found[1].efficiency == 1
  assert "efficiency against 4 chips" in found[1].note


def test_rows_without_a_prediction_have_a_note(planned):
  found = planned(counts=[1, 2, 4])
  assert [row.fits for row in found] == [True, False, True]
  assert found[1].note.startswith("there are no 2; valid: 1, 4, 8, 16")
  found = planned(batch_per_chip=160)
  assert not any(row.fits for row in found)
  assert "needs 16.62 GiB of 15.75" in found[0].note
  assert found[0].memory_bytes > found[0].memory_limit
  assert found[0].efficiency is None


def test_the_largest_batch_of_two_kinds_of_chips(planned):
  found = planned(chips=["v5e", "v6e"], batch_per_chip=None)
  largest = {row.chip: row.batch_per_chip for row in found}
  for name, batch in largest.items():
    limit = ACCELERATORS[name].memory_bytes.value
    assert FIXED + PER_IMAGE * batch <= limit < FIXED + PER_IMAGE * (batch + 8)
    assert batch % 8 == 0
  assert largest["v6e"] > largest["v5e"]
  # Sought where there are collectives.
  assert FakeSteps.calls[0] == ("v5e", (2, 2), 32)


def test_images_on_the_device_can_leave_no_memory(planned):
  config = small_config()
  config = dataclasses.replace(
    config,
    data=dataclasses.replace(config.data, placement="device", image_size=150),
  )
  # 277,524 x 150 x 150 x 3 bytes are more than a v5e has.
  found = planned(config, batch_per_chip=None)
  assert {row.note for row in found} == {"not even one image fits"}


def test_rows_that_use_the_program_of_another_count(planned):
  counts = [1, 4, 8, 16, 32]
  found = planned(counts=counts, compile_counts=[1, 4, 32])
  assert [row.compiled for row in found] == [True, True, False, False, True]
  assert "the program of 4 chips" in found[2].note
  assert {shape for _, shape, _ in FakeSteps.calls} == {(1, 1), (2, 2), (4, 8)}
  several = planned(counts=counts, compile_counts=[4, 32])
  assert several[0].compiled is False
  # One chip has nobody to talk to, whatever program it took.
  assert several[0].link_seconds == 0
  # The program of one chip has no collectives: none other takes it.
  alone = planned(counts=counts, compile_counts=[1])
  assert all(row.compiled for row in alone)
  assert all(row.link_seconds > 0 for row in alone[1:])
  # Some chips have no slice of one.
  found = planned(chips=["v5p"])
  assert found[0].fits
  assert "one chip of 2x2x1, the smallest slice" in found[0].note


def test_gpus_are_counted_without_the_extra(planned, monkeypatch, capsys):
  monkeypatch.setattr(targets, "can_compile", lambda chip: False)
  found = planned(chips=["H100"], counts=[1, 8, 12, 16], console=Console())
  assert "1, 8, 16 x H100: counted from layers" in capsys.readouterr().out
  assert [row.count for row in found] == [1, 8, 12, 16]
  assert [row.topology for row in found] == ["1x1", "1x8", "", "2x8"]
  assert FakeSteps.calls == []
  fitting = [row for row in found if row.fits]
  assert not any(row.compiled or row.counted for row in found)
  assert "counted from layers, not compiled, as the extra" in fitting[0].note
  assert fitting[0].collectives == ()
  ((total,), (same,)) = (row.collectives for row in fitting[1:])
  assert total == same
  # All gradients at once, and each of 17 norms twice.
  assert total.count == 1 + 2 * 17
  assert fitting[2].step_seconds > fitting[1].step_seconds


def test_gpus_are_compiled_with_the_extra(planned, monkeypatch):
  monkeypatch.setattr(targets, "can_compile", lambda chip: True)
  found = planned(
    chips=["H100"], counts=[1, 8, 12, 16, 64], compile_counts=[8, 16]
  )
  assert [row.topology for row in found] == ["1x1", "1x8", "", "2x8", "8x8"]
  assert {shape for _, shape, _ in FakeSteps.calls} == {(1, 8), (2, 8)}
  assert [row.compiled for row in found] == [False, True, False, True, False]
  assert [row.note for row in found[3:]] == ["", "the program of 16 chips"]
  # The count that the programs take the place of is kept beside them.
  one, eight = found[0].counted, found[1].counted
  assert one.memory_bytes == eight.memory_bytes != found[0].memory_bytes
  assert one.bytes == eight.bytes != found[0].bytes
  assert 0 < one.step_seconds < eight.step_seconds
  assert found[2].counted is None


def test_plan_json_records_versions_config_and_sources(planned, tmp_path):
  found = planned(counts=[1, 2, 4])
  text = (tmp_path / "plan" / plan.FILE).read_text()
  assert "NaN" not in text
  written = json.loads(text)
  assert written["versions"]["jax"] == jax.__version__
  assert written["config"]["model.name"] == "mobilenet_v1"
  assert written["images_per_epoch"] == 277_524
  assert written["targets"] == {"v5e": "v5e"}
  assert all(
    figure["source"] for figure in written["accelerators"]["v5e"].values()
  )
  assert written["rows"] == json.loads(
    json.dumps([dataclasses.asdict(row) for row in found])
  )
  assert not list((tmp_path / "plan").glob("*.partial"))


def test_arguments_that_cannot_be_planned(planned, tmp_path):
  for arguments, message in (
    ({"scaling": "strong"}, "--batch-per-chip: got 64 with strong"),
    ({"compile_counts": [64]}, "--compile-counts: got '64'"),
  ):
    with pytest.raises(InputError, match=message):
      planned(**arguments)
  assert not (tmp_path / "plan").exists()


PROGRAM = """
ENTRY %main (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %r = f32[8]{0} all-reduce(%p), to_apply=%add, \
backend_config={"estimated_cycles":"7"}
}
"""


@pytest.mark.usefixtures("standard_promotion")
def test_compiled_steps_are_reused_from_the_folder(monkeypatch, tmp_path):
  batches = []

  def compile_step(config, devices, *, global_batch):
    batches.append(global_batch)
    return compiled.Compiled(
      devices=len(devices),
      text=PROGRAM,
      flops=1.0,
      memory_bytes=4,
      memory={"arguments": 4},
      compile_seconds=5.0,
    )

  monkeypatch.setattr(compiled, "compile_step", compile_step)
  monkeypatch.setattr(targets, "devices", lambda chip, shape: range(4))
  chip, console = ACCELERATORS["v5e"], Console(quiet=True)

  def step(config, batch=8):
    kept = compiled.CompiledSteps(config, tmp_path / "compiled", console)
    return kept.step(chip, (2, 2), batch_per_chip=batch)

  first = step(small_config())
  again = step(small_config())
  assert batches == [32]
  assert again == first
  total = CollectiveTotal("all-reduce", 1, 32, False)
  assert again.work == Work(1.0, 7, 64, (total,))
  # Whatever can change the program makes it anew.
  step(small_config(), batch=16)
  step(small_config(dtype="bfloat16"))
  assert batches == [32, 64, 32]
  for name, value in (
    ("description", lambda chip: "another GPU"),
    ("versions", lambda chip: {"jax-cuda12-plugin": "99"}),
    ("flags", lambda: {"XLA_FLAGS": "--xla_gpu_autotune_level=0"}),
  ):
    with monkeypatch.context() as patch:
      patch.setattr(targets, name, value)
      step(small_config())
  assert batches == [32, 64, 32, 32, 32, 32]
  # What cannot does not: its own batch size is not that of the config.
  step(with_batch(small_config(), 77))
  assert len(batches) == 6
  for path in (tmp_path / "compiled").glob("*.json"):
    path.write_text("{}")
  with pytest.raises(InputError, match="cannot be read"):
    step(small_config())


@pytest.mark.usefixtures("standard_promotion")
def test_a_plan_with_compiled_programs(monkeypatch, tmp_path):
  """The whole of a plan with CPUs in place of TPUs."""
  monkeypatch.setattr(
    targets, "devices", lambda chip, shape: jax.devices()[: math.prod(shape)]
  )
  # It has no BatchNorm and compiles in a second or two.
  (row,) = plan.run(
    small_config(name="simple_cnn", width=1.0, shallow=False),
    chips=["v5e"],
    counts=[4],
    batch_per_chip=4,
    scaling="weak",
    output=tmp_path,
    console=Console(quiet=True),
  )
  assert isinstance(row, PlanRow)
  assert row.fits
  assert row.compiled
  assert row.link_seconds > 0
  kept = sorted(path.suffix for path in (tmp_path / "compiled").iterdir())
  assert kept == [".gz", ".json"]


def linear(batch):
  return 1_000 + 10 * batch


def largest(formula, limit):
  """The largest batch that fits, and the batches that were compiled for it."""
  calls = []

  def memory(batch):
    assert batch not in calls
    calls.append(batch)
    return formula(batch)

  return planner.largest_batch(memory, limit), calls


def test_the_largest_batch_that_fits():
  for limit, expected in (
    (21_000, 2_000),  # exactly
    (21_079, 2_000),  # to a multiple of 8
    (21_080, 2_008),
    (2_280, 128),
    (2_279, 120),
    (1_320, 32),
    (1_080, 8),
    (1_079, 4),  # to a power of two
    (1_010, 1),
    (1_009, None),
  ):
    batch, calls = largest(linear, limit)
    assert batch == expected, limit
    assert len(calls) <= 5


@pytest.mark.parametrize("limit", [3_000, 50_000, 1_000_000])
def test_the_largest_batch_of_memory_that_is_not_quite_linear(limit):
  for formula in (
    lambda batch: linear(-(-batch // 128) * 128),  # padded
    lambda batch: int(linear(batch) + 30 * batch**0.8),
    lambda batch: int(linear(batch) * (1 + 0.05 * (batch % 64 > 0))),
  ):
    batch, calls = largest(formula, limit)
    assert batch in calls
    assert formula(batch) <= limit
    assert len(calls) <= 6
    best = max(b for b in range(1, limit // 10) if formula(b) <= limit)
    assert batch > 0.7 * best
