"""Times the input path stage by stage, in images per second."""

import pathlib
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mn_jax.config import Config
from mn_jax.data import cache, decode, packing, resizing, store
from mn_jax.data.datasets.source import ImageFiles, Source
from mn_jax.run import split_data
from mn_jax.run.batches import train_batches


def measure(
  config: Config, *, images: int, gathered: int, repeats: int
) -> dict[str, Any]:
  """Images per second of each stage, one number per repeat, as JSON.

  Args:
    config: sections data and train, and the seed.
    images: how many to read and decode, evenly spread over the data set.
    gathered: how many to gather from the packed cache.
    repeats: timed runs of each stage, interleaved.
  """
  section = config.data
  data = split_data.load(section, lambda done, total: None)
  root = store.cache_root(section.cache_dir)
  with store.open_source(section.name, section.path, root) as source:
    count = min(images, len(source.listing))
    rows = np.linspace(0, len(source.listing) - 1, count).astype(int)
    stages = {
      **_decoding_stages(source, rows.tolist(), section.image_size),
      **_cache_stages(data, config, gathered),
      "pack, all of it": lambda: _pack(source, config, rows),
    }
    rates: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(repeats):
      for name, run in stages.items():
        start = time.perf_counter()
        done = run()
        rates[name].append(done / (time.perf_counter() - start))
  return {
    "data": section.name,
    "image_size": section.image_size,
    "batch": config.train.batch_size,
    "images_per_sec": rates,
  }


def _decoding_stages(
  source: Source, rows: list[int], size: int
) -> dict[str, Callable[[], int]]:
  """Reading and decoding, where images are files."""
  if not isinstance(source, ImageFiles):
    return {}
  paths = [source.listing.paths[row] for row in rows]
  encoded = [source.files.read(path) for path in paths]
  decoded = [decode.decode(image) for image in encoded]

  def stage(function: Callable, items: Sequence) -> Callable[[], int]:
    def run() -> int:
      for item in items:
        function(item)
      return len(items)

    return run

  return {
    "read": stage(source.files.read, paths),
    "decode": stage(decode.decode, encoded),
    "resize": stage(lambda image: resizing.resize(image, size), decoded),
    "decode to size": stage(lambda e: decode.decode(e, size), encoded),
  }


def _cache_stages(
  data: split_data.SplitData, config: Config, gathered: int
) -> dict[str, Callable[[], int]]:
  """Everything between the packed cache and the device."""
  size = config.train.batch_size
  batches = train_batches(config, data, data.cache.images, -(-gathered // size))
  rows = [batches.ids(number) for number in range(len(batches))]

  def gather() -> int:
    for batch_rows in rows:
      data.cache.images[batch_rows]
    return len(rows) * size

  def iterate() -> int:
    for _ in batches.iterate(start=0, prefetch=config.data.prefetch):
      pass
    return len(batches) * size

  return {"gather": gather, "loader": iterate}


def _pack(source: Source, config: Config, rows: np.ndarray) -> int:
  """Builds the packed cache of some rows in a folder that is deleted."""
  section = config.data
  with tempfile.TemporaryDirectory() as root:
    cache.open_or_build(
      _Subset(source, rows),
      pathlib.Path(root),
      section.name,
      packing.PackOptions(
        section.image_size,
        section.other_sizes,
        max_unreadable=1.0,
        bits=section.bits,
        crop_share=section.crop_share,
        short_side=section.short_side,
      ),
    )
  return len(rows)


class _Subset:
  """Some rows of a source."""

  def __init__(self, source: Source, rows: np.ndarray):
    self._source, self._rows = source, rows.tolist()
    self.listing = source.listing.take(rows)
    self.maxima = source.maxima

  def read(
    self, row: int, size: int | None = None, *, bits: int = 16
  ) -> np.ndarray:
    return self._source.read(self._rows[row], size, bits=bits)
