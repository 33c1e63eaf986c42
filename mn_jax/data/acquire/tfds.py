"""Prepares data sets of TensorFlow Datasets for reading without TensorFlow.

Preparing needs TensorFlow (the extra `prepare`); `datasets.tfds_files` reads
the result without it.
"""

import importlib.util
import logging
import pathlib

from mn_jax.data.acquire import space
from mn_jax.data.datasets import tfds_files
from mn_jax.data.datasets.spec import Tfds
from mn_jax.errors import InputError

# Files that the user must download for TFDS, by the name of the data set.
_BY_HAND = {
  "imagenet2012": (
    ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar"),
    "https://image-net.org/download-images",
  )
}


def fetch(
  layout: Tfds, root: pathlib.Path, *, page: str | None = None
) -> pathlib.Path:
  """Downloads and prepares a data set below `root/tfds` unless it is there.

  TFDS shows its own progress and keeps the files that it has downloaded.

  Args:
    layout: which data set.
    root: the folder of downloads.
    page: where people get a copy by hand, for the messages.

  Returns:
    The prepared folder.

  Raises:
    InputError: saying what went wrong and what to do.
  """
  import requests
  import tensorflow_datasets as tfds
  from tensorflow_datasets.core.download import download_manager, util

  folder = root / "tfds"
  copy = "--source=PATH with a copy" + (f" from {page}" if page else "")
  builder = tfds.builder(
    layout.name, data_dir=folder, file_format=tfds_files.FORMAT
  )
  prepared = pathlib.Path(builder.data_path)
  if tfds_files.is_prepared(prepared):
    return prepared
  if importlib.util.find_spec("tensorflow") is None:
    raise InputError(
      "--source: got 'tfds', and TensorFlow is not installed, without which "
      f"TensorFlow Datasets cannot prepare {layout.name}; valid: after `pip "
      f"install tensorflow-cpu` (the extra 'prepare'), or {copy}"
    )
  # It would log every try without a connection, in many lines.
  logging.getLogger("urllib3").setLevel(logging.ERROR)
  downloads = folder / "downloads"
  _check_by_hand(layout.name.partition(":")[0], downloads / "manual")
  try:
    builder.download_and_prepare(
      download_dir=downloads,
      download_config=tfds.download.DownloadConfig(
        manual_dir=downloads / "manual"
      ),
    )
  except download_manager.NonMatchingChecksumError:
    problem = (
      "the publisher's file has another checksum than TensorFlow Datasets "
      "expects; valid: "
    )
  except util.DownloadError as error:
    problem = f"{_one_line(error)}; valid: the same command later, or "
  except requests.RequestException as error:  # an OSError, and so before it
    problem = (
      f"the download broke off ({type(error).__name__}); valid: a connection "
      "and the same command again, or "
    )
  except OSError as error:
    raise space.cannot_write(folder, error) from None
  except Exception as error:  # TFDS raises whatever its libraries do
    problem = (
      f"TensorFlow Datasets failed ({type(error).__name__}: "
      f"{_one_line(error)[:200]}); valid: the same command again, or "
    )
  else:
    return prepared
  raise InputError(f"{layout.name}: {problem}{copy}")


def _one_line(error: Exception) -> str:
  return " ".join(str(error).split())


def _check_by_hand(name: str, folder: pathlib.Path) -> None:
  """Refuses to start without files that only the user can download.

  TFDS would prepare the parts that are there, and never the others.
  """
  files, page = _BY_HAND.get(name, ((), ""))
  missing = [file for file in files if not (folder / file).is_file()]
  if missing:
    raise InputError(
      f"--source: got 'tfds', and {folder} has no {' and no '.join(missing)}; "
      f"valid: {' and '.join(files)} in that folder, downloaded with an "
      f"account from {page}"
    )
