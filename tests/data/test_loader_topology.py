"""The order of samples is that of one process on one device, whatever runs."""

import itertools

import jax
import numpy as np
import pytest

from mn_jax.data import loader
from mn_jax.parallel import mesh

pytestmark = pytest.mark.devices(4)

NUM_BATCHES, BATCH_SIZE = 14, 16
ROWS = np.random.default_rng(0).permutation(90)[:70].astype(np.int64)
IMAGES = np.random.default_rng(1).integers(0, 256, (90, 2, 2, 3), np.uint8)
LABELS = (np.arange(90) % 3).astype(np.int32)


def batches(**options):
  return loader.TrainBatches(
    IMAGES,
    LABELS,
    ROWS,
    batch_size=BATCH_SIZE,
    num_batches=NUM_BATCHES,
    seed=5,
    **options,
  )


def read(processes, start, stop, prefetch, balanced):
  """Global batches of ids as so many processes read them together."""
  shares = [
    itertools.islice(
      batches(
        process_index=i, process_count=processes, balanced=balanced
      ).iterate(start=start, prefetch=prefetch),
      stop - start,
    )
    for i in range(processes)
  ]
  ids = []
  for parts in zip(*shares, strict=True):
    for part in parts:
      np.testing.assert_array_equal(part["image"], IMAGES[part["id"]])
      np.testing.assert_array_equal(part["label"], LABELS[part["id"]])
    ids.append(np.concatenate([part["id"] for part in parts]))
  return ids


def test_processes_and_prefetch_do_not_matter():
  for processes, prefetch, balanced in itertools.product(
    (1, 2, 4), range(5), (False, True)
  ):
    whole = batches(balanced=balanced)
    ids = read(processes, 0, NUM_BATCHES, prefetch, balanced)
    expected = [whole.ids(k) for k in range(NUM_BATCHES)]
    np.testing.assert_array_equal(ids, expected)


def test_another_topology_resumes_with_the_next_sample():
  whole = batches()
  expected = [whole.ids(k) for k in range(NUM_BATCHES)]
  for before, after, at in itertools.product(
    ((1, 0), (2, 4), (4, 1)), ((1, 4), (2, 0), (4, 3)), (1, 4, 9)
  ):
    ids = [
      *read(before[0], 0, at, before[1], False),
      *read(after[0], at, NUM_BATCHES, after[1], False),
    ]
    np.testing.assert_array_equal(ids, expected)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_devices_get_contiguous_parts_in_order(devices):
  placed = mesh.HostImages(mesh.make_mesh(jax.devices()[:devices]))
  for k, batch in enumerate(batches().iterate(start=0, prefetch=2)):
    sent = placed.put(batch)
    shards = sorted(
      sent["id"].addressable_shards, key=lambda shard: shard.device.id
    )
    assert len(shards) == devices
    ids = np.concatenate([np.asarray(shard.data) for shard in shards])
    np.testing.assert_array_equal(ids, batches().ids(k))
