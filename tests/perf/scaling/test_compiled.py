"""The training step compiled ahead of time: for CPUs, TPUs and GPUs.

On CPUs the same function compiles for the four devices of the tests. For the
others the packages that compile for them have to be installed.
"""

import dataclasses
import pathlib

import jax
import pytest

from mn_jax.errors import InputError
from mn_jax.models import counting
from mn_jax.parallel.accelerators import ACCELERATORS
from mn_jax.perf import abstract_step
from mn_jax.perf.program import targets
from mn_jax.perf.scaling.plan import compiled, layer_counts
from tests.perf.scaling.small_config import small_config

pytestmark = [
  pytest.mark.devices(4),
  pytest.mark.usefixtures("standard_promotion"),
]


def param_bytes(config) -> int:
  step = abstract_step.make(config, global_batch=8, num_devices=1)
  return abstract_step.num_bytes(step.state.params)


def changed(config, section, **fields):
  """A config with changed fields in one section."""
  part = dataclasses.replace(getattr(config, section), **fields)
  return dataclasses.replace(config, **{section: part})


@pytest.mark.extended
def test_the_step_of_four_devices():
  config = small_config()
  on_four = compiled.compile_step(config, jax.devices(), global_batch=16)
  assert on_four.work.flops > 0
  assert on_four.work.bytes > 0
  assert on_four.compile_seconds > 0
  step = abstract_step.make(config, global_batch=16, num_devices=4)
  images = 4 * 32 * 32 * 3
  assert (
    on_four.memory["arguments"] >= abstract_step.num_bytes(step.state) + images
  )
  assert on_four.memory_bytes == sum(on_four.memory.values())
  # All gradients and statistics are summed.
  assert {total.kind for total in on_four.work.collectives} == {"all-reduce"}
  size = sum(total.bytes for total in on_four.work.collectives)
  gradients = param_bytes(config)
  # Statistics are two numbers per channel, forward and backward; the rest are
  # scalars. More would be an array that should have stayed where it was.
  _, stats = counting.count_params(
    {"params": {}, "batch_stats": step.state.batch_stats}
  )
  assert gradients <= size <= gradients + 4 * (2 * stats) + 1_000
  alone = compiled.compile_step(config, jax.devices()[:1], global_batch=4)
  assert alone.work.collectives == ()
  # Equal batches per device: equal work, up to that of the collectives.
  assert alone.work.flops == pytest.approx(on_four.work.flops, rel=0.1)


def test_a_step_is_made_from_shapes_alone():
  config = small_config()
  step = abstract_step.make(config, global_batch=12, num_devices=4)
  assert step.classes == 2
  assert step.batch["image"].shape == (12, 32, 32, 3)
  leaves = jax.tree.leaves((step.state, step.batch))
  assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in leaves)
  config = changed(config, "optim", accumulate=2)
  with pytest.raises(InputError, match="batch: got 12; valid: a multiple of 8"):
    abstract_step.make(config, global_batch=12, num_devices=4)


def test_statistics_of_each_device_need_the_number_of_devices():
  config = small_config(norm_over="device")
  step = abstract_step.make(config, global_batch=64, num_devices=16)
  assert step.module.backbone.norm.keywords["group"] == 4


def test_a_data_set_without_listed_classes_needs_their_number():
  config = changed(small_config(), "data", name="imagenet2012")
  with pytest.raises(InputError, match=r"data\.classes: got 0"):
    abstract_step.make(config, global_batch=8, num_devices=1)
  config = changed(config, "data", classes=1000)
  step = abstract_step.make(config, global_batch=8, num_devices=1)
  assert step.classes == 1000


def test_images_on_the_device_count_as_memory():
  config = small_config()
  assert abstract_step.resident_bytes(config) == 0
  config = changed(config, "data", placement="device")
  assert abstract_step.resident_bytes(config) == 277_524 * 32 * 32 * 3


def test_the_memory_of_a_refused_program():
  message = (
    "RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, "
    "the total memory required for HLO temporaries (128.25G) exceeds "
    "available HBM (15.75G). HLO module: jit_on_mesh."
  )
  assert compiled.refused_bytes(message) == round(128.25 * 2**30)
  assert compiled.refused_bytes("INTERNAL: something else") is None


def test_sources_of_a_step_are_files():
  package = pathlib.Path(compiled.__file__).parents[3]
  for pattern in compiled.SOURCES:
    assert list(package.glob(pattern)), pattern


@pytest.mark.slow
def test_a_step_compiled_for_absent_tpus():
  pytest.importorskip("libtpu", reason="libtpu, which compiles, is missing")
  chips = targets.devices(ACCELERATORS["v5e"], (2, 2))
  assert len(chips) == 4
  assert chips[0].device_kind == ACCELERATORS["v5e"].device_kind
  found = compiled.compile_step(
    small_config(dtype="bfloat16"), chips, global_batch=16
  )
  assert found.work.flops > 0
  assert found.work.bytes > 0
  assert found.work.cycles > 0
  assert {total.kind for total in found.work.collectives} == {"all-reduce"}
  size = sum(total.bytes for total in found.work.collectives)
  # Gradients are summed in the type that products are computed in.
  assert size >= param_bytes(small_config()) / 2


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_step_compiled_for_absent_gpus(dtype):
  chip = ACCELERATORS["H200"]
  if not targets.can_compile(chip):
    pytest.skip("XLA's CUDA plugin, which compiles, is missing")
  config = small_config(dtype=dtype)
  chips = targets.devices(chip, (2, 1))
  assert [device.process_index for device in chips] == [0, 1]
  found = compiled.compile_step(config, chips, global_batch=16)
  # Read off the text: the compiler counts none.
  assert found.flops is None
  counted, memory = layer_counts.count_step(config, batch_per_chip=8, count=2)
  assert 0.8 * counted.flops < found.work.flops < 1.1 * counted.flops
  assert found.work.cycles == 0
  assert found.work.bytes > counted.bytes
  assert found.memory_bytes > 0.5 * memory
  assert {total.kind for total in found.work.collectives} == {"all-reduce"}
  size = sum(total.bytes for total in found.work.collectives)
  assert size >= param_bytes(config) / (2 if dtype == "bfloat16" else 1)
