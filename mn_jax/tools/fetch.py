"""Fetches published weights: `python -m mn_jax.tools.fetch resnet50`.

Without a name it lists them. A file is used only if it has the expected
checksum.
"""

import argparse
import pathlib
import re
import shlex
import sys
import urllib.parse
from collections.abc import Sequence

from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command, file_path
from mn_jax.data.acquire.download import (
  check_hash,
  check_url,
  download,
)
from mn_jax.errors import InputError
from mn_jax.observe.console import Console
from mn_jax.weights import locate, manifest

# Pickles (.pth, .pt, .bin, .ckpt) run code when they are read.
_SUFFIXES = (".h5", ".hdf5", ".safetensors", ".json")


def _list_weights(console: Console, folder: pathlib.Path) -> None:
  """Prints a table of the published weights and which are downloaded."""
  rows = []
  for weights in manifest.load().values():
    here = [
      label
      for label, file in (("top", weights.top), ("no top", weights.no_top))
      if (folder / file.name).exists()
    ]
    rows.append(
      (
        weights.name,
        f"{weights.top.megabytes:.0f}/{weights.no_top.megabytes:.0f}",
        weights.licence or "not stated",
        "md5" if weights.top.md5 else "none",
        "both" if len(here) == 2 else "".join(here) or "-",
      )
    )
  console.table(
    f"Weights of Keras Applications, trained on ImageNet; in {folder}",
    ("network and variant", "MB/no top", "licence", "checksum", "here"),
    rows,
  )
  console.line(
    "For a file whose publisher states no checksum, give --sha256=HEX of a "
    "copy that you trust."
  )


def _fetch_named(
  console: Console, args: argparse.Namespace, folder: pathlib.Path
) -> None:
  """Fetches a file of the manifest and prints how to use it."""
  weights = manifest.get(args.name)
  file = weights.no_top if args.no_top else weights.top
  if args.sha256:
    known_hash = _sha256(args.sha256)
  elif file.md5 is not None:
    known_hash = f"md5:{file.md5}"
  else:
    raise InputError(
      f"--sha256: got nothing, and the publisher of {file.name} states no "
      "checksum; valid: --sha256=HEX of a copy that you trust"
    )
  path = args.output or folder / file.name
  _download(console, file.url, path, known_hash)
  licence = weights.licence or "licence not stated"
  console.line(f"{weights.name}: {licence}. {weights.licence_note}")
  console.line(f"From {weights.origin}")
  stated = "as given" if args.sha256 else "as its publisher states it"
  console.line(f"{known_hash.replace(':', ' ')}, {stated}")
  console.line(
    f"Trained on images of {weights.resolution}x{weights.resolution} pixels"
  )
  _print_use(console, path, {"name": weights.network, **dict(weights.options)})


def _fetch_other(
  console: Console, args: argparse.Namespace, folder: pathlib.Path
) -> None:
  """Fetches a file of weights from an address."""
  check_url(args.url)
  if not args.sha256:
    raise InputError("--sha256: got nothing; valid: with --url, --sha256=HEX")
  name = urllib.parse.urlsplit(args.url).path.rpartition("/")[2]
  path = args.output or folder / name
  if not args.output and not re.fullmatch(r"\w[\w.-]*", name):
    raise InputError(
      f"--url: got an address that ends in {name!r}; valid: with such an "
      "address, --output=FILE"
    )
  if path.suffix not in _SUFFIXES:
    raise InputError(
      f"--url: got {path.name!r}; valid: a file of {', '.join(_SUFFIXES)}"
    )
  _download(console, args.url, path, _sha256(args.sha256))
  if path.suffix != ".json":
    _print_use(console, path, {})


def _sha256(digits: str) -> str:
  """Returns a SHA-256 from the command line as `download` takes it."""
  check_hash(f"sha256:{digits.lower()}")
  return f"sha256:{digits.lower()}"


def _download(
  console: Console, url: str, path: pathlib.Path, known_hash: str
) -> None:
  with console.counting("fetched", "MB") as update:
    download(url, path, known_hash=known_hash, progress=update)
  console.line(str(path))


def _print_use(
  console: Console, path: pathlib.Path, model: dict[str, str | float | bool]
) -> None:
  model |= {"weights": shlex.quote(str(path)), "transfer": "fine_tune"}
  flags = (f"model.{field}={value}" for field, value in model.items())
  console.line(f"Use: {' '.join(flags)}")


def _parser() -> Parser:
  parser = Parser(
    command("fetch"),
    description="Fetch published weights for transfer learning; without a "
    "name, list them.",
    example="mobilenet_v1_1.0_224",
  )
  parser.add_argument("name", nargs="?", help="name of the weights")
  parser.flag("--no-top", "fetch the file without classifier")
  parser.add_argument("--url", help="address of any other file of weights")
  parser.option("--sha256", "HEX", "checksum of the file")
  parser.option(
    "--output",
    "FILE",
    "file to write (default: its own name in CACHE_DIR/weights)",
    type=file_path,
  )
  parser.option(
    "--cache-dir",
    "DIR",
    "folder of downloads (default: $MN_JAX_CACHE or ~/.cache/mn_jax)",
    default="",
  )
  return parser


def _fetch(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  folder = locate.folder(args.cache_dir)
  console = Console()
  if args.name and args.url:
    raise InputError(
      f"--url: got one for {args.name!r} too; valid: a name or --url"
    )
  if args.no_top and not args.name:
    raise InputError("--no-top: got no name; valid: NAME --no-top")
  if args.name:
    _fetch_named(console, args, folder)
  elif args.url:
    _fetch_other(console, args, folder)
  else:
    _list_weights(console, folder)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  return program.run("fetch", _fetch, argv, hint="nothing of the file is left")


if __name__ == "__main__":
  sys.exit(main())
