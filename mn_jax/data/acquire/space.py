"""Disk space that a data set needs, checked before it is downloaded."""

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


def needed(name: str, source: str, image_bytes: int) -> int:
  """Returns the bytes that a data set takes at most, downloaded and packed.

  Args:
    name: of the data set.
    source: 'web', 'kaggle' or 'tfds', whichever it has.
    image_bytes: of a packed image.
  """
  spec = registry.get(name)
  packed = spec.images * image_bytes
  if source == "web":
    return spec.web.size + packed
  return _BYTES[name, source] + packed


def check(root: pathlib.Path, size: int) -> None:
  """Refuses to start a download that has no room.

  Args:
    root: the folder of downloads and packed images, which is made.
    size: bytes.

  Raises:
    InputError: with what is there and what is needed.
  """
  try:
    root.mkdir(parents=True, exist_ok=True)
  except OSError as error:
    raise cannot_write(root, error) from None
  free = shutil.disk_usage(root).free
  if free < size:
    raise InputError(
      f"data.cache_dir: got {str(root)!r} with {free / 1e9:.1f} GB free; "
      f"valid: a folder with {size / 1e9:.1f} GB"
    )


def cannot_write(folder: pathlib.Path, error: OSError) -> InputError:
  """Returns the error for a folder of downloads that cannot be written."""
  return InputError(
    f"data.cache_dir: {folder} cannot be written ({error.strerror or error}); "
    "valid: a folder you may write, with room for the data"
  )
