"""Section `data`."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """Which images, how they are split, and where they are kept."""

  name: str = field("idc", "data set, a name in data.datasets.DATASETS")
  path: str = field(
    "", "folder or archive; empty: where prepare puts it", result=False
  )
  cache_dir: str = field(
    "",
    "folder of downloads and packed caches; empty: $MN_JAX_CACHE or "
    "~/.cache/mn_jax",
    result=False,
  )
  split: str = field(
    "grouped",
    "grouped: by patient, slide or person; fixed: as published; stratified: by "
    "image, each class in proportion; random: by image; kfold: one of several "
    "tests, by group where groups are known",
    choices=("grouped", "fixed", "stratified", "random", "kfold"),
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
  folds: int = field(
    5, "kfold: number of folds; 0: one per group", low=0, high=1000
  )
  fold: int = field(0, "kfold: which of them is the test", low=0, high=100_000)
  train_fraction: float = field(
    1.0,
    "share of the training part that is used, by group where the split heeds "
    "groups; a smaller share is part of a larger one",
    low=1e-4,
    high=1,
  )
  shared_groups: str = field(
    "keep",
    "fixed: training images whose group is also in the published test",
    choices=("keep", "drop"),
  )
  classes: int = field(
    0, "use the first so many classes only; 0: all", low=0, high=100_000
  )
  sampling: str = field(
    "shuffled",
    "shuffled: every training image once per epoch; balanced: every class "
    "equally often",
    choices=("shuffled", "balanced"),
  )
  image_size: int = field(
    50, "height and width in the packed cache, pixels", low=8, high=1024
  )
  other_sizes: str = field(
    "resize",
    "images of another size: resize squeezes them to the square, crop takes "
    "the middle square, drop leaves them out",
    choices=("resize", "crop", "drop"),
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
    4, "batches gathered ahead of the step", low=0, high=1024, result=False
  )
