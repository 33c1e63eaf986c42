"""Finds and opens data sets in the folder of downloads and packed images.

`prepare` writes `NAME.json` in that folder: what was packed, from where, with
counts and hashes. Training opens the packed images that it names; their source
is needed again only for another image size.
"""

import contextlib
import os
import pathlib
from collections.abc import Callable, Iterator
from functools import partial

from mn_jax.config import paths
from mn_jax.data import cache, manifest, packing
from mn_jax.data.datasets import image_table, registry, tfds_files
from mn_jax.data.datasets import source as source_lib
from mn_jax.data.datasets.columns import Columns
from mn_jax.data.files import archive
from mn_jax.data.files import table as table_lib
from mn_jax.data.files.archive import Files
from mn_jax.errors import InputError, RunError

_PACKED = "packed"
_NONE = Columns()


def cache_root(cache_dir: str) -> pathlib.Path:
  """Returns the folder of downloads, packed images and compiled programs.

  Raises:
    InputError: if it is no path of this machine's file system.
  """
  chosen = cache_dir or os.environ.get("MN_JAX_CACHE") or "~/.cache/mn_jax"
  return paths.local(chosen, "data.cache_dir or MN_JAX_CACHE")


def locate(name: str, path: str, root: pathlib.Path) -> pathlib.Path:
  """Returns the folder or archive of a data set; draws the sample sets.

  Args:
    name: of the data set.
    path: the user's choice, or ''.
    root: the folder of downloads and packed images.

  Raises:
    InputError: if it is not there; the message says how to get it.
  """
  spec = registry.get(name)
  if path:
    chosen = pathlib.Path(path).expanduser()
    if not chosen.exists():
      raise InputError(
        f"data.path: got {path!r}, which does not exist; valid: the folder or "
        f"archive of {name!r}{', or a table' * spec.tables}"
      )
    return chosen
  if spec.generate is not None:
    generated = root / name
    try:
      spec.generate(generated)
    except OSError as error:
      raise InputError(
        f"data.cache_dir: {name!r} cannot be written to {generated} ({error}); "
        "valid: a folder with the right to write"
      ) from None
    return generated
  prepared = manifest.read(name, root)
  if prepared is None:
    how = f"`python -m mn_jax.tools.prepare {name}"
    if spec.sources():
      how += "` (downloads it), or data.path=FOLDER_OR_ARCHIVE (your copy)"
    else:
      how += (
        " --source=FOLDER_OR_ARCHIVE`, or data.path=FOLDER_OR_ARCHIVE (both "
        f"with a copy from {spec.page})"
      )
    raise InputError(
      f"data.path: got '' and {name!r} is not prepared in {root}; valid: after "
      f"{how}, or --config=NAME:sample (the embedded sample)"
    )
  source = pathlib.Path(prepared["path"])
  if not source.exists():
    raise InputError(
      f"data.image_size: {name!r} is not packed in this size, or its packed "
      f"images are damaged, and {source}, which it was packed from, is gone; "
      "valid: the size that was prepared, "
      f"or after `python -m mn_jax.tools.prepare {name} --image-size=PIXELS "
      f"--source={'|'.join((*spec.sources(), 'PATH'))}`"
    )
  return source


@contextlib.contextmanager
def open_source(
  name: str,
  path: str,
  root: pathlib.Path,
  *,
  columns: Columns = _NONE,
  classes: tuple[str, ...] = (),
) -> Iterator[source_lib.Source]:
  """Opens the images of a data set before they are packed.

  Args:
    name: of the data set.
    path: folder, archive or table, or '' for what was prepared or is drawn.
    root: the folder of downloads and packed images.
    columns: of a table.
    classes: names in the order of the labels, of which some may have no image;
      empty: as the data set has them.

  Raises:
    InputError: if it is missing or refused, or has an image of another class.
  """
  spec = registry.get(name)
  if classes and spec.classes and classes != spec.classes:
    raise InputError(
      f"data.name: got {name!r} for the classes {', '.join(classes[:9])}; "
      f"valid: image_folder, as {name!r} has classes of its own"
    )
  place = locate(name, path, root)
  try:
    files, list_and_open = _open_files(name, place, columns, classes)
  except OSError as error:
    raise _unreadable(place, error) from None
  with contextlib.closing(files):
    try:
      source = list_and_open(files)
    except OSError as error:
      raise _unreadable(place, error) from None
    yield source


def _open_files(
  name: str, place: pathlib.Path, columns: Columns, classes: tuple[str, ...]
) -> tuple[Files, Callable[[Files], source_lib.Source]]:
  """Opens a folder, an archive, or what the paths in a table are relative to.

  Returns:
    The files, and what lists and opens the images among them.
  """
  spec = registry.get(name)
  if table_lib.is_table(place):
    if not spec.tables:
      raise InputError(
        f"data.name: got {name!r}, and data.path is a table, {str(place)!r}; "
        "valid: image_folder"
      )
    table = table_lib.read(place)
    root = columns.root_of(place)
    return archive.open_files(root), partial(
      image_table.open_source,
      table=table,
      columns=columns,
      root=root,
      classes=classes,
    )
  columns.check_unused()
  if spec.tfds is not None and tfds_files.is_prepared(place):
    files = tfds_files.open_files(place, spec.tfds)
  else:
    files = archive.open_files(place)
  if spec.classes:
    return files, spec.open
  return files, partial(spec.open, classes=classes)


def load(
  name: str,
  *,
  path: str,
  root: pathlib.Path,
  options: packing.PackOptions,
  columns: Columns = _NONE,
  classes: tuple[str, ...] = (),
  progress: packing.Progress | None = None,
  verify: bool = False,
) -> cache.PackedCache:
  """Opens the packed images of a data set, decoded on the first call.

  What was prepared is listed again if its folder or archive changed since.

  Args:
    name: of the data set.
    path: folder, archive or table, or '' for what was prepared or is drawn.
    root: the folder of downloads and packed images.
    options: how its images are packed.
    columns: of a table.
    classes: names in the order of the labels, of which some may have no image;
      empty: as the data set has them.
    progress: called while images are decoded.
    verify: whether every byte of packed images is compared with its checksum.

  Raises:
    InputError: if it is missing, refused or too much of it is unreadable.
    RunError: if the system fails to read or write.
  """
  packed = None
  if not path:
    columns.check_unused()
    packed = open_prepared(name, root, options, verify=verify)
  if packed is not None and classes in ((), packed.classes):
    return packed
  with open_source(
    name, path, root, columns=columns, classes=classes
  ) as source:
    return cache.open_or_build(
      source, root / _PACKED, name, options, progress, verify=verify
    )


def open_prepared(
  name: str,
  root: pathlib.Path,
  options: packing.PackOptions,
  *,
  verify: bool = False,
) -> cache.PackedCache | None:
  """Opens the packed images that the manifest of a data set names.

  Args:
    name: of the data set.
    root: the folder of downloads and packed images.
    options: how its images are packed.
    verify: whether every byte is compared with its checksum.

  Returns:
    None if it is not prepared, not packed like this, damaged, or its source is
    there and has changed since.

  Raises:
    InputError, RunError: if it is there and cannot be read.
  """
  prepared = manifest.read(name, root)
  if prepared is None:
    return None
  source = pathlib.Path(prepared["path"])
  if source.exists() and stamp(source) != prepared.get("source_stamp"):
    return None
  return cache.open_built(
    prepared["fingerprint"], root / _PACKED, name, options, verify=verify
  )


def stamp(path: pathlib.Path) -> str:
  """Returns `archive.stamp` of a folder or archive.

  Raises:
    InputError: if it cannot be listed.
    RunError: if the system fails to read it.
  """
  try:
    return archive.stamp(path)
  except OSError as error:
    raise _unreadable(path, error) from None


def _unreadable(path: pathlib.Path, error: OSError) -> RunError:
  return RunError(
    f"data.path: {path} cannot be read ({error.strerror or error}); start "
    "again when it can"
  )
