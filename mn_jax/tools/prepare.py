"""Gets a data set onto the disk: `python -m mn_jax.tools.prepare cifar100`.

It downloads the data set, or takes a copy with `--source=PATH`, and decodes its
images once into one file. Training needs nothing else then: no network, no
TensorFlow, not even the source. Whatever stops it, the same command again
finishes it.
"""

import argparse
import pathlib
import runpy
import shlex
import sys
from collections.abc import Sequence
from typing import Any

import mn_jax.data.acquire.manifest as manifest_lib
from mn_jax import config as config_lib
from mn_jax.config import checks
from mn_jax.data import packing, store
from mn_jax.data.acquire import kaggle, space, tfds, web
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.observe.console import Console

_MOST_CLASSES = 20  # in the terminal, one a line
_MOST_NAMES = 10  # of files that were left out
# What errors call by the config's field is an argument here.
_ARGUMENTS = {
  "data.name": "dataset",
  "data.path": "--source",
  "data.cache_dir": "--data_dir",
  "data.image_size": "--image_size",
  "data.other_sizes": "--other_sizes",
  "data.max_unreadable": "--max_unreadable",
}


def prepare(
  console: Console, args: argparse.Namespace, root: pathlib.Path
) -> dict[str, Any]:
  """Makes a data set what training opens by its name.

  Args:
    console: where to.
    args: the program's arguments, checked, image_size among them.
    root: see `store.cache_root`.

  Returns:
    The manifest.

  Raises:
    InputError: if it cannot be had.
  """
  options = packing.PackOptions(
    args.image_size, args.other_sizes, args.max_unreadable
  )
  known = store.read_manifest(args.dataset, root) or {}
  source = _choose(args, known)
  same = source == known.get("source")
  packed = None
  # A folder that is named may have changed: it is listed again.
  if same and not (args.source and source["kind"] == "path"):
    packed = store.open_prepared(args.dataset, root, options)
  if packed is not None:
    console.line(f"{args.dataset} is prepared already; every byte is intact")
    path = pathlib.Path(known["path"])
  else:
    path = _get(console, args, root, source, known)
    with console.counting("packed", "images") as progress:
      packed = store.load(
        args.dataset,
        path=str(path),
        root=root,
        options=options,
        progress=progress,
      )
  manifest = manifest_lib.describe(
    args.dataset,
    packed,
    source=source,
    path=path,
    options=options,
  )
  if known and known["fingerprint"] != packed.fingerprint:
    console.line(f"{args.dataset} was another copy before, {known['path']}")
    console.line(
      "One copy has the name; others are given with --config.data.path=PATH"
    )
  store.write_manifest(args.dataset, root, manifest)
  return manifest


def _choose(args: argparse.Namespace, known: dict[str, Any]) -> dict[str, str]:
  """What the manifest calls the source: its kind, and what names it.

  Raises:
    InputError: if there is no such source.
  """
  spec = registry.get(args.dataset)
  ways = spec.sources()
  kind = args.source
  if kind and spec.generate is not None:
    raise InputError(
      f"--source: got {kind!r}, and {args.dataset!r} is generated; valid: no "
      "--source"
    )
  if not kind:
    if spec.generate is not None:
      return {"kind": "generated"}
    before = known.get("source")
    before = before.get("kind") if isinstance(before, dict) else None
    if before == "path":
      return {"kind": before}
    kind = before if before in ways else "".join(ways[:1])
    if not kind:
      raise InputError(
        f"--source: got nothing, and {args.dataset!r} is not downloaded by "
        f"this program; valid: --source=FOLDER_OR_ARCHIVE ({spec.page})"
      )
  if kind not in ways:
    if not pathlib.Path(kind).expanduser().exists():
      raise InputError(
        f"--source: got {kind!r}, which does not exist; valid: "
        f"{', '.join((*ways, 'the folder or archive of a copy'))}"
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
  """The folder or archive with the images, downloaded if that is the way.

  Raises:
    InputError: if it cannot be had.
  """
  spec = registry.get(args.dataset)
  kind = source["kind"]
  if kind == "path":
    path = pathlib.Path(args.source or known["path"]).expanduser()
    if not path.exists():
      ways = ", ".join((*spec.sources(), "the folder or archive of a copy"))
      raise InputError(
        f"--source: got nothing, and {path}, which {args.dataset!r} was packed "
        f"from, is gone; valid: {ways}"
      )
    return path
  if kind == "generated":
    if not (root / args.dataset).exists():
      console.line(f"Drawing {args.dataset}")
    return store.locate(args.dataset, "", root)
  space.check(root, space.needed(args.dataset, kind, args.image_size))
  origin = source.get("url", f"{source.get('handle')} with {kind}")
  console.line(f"Getting {origin}")
  if kind == "kaggle":
    return kaggle.fetch(spec.kaggle, root)
  if kind == "tfds":
    return tfds.fetch(spec.tfds, root, page=spec.page)
  with console.counting("downloaded", "MB") as update:
    path = web.fetch(
      spec.web,
      root,
      lambda done, total: update(_megabytes(done), _megabytes(total or done)),
    )
  console.line(f"{path} has the SHA-256 that it should")
  return path


def _megabytes(size: int) -> int:
  return -(-size // 1_000_000)


def _show(
  console: Console, args: argparse.Namespace, manifest: dict[str, Any]
) -> None:
  """Prints what there is now."""
  spec = registry.get(args.dataset)
  console.line(f"{args.dataset}: {spec.title}")
  console.line(f"  {spec.origin}")
  console.line(f"  licence: {spec.licence}")
  count = f"{manifest['images']:,} images of {args.image_size} pixels"
  if spec.group is not None:
    count += f" of {manifest['groups']:,} {spec.group}s"
  console.line(f"{count}; fingerprint {manifest['fingerprint'][:16]}")
  parts = manifest["parts"]
  if set(parts) != {"none"}:
    shown = (f"{part} {count:,}" for part, count in parts.items())
    console.line(f"  published parts: {', '.join(shown)}")
  classes = manifest["classes"]
  if len(classes) > _MOST_CLASSES:
    fewest, most = min(classes.values()), max(classes.values())
    console.line(f"  {len(classes)} classes of {fewest:,} to {most:,} images")
  else:
    for name, count in classes.items():
      console.line(f"  {name}: {count:,}")
  if manifest["dropped"]:
    console.line(f"  left out for their size: {manifest['dropped']:,}")
  unread = manifest["quarantine"]
  for name, reason in unread[:_MOST_NAMES]:
    console.line(f"  unreadable: {name}: {reason}")
  if len(unread) > _MOST_NAMES:
    console.line(f"  and {len(unread) - _MOST_NAMES:,} more; see the manifest")


def _show_next(
  console: Console, args: argparse.Namespace, root: pathlib.Path
) -> None:
  """Prints where the manifest is, and the command that trains."""
  console.line(f"Manifest: {root / f'{args.dataset}.json'}")
  spec = registry.get(args.dataset)
  variant = "sample" if spec.generate is not None else ""
  configs = _configs(args.dataset, variant)
  words = ["python -m mn_jax.main"]
  if configs:
    path, config = configs[0]
    words.append(f"--config={path}{variant and f':{variant}'}")
    size, other = config.data.image_size, config.data.other_sizes
  else:
    words += ["--config=FILE", f"--config.data.name={args.dataset}"]
    defaults = config_lib.DataConfig()
    if spec.split != defaults.split:
      words.append(f"--config.data.split={spec.split}")
    size, other = defaults.image_size, defaults.other_sizes
  if size != args.image_size:
    words.append(f"--config.data.image_size={args.image_size}")
  if other != args.other_sizes:
    words.append(f"--config.data.other_sizes={args.other_sizes}")
  if args.data_dir:
    words.append(f"--config.data.cache_dir={shlex.quote(args.data_dir)}")
  stem = pathlib.Path(configs[0][0]).stem if configs else args.dataset
  words.append(f"--workdir=runs/{stem}")
  console.line("Train:")
  console.line("  " + " \\\n    ".join(words))
  if len(configs) > 1:
    others = ", ".join(str(path) for path, _ in configs[1:])
    console.line(f"or with {others}")


def _configs(name: str, variant: str) -> list[tuple[pathlib.Path, Any]]:
  """The experiments on a data set: (file, config), as far as they are here."""
  found = []
  for path in sorted(pathlib.Path("configs").glob("*.py")):
    try:
      config = runpy.run_path(str(path))["get_config"](variant)
      if config.data.name == name:
        found.append((path, config))
    except Exception:  # anybody's file; training tells what is wrong with it
      continue
  return found


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
  parser = argparse.ArgumentParser(
    prog="python -m mn_jax.tools.prepare",
    description="Download and pack a data set for training.",
  )
  defaults = config_lib.DataConfig()
  parser.add_argument("dataset", help=f"one of: {', '.join(registry.DATASETS)}")
  parser.add_argument(
    "--source",
    default="",
    help="web, kaggle or tfds, where there are such; or the path of a copy: a "
    "folder, a zip or tar archive, a folder that TFDS prepared (default: as "
    "before, or the first of these)",
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
  parser.add_argument(
    "--other_sizes",
    default=None,
    help="images of another size: resize squeezes them to the square, crop "
    "takes the middle, drop leaves them out (default: as is usual for the data "
    "set)",
  )
  parser.add_argument(
    "--max_unreadable",
    type=float,
    default=defaults.max_unreadable,
    help="share of unreadable files above which nothing is packed (default: "
    f"{defaults.max_unreadable:g})",
  )
  return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  args = _arguments(argv)
  console = Console()
  root = store.cache_root(args.data_dir)
  try:
    spec = registry.get(args.dataset)
    if args.image_size is None:
      args.image_size = spec.image_size
    if args.other_sizes is None:
      args.other_sizes = spec.other_sizes
    checks.check_fields(
      "data",
      config_lib.DataConfig(),
      name=args.dataset,
      image_size=args.image_size,
      other_sizes=args.other_sizes,
      max_unreadable=args.max_unreadable,
    )
    manifest = prepare(console, args, root)
  except InputError as error:
    field, colon, rest = str(error).partition(":")
    print(
      f"prepare: {_ARGUMENTS.get(field, field)}{colon}{rest}", file=sys.stderr
    )
    return 2
  except OSError as error:
    print(
      f"prepare: --data_dir: got {str(root)!r}, which cannot be written "
      f"({error.strerror}); valid: a folder you may create or write",
      file=sys.stderr,
    )
    return 2
  except KeyboardInterrupt:
    print(
      "prepare: stopped; the same command resumes packing where it was",
      file=sys.stderr,
    )
    return 130
  _show(console, args, manifest)
  _show_next(console, args, root)
  return 0


if __name__ == "__main__":
  sys.exit(main())
