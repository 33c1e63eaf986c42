"""Section `data`: the data set and its split."""

import dataclasses

from mn_jax.config.field import field


@dataclasses.dataclass(frozen=True)
class DataConfig:
  """The data set, how it is split, and where it is cached."""

  name: str = field(
    "idc", "data set, a name in data.datasets.registry.DATASETS"
  )
  path: str = field(
    "",
    "folder or archive of the images, or a table of them (.csv, .tsv, "
    ".parquet); empty: where prepare put it",
    result=False,
    path=True,
  )
  root: str = field(
    "",
    "folder or archive that the paths in a table are relative to; empty: the "
    "folder of the table",
    result=False,
    path=True,
  )
  file: str = field(
    "",
    "table: column of the images' paths; empty: the one with a usual name, "
    "such as path or filename",
  )
  label: tuple[str, ...] = field(
    (),
    "table: column of the labels, or columns of 0 and 1, one for each label "
    "that an image may have (multi-label); empty: the one with a usual name, "
    "such as label or class",
  )
  label_separator: str = field(
    "",
    "table: what separates several labels in one cell (multi-label); empty: "
    "one label a cell",
  )
  group: str = field(
    "",
    "table: column of what belongs together, such as the patient; empty: none",
  )
  part: str = field(
    "",
    "table: column of the published part: train, val or test; empty: none",
  )
  attributes: tuple[str, ...] = field(
    (),
    "table: further columns that are kept, such as site or scanner",
  )
  group_pattern: str = field(
    "",
    "regular expression with one group in parentheses, which finds in an "
    "image's name what it belongs to, such as the patient; empty: groups as "
    "the data set has them",
  )
  positive: str = field(
    "",
    "class that sensitivity, F1 and AUROC are about; empty: that of the data "
    "set, if it has one",
  )
  cache_dir: str = field(
    "",
    "folder of downloads and packed images; empty: $MN_JAX_CACHE or "
    "~/.cache/mn_jax",
    result=False,
    path=True,
  )
  split: str = field(
    "grouped",
    "grouped: by patient, slide or person; fixed: as published; stratified: at "
    "random, each class in proportion; random: at random; kfold: "
    "cross-validation, per group where groups are known; auto: fixed if there "
    "is a test part, else grouped if 3 groups of each class are known, else "
    "stratified",
    choices=("auto", "grouped", "fixed", "stratified", "random", "kfold"),
  )
  split_seed: int = field(
    0, "seed of the split, independent of `seed`", low=0, high=2**31 - 1
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
  fold: int = field(0, "kfold: index of the test fold", low=0, high=100_000)
  train_fraction: float = field(
    1.0,
    "share of the training part that is used, whole groups where the split is "
    "per group; a smaller share is a subset of a larger one",
    low=1e-4,
    high=1,
  )
  shared_groups: str = field(
    "keep",
    "fixed: keep or drop training images whose group is in the published test",
    choices=("keep", "drop"),
  )
  classes: int = field(
    0, "use only this many classes, the first; 0: all", low=0, high=100_000
  )
  allow_missing: tuple[str, ...] = field(
    (),
    "classes that training or the test may have no image of",
    result=False,
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
  crop_share: float = field(
    1.0,
    "other_sizes 'crop': share of the short side that the middle square has "
    "(timm: crop_pct)",
    low=0.1,
    high=1,
  )
  short_side: int = field(
    0,
    "other_sizes 'crop': pack whole images with at most this short side in "
    "pixels, so that training crops from all of them (augment.crop_scale) and "
    "evaluation takes the middle square; 0: pack that square alone",
    low=0,
    high=1024,
  )
  bits: int = field(
    16,
    "bits that the values of 16-bit grey images use, of which the upper 8 are "
    "kept",
    low=8,
    high=16,
  )
  stain_normalisation: str = field(
    "none",
    "macenko: H&E stains get reference colours, estimated from all images of a "
    "group, such as a patient; such a run predicts whole groups, no single "
    "images",
    choices=("none", "macenko"),
  )
  context: int = field(
    0,
    "patches with known places on slides: patches on each side that the "
    "network sees too, white where there are none; image_size is that of all "
    "together. Such a run predicts whole slides, no single images",
    low=0,
    high=4,
  )
  max_unreadable: float = field(
    0.01,
    "largest share of unreadable files that is tolerated",
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

  @property
  def multi_label(self) -> bool:
    """Whether an image may have several labels, or none."""
    return len(self.label) > 1 or bool(self.label_separator)
