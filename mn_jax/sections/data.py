"""Section `data`."""

import dataclasses

from mn_jax.sections.field import field


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which images, how they are split, and where they are kept."""

  name: str = field("idc", "data set, a name in data.datasets.DATASETS")
  path: str = field(
    "", "folder or zip archive; empty: where prepare puts it", result=False
  )
  cache_dir: str = field(
    "",
    "folder of downloads and packed caches; empty: $MN_JAX_CACHE or "
    "~/.cache/mn_jax",
    result=False,
  )
  split: str = field(
    "grouped",
    "grouped: by patient; fixed: the published lists; stratified: by image, "
    "each class in proportion; random: by image",
    choices=("grouped", "fixed", "stratified", "random"),
  )
  split_seed: int = field(
    0, "seed of the split, apart from `seed`", low=0, high=2**31 - 1
  )
  val_fraction: float = field(
    0.15, "share of groups or images for validation", low=0.01, high=0.8
  )
  test_fraction: float = field(
    0.2, "share of groups or images for the test", low=0.01, high=0.8
  )
  image_size: int = field(
    50, "height and width in the packed cache, pixels", low=8, high=1024
  )
  edge_patches: str = field(
    "resize",
    "images of another size: resize them or drop them",
    choices=("resize", "drop"),
  )
  max_unreadable: float = field(
    0.01,
    "share of unreadable files that ends the run",
    low=0,
    high=1,
    result=False,
  )
  placement: str = field(
    "host",
    "host: batches are sent; device: the data set lives on the device",
    choices=("host", "device"),
    result=False,
  )
  prefetch: int = field(
    4, "batches gathered ahead of the step", low=1, high=1024, result=False
  )
