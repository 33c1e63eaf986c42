"""Steps of GPUs, counted."""

import dataclasses

import pytest

from mn_jax.models import counting, registry
from mn_jax.perf import abstract_step
from mn_jax.perf.scaling.plan import layer_counts
from tests.perf.scaling.small_config import small_config


def count(config, batch=8, gpus=8):
  return layer_counts.count_step(config, batch_per_chip=batch, count=gpus)


def test_flops_are_three_forward_passes():
  work, _ = count(small_config())
  options = registry.Options(shallow=True)
  module = registry.build(
    registry.describe(
      "mobilenet_v1", num_classes=2, width=0.25, options=options
    )
  )
  assert work.flops == pytest.approx(8 * 6 * counting.count_macs(module, 32))


def test_a_frozen_backbone_has_no_backward_pass():
  config = small_config()
  frozen = small_config(transfer="frozen", weights="any.h5")
  (all_of_it, memory), (less, kept) = count(config), count(frozen)
  assert less.flops == pytest.approx(all_of_it.flops / 3)
  assert less.bytes < all_of_it.bytes / 3
  assert kept < memory
  # Its head alone: 256 x 2 weights and 2 biases.
  ((total,), (whole,)) = less.collectives, all_of_it.collectives
  assert (total.count, total.bytes) == (1, 4 * 514)
  assert whole.bytes > 100 * total.bytes


def test_gradients_and_statistics_are_summed():
  config = small_config()
  step = abstract_step.make(config, global_batch=8, num_devices=1)
  params, stats = counting.count_params(
    {"params": step.state.params, "batch_stats": step.state.batch_stats}
  )
  ((total,),) = (count(config)[0].collectives,)
  # A mean and a variance per channel, forward and backward.
  assert total.count == 1 + 2 * 17
  assert total.bytes == 4 * params + 2 * 4 * stats
  ((half,),) = (count(small_config(dtype="bfloat16"))[0].collectives,)
  assert half.bytes == 2 * params + 2 * 4 * stats


def test_statistics_of_a_device_are_not_summed():
  ((total,),) = (count(small_config(norm_over="device"))[0].collectives,)
  assert total.count == 1


def test_one_gpu_has_no_collectives():
  assert count(small_config(), gpus=1)[0].collectives == ()


def test_micro_batches_need_less_memory_and_more_collectives():
  config = small_config()
  parts = dataclasses.replace(
    config, optim=dataclasses.replace(config.optim, accumulate=4)
  )
  (whole, memory), (several, less) = count(config), count(parts)
  assert several.flops == whole.flops
  assert less < memory
  assert several.collectives[0].count == 1 + 4 * 2 * 17


def test_memory_grows_with_the_batch():
  config = small_config()
  sizes = [count(config, batch)[1] for batch in (8, 16, 24)]
  assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0
