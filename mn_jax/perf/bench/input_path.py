"""The input path stage by stage: images per second of each."""

import pathlib
import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from mn_jax.config import Config
from mn_jax.data import cache, decode, loader, store
from mn_jax.data.datasets.source import ImageFiles, Source
from mn_jax.run import split_data


def measure(
  config: Config, *, images: int, gathered: int, repeats: int
) -> dict[str, Any]:
  """Images per second of each stage, one number a repeat, as JSON.

  Args:
    config: sections data and train, and the seed.
    images: how many to read and decode, evenly spread over the data set.
    gathered: how many to gather from the packed cache.
    repeats: timed runs of each stage, the stages in turn.
  """
  section = config.data
  data = split_data.load(section, lambda done, total: None)
  root = store.cache_root(section.cache_dir)
  with (
    store.open_source(section.name, section.path, root) as source,
    tempfile.TemporaryDirectory() as folder,
  ):
    count = min(images, len(source.listing))
    spread = np.linspace(0, len(source.listing) - 1, count).astype(int)
    stages = {
      **_decoding(source, spread.tolist(), section.image_size),
      **_packed(data, config, gathered),
    }
    speeds: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(repeats):
      for name, run in stages.items():
        start = time.perf_counter()
        done = run()
        speeds[name].append(done / (time.perf_counter() - start))
      speeds.setdefault("pack, all of it", []).append(
        _pack(source, config, pathlib.Path(folder), spread)
      )
  return {
    "data": section.name,
    "image_size": section.image_size,
    "batch": config.train.batch_size,
    "images_per_sec": speeds,
  }


def _decoding(
  source: Source, rows: list[int], size: int
) -> dict[str, Callable[[], int]]:
  """Reading and decoding, where images are files."""
  if not isinstance(source, ImageFiles):
    return {}
  paths = [source.listing.paths[row] for row in rows]
  data = [source.files.read(path) for path in paths]
  decoded = [decode.decode(image) for image in data]

  def each(function: Callable, items: list) -> Callable[[], int]:
    def run() -> int:
      for item in items:
        function(item)
      return len(items)

    return run

  return {
    "read": each(source.files.read, paths),
    "decode": each(decode.decode, data),
    "resize": each(lambda image: decode.resize(image, size), decoded),
    "decode to size": each(lambda d: decode.decode_resized(d, size), data),
  }


def _packed(
  data: split_data.SplitData, config: Config, gathered: int
) -> dict[str, Callable[[], int]]:
  """Everything between the packed cache and the device."""
  size = config.train.batch_size
  batches = loader.TrainBatches(
    data.cache.images,
    data.cache.labels,
    data.part("train"),
    batch_size=size,
    num_batches=-(-gathered // size),
    seed=config.seed,
    balanced=config.data.sampling == "balanced",
  )
  rows = [batches.ids(number) for number in range(len(batches))]

  def gather() -> int:
    for some in rows:
      data.cache.images[some]
    return len(rows) * size

  def iterate() -> int:
    for _ in batches.iterate(start=0, prefetch=config.data.prefetch):
      pass
    return len(batches) * size

  return {"gather": gather, "loader": iterate}


def _pack(
  source: Source, config: Config, folder: pathlib.Path, rows: np.ndarray
) -> float:
  """Images per second of a whole build of the packed cache."""
  section = config.data
  few = _Few(source, rows)
  start = time.perf_counter()
  with tempfile.TemporaryDirectory(dir=folder) as root:
    cache.open_or_build(
      few,
      pathlib.Path(root),
      section.name,
      size=section.image_size,
      other_sizes=section.other_sizes,
      max_unreadable=1.0,
    )
    return len(rows) / (time.perf_counter() - start)


class _Few:
  """Some rows of a source."""

  def __init__(self, source: Source, rows: np.ndarray):
    self._source, self._rows = source, rows.tolist()
    self.listing = source.listing.take(rows)

  def read(self, row: int) -> np.ndarray:
    return self._source.read(self._rows[row])

  def read_resized(self, row: int, size: int) -> np.ndarray:
    return self._source.read_resized(self._rows[row], size)
