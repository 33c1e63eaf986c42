"""One process of several: prints the ids that arrive on the mesh.

Arguments: process, processes, port (0: ask the scheduler), devices of this
process, first batch, batches ahead.
"""

import json
import sys

import jax
import numpy as np
from jax.experimental import multihost_utils

from mn_jax.data import loader
from mn_jax.parallel import cluster, mesh

BATCH_SIZE, NUM_BATCHES = 16, 12


def batches(**options) -> loader.TrainBatches:
  rows = np.random.default_rng(0).permutation(90)[:70].astype(np.int64)
  return loader.TrainBatches(
    np.zeros((90, 2, 2, 3), np.uint8),
    np.zeros(90, np.int32),
    rows,
    batch_size=BATCH_SIZE,
    num_batches=NUM_BATCHES,
    seed=3,
    **options,
  )


def main() -> None:
  index, count, port, devices, start, prefetch = map(int, sys.argv[1:])
  jax.config.update("jax_num_cpu_devices", devices)
  address = f"127.0.0.1:{port}" if port else None
  given = (count, index) if port else (1, 0)
  cluster.connect("auto", address, *given, timeout=100)
  placed = mesh.HostImages(mesh.make_mesh())
  own = batches(
    process_index=jax.process_index(), process_count=jax.process_count()
  )
  # Row by row: in the order of the mesh's devices.
  rows = [
    multihost_utils.process_allgather(placed.put(batch)["id"], tiled=True)
    for batch in own.iterate(start=start, prefetch=prefetch)
  ]
  if jax.process_index() == 0:
    found = {
      "devices": jax.device_count(),
      "processes": jax.process_count(),
      "ids": np.stack(rows).tolist(),
    }
    print(json.dumps(found))


if __name__ == "__main__":
  main()
