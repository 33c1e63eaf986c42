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
  # Not the statistics of each device, and nothing on one GPU.
  ((alone,),) = (count(small_config(norm_over="device"))[0].collectives,)
  assert alone.count == 1
  assert count(config, gpus=1)[0].collectives == ()


def test_memory_follows_the_batch_and_micro_batches():
  config = small_config()
  sizes = [count(config, batch)[1] for batch in (8, 16, 24)]
  assert sizes[2] - sizes[1] == sizes[1] - sizes[0] > 0
  optim = dataclasses.replace(config.optim, accumulate=4)
  several, memory = count(dataclasses.replace(config, optim=optim))
  assert several.flops == count(config)[0].flops
  assert memory < sizes[0]
  assert several.collectives[0].count == 1 + 4 * 2 * 17
