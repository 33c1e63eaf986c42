"""How much room a data set needs, asked before anything is downloaded."""

import pathlib
import shutil

from mn_jax.data.datasets import registry
from mn_jax.errors import InputError

# At most, beside the packed images: archives, and what is unpacked or written
# from them, before any of it is deleted.
_BYTES = {
  # 277,524 patches of 5.8 kB (the mean of 11,081), all of them twice, and as
  # much again as an archive; a small file takes whole blocks of the disk.
  ("idc", "kaggle"): 8_000_000_000,
  # 5,856 X-rays of 0.21 MB (the mean of 24), all of them twice, and as much
  # again as an archive.
  ("chest_xray", "kaggle"): 5_500_000_000,
  # An archive of 0.26 GB, 0.34 GB of tiles, and what is written.
  ("colorectal_histology", "tfds"): 1_200_000_000,
  # An archive of 0.09 GB, unpacked as large, and what is written.
  ("eurosat", "tfds"): 500_000_000,
  # An archive of 0.17 GB, unpacked as large, and what is written.
  ("cifar100", "tfds"): 800_000_000,
  # The archives, 155 GB, are there already. TFDS writes as much and keeps as
  # much again while it shuffles.
  ("imagenet2012", "tfds"): 320_000_000_000,
}


def needed(name: str, source: str, image_size: int) -> int:
  """Bytes that a data set takes at most, download and packed images.

  Args:
    name: of the data set.
    source: one of its `DatasetSpec.sources()`.
    image_size: height and width of the packed images in pixels.
  """
  spec = registry.get(name)
  packed = spec.images * image_size * image_size * 3
  if source == "web":
    return spec.web.size + packed
  return _BYTES[name, source] + packed


def check(root: pathlib.Path, size: int) -> None:
  """Refuses to begin a download that has no room.

  Args:
    root: the folder of downloads and packed images, which is made.
    size: bytes.

  Raises:
    InputError: with what is there and what is needed.
  """
  try:
    root.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise InputError(
      f"--data_dir: got {str(root)!r}, which cannot be made "
      f"({error.strerror}); valid: a folder you may create or write"
    ) from None
  free = shutil.disk_usage(root).free
  if free < size:
    raise InputError(
      f"--data_dir: got {str(root)!r} with {free / 1e9:.1f} GB free; valid: a "
      f"folder with {size / 1e9:.1f} GB"
    )
