"""Times the input path stage by stage, on one core.

`python -m mn_jax.tools.bench_input --config=FILE` takes the config and
overrides of training, so that it measures the images that a run would read.
"""

import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence

import numpy as np
from absl import app, flags, logging
from ml_collections import config_flags

from mn_jax import commandline, split_data, validate
from mn_jax.config import Config
from mn_jax.data import cache, decode, loader, store
from mn_jax.data.source import ImageFiles, Source
from mn_jax.errors import InputError
from mn_jax.observe.console import Console

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "experiment file with an optional argument: FILE.py[:sample]"
)
_IMAGES = flags.DEFINE_integer(
  "images", 1000, "images that are decoded", lower_bound=1
)
_GATHERED = flags.DEFINE_integer(
  "gathered", 200_000, "images that are gathered into batches", lower_bound=1
)
_REPEATS = flags.DEFINE_integer(
  "repeats", 3, "timed runs of each stage", lower_bound=1
)
_JSON = flags.DEFINE_bool("json", False, "print JSON instead of a table")


def measure(
  config: Config, *, images: int, gathered: int, repeats: int
) -> dict[str, list[float]]:
  """Images per second of each stage, one number a repeat.

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
  return speeds


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


def main(argv: Sequence[str]) -> int:
  """Prints the speed of each stage; returns the exit code."""
  if len(argv) > 1:
    raise InputError(f"got {argv[1]!r}; valid: flags of the form --name=value")
  config = validate.from_config_dict(_CONFIG.value)
  if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
  speeds = measure(
    config,
    images=_IMAGES.value,
    gathered=_GATHERED.value,
    repeats=_REPEATS.value,
  )
  if _JSON.value:
    print(json.dumps({"data": config.data.name, "images_per_sec": speeds}))
    return 0
  Console().table(
    f"{config.data.name}, {config.data.image_size} px, batch "
    f"{config.train.batch_size}: images/s on one core",
    ("stage", "median", "min", "max"),
    [
      (name, *(f"{f(some):,.0f}" for f in (statistics.median, min, max)))
      for name, some in speeds.items()
    ],
  )
  return 0


def _run(argv: Sequence[str]) -> None:
  try:
    sys.exit(main(argv))
  except InputError as error:
    commandline.report(error)
    sys.exit(2)


if __name__ == "__main__":
  os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
  logging.set_verbosity(logging.WARNING)
  app.run(_run, flags_parser=commandline.parse)
