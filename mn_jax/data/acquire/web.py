"""Downloads data sets that their publisher serves as one file."""

import pathlib
import urllib.parse

from mn_jax.data.acquire.download import DownloadProgress, download
from mn_jax.data.datasets.spec import Web


def fetch(
  web: Web, root: pathlib.Path, progress: DownloadProgress
) -> pathlib.Path:
  """Downloads a file to `root/web`, or checks it if it is there.

  Args:
    web: which file.
    root: the folder of downloads.
    progress: called with bytes so far and in all.

  Raises:
    InputError: if it cannot be had, or is another file than expected.
  """
  name = urllib.parse.urlsplit(web.url).path.rpartition("/")[2]
  path = root / "web" / name
  download(web.url, path, known_hash=f"sha256:{web.sha256}", progress=progress)
  return path
