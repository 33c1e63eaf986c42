"""Prepares a data set for training: `python -m mn_jax.tools.prepare cifar100`.

It downloads the data set, or takes a copy with `--source=PATH`, and decodes its
images once into one file. Training needs nothing else then: no network, no
TensorFlow, not even the source. Whatever stops it, the same command resumes.
"""

import argparse
import pathlib
import shlex
import sys
import urllib.parse
from collections.abc import Sequence
from typing import Any

from mn_jax import config as config_lib
from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command
from mn_jax.config import checks, files
from mn_jax.data import manifest, packing, store
from mn_jax.data.acquire import kaggle, space, tfds
from mn_jax.data.acquire.download import download
from mn_jax.data.datasets import registry
from mn_jax.data.files import table
from mn_jax.errors import InputError
from mn_jax.observe import formatting
from mn_jax.observe.console import Console

_MOST_CLASSES = 20  # in the terminal, one a line
_MOST_NAMES = 10  # of files that were left out, and kinds of them
# Fields of `data` that decide how images are packed, arguments here.
_PACKED = ("image_size", "other_sizes", "bits", "crop_share", "short_side")
# Errors name fields of the config, which are arguments here.
_ARGUMENTS = {
  "data.name": "dataset",
  "data.path": "--source",
  "data.cache_dir": "--cache-dir",
  "data.image_size": "--image-size",
  "data.other_sizes": "--other-sizes",
  "data.bits": "--bits",
  "data.crop_share": "--crop-share",
  "data.short_side": "--short-side",
  "data.max_unreadable": "--max-unreadable",
}


def _pack(
  console: Console, args: argparse.Namespace, root: pathlib.Path
) -> dict[str, Any]:
  """Downloads and packs a data set; returns the manifest."""
  options = _options(args)
  known = manifest.read(args.dataset, root) or {}
  source = _choose(args, known)
  packed = None
  # A folder on the command line may have changed: it is listed again.
  listed = args.source and source["kind"] == "path"
  if source == known.get("source") and not listed:
    packed = store.open_prepared(args.dataset, root, options, verify=True)
  if packed is not None:
    console.line(f"{args.dataset} is prepared already; every byte is intact")
    path = pathlib.Path(known["path"])
    source_stamp = known.get("source_stamp", "")
  else:
    path = _get(console, args, root, source, known)
    source_stamp = store.stamp(path)
    with console.counting("packed", "images") as progress:
      packed = store.load(
        args.dataset,
        path=str(path),
        root=root,
        options=options,
        progress=progress,
        verify=True,
      )
  facts = manifest.describe(
    args.dataset,
    packed,
    source=source,
    path=path,
    source_stamp=source_stamp,
    options=options,
  )
  if known and known["fingerprint"] != packed.fingerprint:
    console.line(f"{args.dataset} was another copy before, {known['path']}")
    console.line("One copy has the name; train on others with data.path=PATH")
  manifest.write(args.dataset, root, facts)
  return facts


def _options(args: argparse.Namespace) -> packing.PackOptions:
  return packing.PackOptions(
    args.image_size,
    args.other_sizes,
    args.max_unreadable,
    args.bits,
    args.crop_share,
    args.short_side,
  )


def _choose(args: argparse.Namespace, known: dict[str, Any]) -> dict[str, str]:
  """Returns the source as in the manifest: its kind, and what names it."""
  spec = registry.get(args.dataset)
  sources = spec.sources()
  kind = args.source
  if spec.generate is not None:
    if kind:
      raise InputError(
        f"--source: got {kind!r}, and {args.dataset!r} is generated; valid: no "
        "--source"
      )
    return {"kind": "generated"}
  if not kind:
    previous = known.get("source")
    kind = previous.get("kind") if isinstance(previous, dict) else None
    if kind == "path":
      return {"kind": "path"}
    if kind not in sources:
      kind = "".join(sources[:1])
  if not kind:
    raise InputError(
      f"--source: got nothing, and {args.dataset!r} is not downloaded by this "
      f"program; valid: --source=FOLDER_OR_ARCHIVE ({spec.page})"
    )
  if kind not in sources:
    if not pathlib.Path(kind).expanduser().exists():
      raise InputError(
        f"--source: got {kind!r}, which does not exist; valid: "
        f"{', '.join((*sources, 'the folder or archive of a copy'))}"
      )
    if table.is_table(pathlib.Path(kind)):
      raise InputError(
        f"--source: got the table {kind!r}; valid: a folder or archive, or "
        "training with data.path=TABLE, which needs no preparation"
      )
    return {"kind": "path"}
  if kind == "web":
    return {"kind": kind, "url": spec.web.url, "sha256": spec.web.sha256}
  handle = spec.kaggle if kind == "kaggle" else spec.tfds.name
  return {"kind": kind, "handle": handle}


def _get(
  console: Console,
  args: argparse.Namespace,
  root: pathlib.Path,
  source: dict[str, str],
  known: dict[str, Any],
) -> pathlib.Path:
  """Returns the folder or archive of the images, downloaded if needed."""
  spec = registry.get(args.dataset)
  kind = source["kind"]
  if kind == "path":
    path = pathlib.Path(args.source or known["path"]).expanduser()
    if not path.exists():
      valid = ", ".join((*spec.sources(), "the folder or archive of a copy"))
      raise InputError(
        f"--source: got nothing, and {path}, which {args.dataset!r} was packed "
        f"from, is gone; valid: {valid}"
      )
    return path
  if kind == "generated":
    if not (root / args.dataset).exists():
      console.line(f"Drawing {args.dataset}")
    return store.locate(args.dataset, "", root)
  space.check(
    root, space.needed(args.dataset, kind, _options(args).image_bytes)
  )
  origin = source.get("url", f"{source.get('handle')} with {kind}")
  console.line(f"Downloading {origin}")
  if kind == "kaggle":
    return kaggle.fetch(spec.kaggle, root)
  if kind == "tfds":
    return tfds.fetch(spec.tfds, root, page=spec.page)
  path = root / "web" / urllib.parse.urlsplit(spec.web.url).path.split("/")[-1]
  with console.counting("downloaded", "MB") as update:
    sha256 = f"sha256:{spec.web.sha256}"
    download(spec.web.url, path, known_hash=sha256, progress=update)
  console.line(f"{path} has the expected SHA-256")
  return path


def _show(
  console: Console,
  args: argparse.Namespace,
  root: pathlib.Path,
  facts: dict[str, Any],
) -> None:
  """Prints a summary of the prepared data set, and the command that trains."""
  spec = registry.get(args.dataset)
  console.line(f"{args.dataset}: {spec.title}")
  console.line(f"  {spec.origin}")
  console.line(f"  licence: {spec.licence}")
  form = f"of {args.image_size} pixels"
  if args.short_side:
    form = f"with a short side of at most {args.short_side} pixels"
  count = f"{facts['images']:,} images {form}"
  if spec.group is not None:
    count += f" of {facts['groups']:,} {spec.group}s"
  console.line(f"{count}; fingerprint {facts['fingerprint'][:16]}")
  parts = facts["parts"]
  if set(parts) != {"none"}:
    shown = (f"{part} {count:,}" for part, count in parts.items())
    console.line(f"  published parts: {', '.join(shown)}")
  classes = facts["classes"]
  if len(classes) > _MOST_CLASSES:
    fewest, most = min(classes.values()), max(classes.values())
    console.line(f"  {len(classes)} classes of {fewest:,} to {most:,} images")
  else:
    for name, count in classes.items():
      console.line(f"  {name}: {count:,}")
  for note in facts["notes"]:
    console.line(f"  Note: {note}")
  for line in formatting.left_out(facts["left_out"], _MOST_NAMES):
    console.line(f"  {line}")
  unread = facts["quarantine"]
  for file, reason in unread[:_MOST_NAMES]:
    console.line(f"  unreadable: {file}: {reason}")
  if len(unread) > _MOST_NAMES:
    console.line(f"  and {len(unread) - _MOST_NAMES:,} more; see the manifest")
  console.line(f"Manifest: {root / f'{args.dataset}.json'}")
  variant = "sample" if spec.generate is not None else ""
  configs = _configs(args.dataset, variant)
  words = [command("train")]
  if configs:
    name, config = configs[0]
    words.append(f"--config={name}{variant and f':{variant}'}")
    section = config.data
  else:
    words += ["--config=FILE", f"data.name={args.dataset}"]
    section = config_lib.DataConfig()
    if spec.split != section.split:
      words.append(f"data.split={spec.split}")
  for name in _PACKED:
    value = getattr(args, name)
    if value != getattr(section, name):
      words.append(f"data.{name}={value}")
  if args.cache_dir:
    words.append(f"data.cache_dir={shlex.quote(args.cache_dir)}")
  words.append(f"--workdir=runs/{configs[0][0] if configs else args.dataset}")
  console.line("Train:")
  console.line("  " + " \\\n    ".join(words))
  if len(configs) > 1:
    others = ", ".join(f"--config={name}" for name, _ in configs[1:])
    console.line(f"or with {others}")


def _configs(dataset: str, variant: str) -> list[tuple[str, Any]]:
  """Returns (name, config) of this project's experiments on a data set."""
  configs = []
  for name in files.names("get_config"):
    try:
      config = files.read_config(f"{name}:{variant}")
    except InputError:  # it has no such variant
      continue
    if config.data.name == dataset:
      configs.append((name, config))
  return configs


def _parser() -> Parser:
  parser = Parser(
    command("prepare"),
    description="Download and pack a data set for training.",
    example="eurosat",
  )
  default = config_lib.DataConfig()
  parser.add_argument(
    "dataset",
    metavar="DATASET",
    help=f"one of: {', '.join(registry.DATASETS)}",
  )
  parser.option(
    "--source",
    "SOURCE",
    "web, kaggle or tfds, where the data set has such a source; or the "
    "path of a copy: a folder, a zip or tar archive, a folder that TFDS "
    "prepared (default: as before, or the data set's first source)",
    default="",
  )
  parser.option(
    "--cache-dir",
    "DIR",
    "folder of downloads and packed images (default: $MN_JAX_CACHE or "
    "~/.cache/mn_jax; for training, data.cache_dir=DIR)",
    default="",
  )
  parser.option(
    "--image-size",
    "PIXELS",
    "height and width (default: those of the data set's images)",
    type=int,
  )
  parser.option(
    "--other-sizes",
    "HOW",
    "images of another size: resize squeezes them to the square, crop "
    "takes the middle, drop leaves them out (default: as is usual for the data "
    "set)",
  )
  parser.option(
    "--max-unreadable",
    "SHARE",
    "largest share of unreadable files that is tolerated",
    type=float,
    default=default.max_unreadable,
  )
  parser.option(
    "--bits",
    "COUNT",
    "bits that the values of 16-bit grey images use",
    type=int,
    default=default.bits,
  )
  parser.option(
    "--crop-share",
    "SHARE",
    "with --other-sizes=crop: share of the short side that is cropped",
    type=float,
    default=default.crop_share,
  )
  parser.option(
    "--short-side",
    "PIXELS",
    "with --other-sizes=crop: pack whole images of this short side, so that "
    "training crops from all of them; 0: the middle square",
    type=int,
    default=default.short_side,
  )
  return parser


def _prepare(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  console = Console()
  root = store.cache_root(args.cache_dir)
  try:
    spec = registry.get(args.dataset)
    if args.image_size is None:
      args.image_size = spec.image_size
    if args.other_sizes is None:
      args.other_sizes = spec.other_sizes
    checks.check_fields(
      "data",
      config_lib.DataConfig,
      name=args.dataset,
      image_size=args.image_size,
      other_sizes=args.other_sizes,
      bits=args.bits,
      crop_share=args.crop_share,
      short_side=args.short_side,
      max_unreadable=args.max_unreadable,
    )
    facts = _pack(console, args, root)
  except InputError as error:
    field, colon, rest = str(error).partition(":")
    raise InputError(f"{_ARGUMENTS.get(field, field)}{colon}{rest}") from None
  except OSError as error:
    raise InputError(
      f"--cache-dir: got {str(root)!r}, which cannot be written "
      f"({error.strerror}); valid: a folder you may create or write"
    ) from None
  _show(console, args, root, facts)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  return program.run("prepare", _prepare, argv, hint=program.RESUMES)


if __name__ == "__main__":
  sys.exit(main())
