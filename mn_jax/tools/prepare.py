"""Downloads and packs a data set: `python -m mn_jax.tools.prepare idc`.

With `--source=PATH` it packs a copy that is already there. Training packs on
its own too; this program does it beforehand, and gets the data from Kaggle
where it is pinned there.
"""

import argparse
import os
import pathlib
import shutil
import sys
from collections.abc import Sequence

from mn_jax import config as config_lib
from mn_jax import validate
from mn_jax.data import datasets
from mn_jax.errors import InputError
from mn_jax.observe.console import Console

# Archive, unpacked files and packed cache of IDC take about 7 GB.
_NEEDED_BYTES = 8 << 30


def download(name: str, root: pathlib.Path) -> pathlib.Path:
  """Downloads a data set from Kaggle into `root/kaggle`; returns its folder.

  Raises:
    InputError: saying what went wrong and what to do.
  """
  spec = datasets.get(name)
  handle = spec.kaggle
  if handle is None:
    raise InputError(
      f"--source: {name!r} is not downloaded by this program; valid: "
      f"--source=FOLDER_OR_ZIP with a copy from {spec.page}"
    )
  root.mkdir(parents=True, exist_ok=True)
  free = shutil.disk_usage(root).free
  if free < _NEEDED_BYTES:
    raise InputError(
      f"--data_dir: got {str(root)!r} with {free / 2**30:.1f} GiB free; valid: "
      f"a folder with {_NEEDED_BYTES / 2**30:.0f} GiB"
    )
  # Read by kagglehub when it is imported.
  os.environ["KAGGLEHUB_CACHE"] = str(root / "kaggle")
  try:
    import kagglehub
    from kagglehub.exceptions import KaggleApiHTTPError
  except ImportError:
    raise InputError(
      "kagglehub is not installed; valid: `make setup`, or `pip install "
      "kagglehub`"
    ) from None
  import requests

  try:
    return pathlib.Path(kagglehub.dataset_download(handle))
  except KaggleApiHTTPError as error:
    status = error.response.status_code if error.response is not None else "?"
    raise InputError(
      f"Kaggle answered {status} for {handle}; valid: credentials in "
      "KAGGLE_API_TOKEN (or KAGGLE_USERNAME and KAGGLE_KEY), made at "
      "kaggle.com/settings, of an account that accepted the data's terms"
    ) from None
  except (requests.RequestException, OSError) as error:
    raise InputError(
      f"the download of {handle} broke off ({type(error).__name__}); valid: a "
      "connection to kaggle.com, and the same command again"
    ) from None


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  parser = argparse.ArgumentParser(
    prog="python -m mn_jax.tools.prepare",
    description="Download and pack a data set for training.",
  )
  parser.add_argument("dataset", help=f"one of: {', '.join(datasets.DATASETS)}")
  parser.add_argument(
    "--source",
    default="kaggle",
    help="a folder or zip archive (default: kaggle, for what is there)",
  )
  parser.add_argument(
    "--data_dir",
    default="",
    help="folder of downloads and packed data (default: $MN_JAX_CACHE or "
    "~/.cache/mn_jax; training takes it as --config.data.cache_dir)",
  )
  parser.add_argument(
    "--image_size",
    type=int,
    default=None,
    help="height and width in pixels (default: those of the data set's images)",
  )
  args = parser.parse_args(argv)
  defaults = config_lib.DataConfig()
  console = Console()
  root = datasets.cache_root(args.data_dir)
  try:
    spec = datasets.get(args.dataset)
    size = spec.image_size if args.image_size is None else args.image_size
    validate.check_fields("data", defaults, image_size=size)
    if args.source != "kaggle":
      path = pathlib.Path(args.source).expanduser()
    elif spec.generate is not None:
      path = None
    else:
      path = datasets.recall(args.dataset, root) or download(args.dataset, root)
    with console.counting("decoding", "images") as progress:
      packed = datasets.load(
        args.dataset,
        path="" if path is None else str(path),
        root=root,
        image_size=size,
        edge_patches=defaults.edge_patches,
        max_unreadable=defaults.max_unreadable,
        progress=progress,
      )
    if path is not None:
      datasets.remember(args.dataset, path, root)
  except InputError as error:
    print(f"prepare: {error}", file=sys.stderr)
    return 2
  except OSError as error:
    print(
      f"prepare: --data_dir: got {str(root)!r}, which cannot be written "
      f"({error.strerror}); valid: a folder you may create or write",
      file=sys.stderr,
    )
    return 2
  console.line(f"{args.dataset}: {spec.title}; licence: {spec.licence}")
  count = f"{len(packed):,} images"
  if spec.group is not None:
    count += f" of {len(set(packed.groups.tolist())):,} {spec.group}s"
  console.line(f"{count}; fingerprint {packed.fingerprint[:16]}")
  for index, name in enumerate(spec.classes):
    console.line(f"  {name}: {(packed.labels == index).sum():,}")
  for name, reason in packed.quarantine:
    console.line(f"  left out: {name}: {reason}")
  return 0


if __name__ == "__main__":
  sys.exit(main())
