"""Downloads data sets of Kaggle, at a pinned version, with kagglehub."""

import logging
import os
import pathlib
import tarfile
import zipfile
import zlib

from mn_jax.data.acquire import space
from mn_jax.errors import InputError

_BROKEN_ARCHIVE = (zipfile.BadZipFile, tarfile.TarError, zlib.error)
_AGAIN = "a connection to kaggle.com, and the same command again, which resumes"


def fetch(handle: str, root: pathlib.Path) -> pathlib.Path:
  """Downloads a data set to `root/kaggle` unless it is there.

  kagglehub shows its own progress, resumes a stopped download, checks what
  arrived and unpacks it.

  Args:
    handle: `OWNER/NAME/versions/N`.
    root: the folder of downloads.

  Returns:
    The folder of its files.

  Raises:
    InputError: saying what went wrong and what to do.
  """
  folder = root / "kaggle"
  os.environ["KAGGLEHUB_CACHE"] = str(folder)
  try:
    import kagglehub
    import requests
    from kagglehub import exceptions
  except ImportError:
    raise InputError(
      "--source: got 'kaggle', and kagglehub is not installed; valid: after "
      "`make setup` or `pip install kagglehub`, or --source=PATH with a copy"
    ) from None
  # It would print where it puts files, and that it has new versions.
  logging.getLogger("kagglehub").setLevel(logging.ERROR)
  try:
    return pathlib.Path(kagglehub.dataset_download(handle))
  except (exceptions.CredentialError, exceptions.UnauthenticatedError):
    raise _answered(None, handle) from None
  except exceptions.KaggleApiHTTPError as error:
    status = error.response.status_code if error.response is not None else 0
    raise _answered(status, handle) from None
  except exceptions.DataCorruptionError:
    raise InputError(
      f"{handle}: the download has another checksum than Kaggle states, and is "
      f"deleted; valid: {_AGAIN}"
    ) from None
  # Also an OSError, sometimes a ValueError, and so before them.
  except requests.RequestException as error:
    if (response := error.response) is not None:
      raise _answered(response.status_code, handle) from None
    raise InputError(
      f"{handle}: the download broke off ({type(error).__name__}); valid: "
      f"{_AGAIN}"
    ) from None
  except (*_BROKEN_ARCHIVE, EOFError, ValueError):
    raise InputError(
      f"{handle}: what lies in {folder} is no readable archive; valid: that "
      "folder deleted, and the same command again"
    ) from None
  except OSError as error:
    raise space.cannot_write(folder, error) from None


def _answered(status: int | None, handle: str) -> InputError:
  """Returns the error for an answer of Kaggle's, whose text may be secret.

  `status` is HTTP's; 0 is no answer, None that there are no credentials.
  """
  if status in (None, 401, 403):
    reason = f"answer {status}" if status else "no credentials"
    return InputError(
      f"{handle}: Kaggle refuses it ({reason}); valid: credentials in "
      "KAGGLE_API_TOKEN or in KAGGLE_USERNAME and KAGGLE_KEY, made at "
      "kaggle.com/settings, of an account that accepted the data's terms"
    )
  if status == 404:
    return InputError(
      f"{handle}: Kaggle has no such version any more (answer 404); valid: "
      "--source=PATH with a copy of it"
    )
  return InputError(
    f"{handle}: Kaggle answers {status or 'nothing'}; valid: the same command "
    "later, or --source=PATH with a copy"
  )
