"""Arguments of the programs that open a finished or stopped run."""

import argparse
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from mn_jax.commandline.parser import Parser, command, file_path, number
from mn_jax.config import overrides
from mn_jax.config.changes import PLACES
from mn_jax.data import atomic
from mn_jax.data.datasets.listing import PARTS
from mn_jax.deploy import folded
from mn_jax.errors import InputError
from mn_jax.parallel import allocator, compile_cache
from mn_jax.run import reopen

count = number(int, 1)
seed = number(int, 0, 2**31 - 1)


def parser(
  name: str, *, description: str, example: str, several: bool = False
) -> Parser:
  """Returns a parser with the arguments that name a run and its data.

  Args:
    name: of the program.
    description: what it does.
    example: arguments of an example.
    several: whether it takes several runs, for `open_runs`.
  """
  arguments = Parser(command(name), description=description, example=example)
  text = "folder of a finished or stopped run"
  if several:
    arguments.add_argument(
      "--workdir",
      metavar="DIR",
      type=file_path,
      action="extend",
      nargs="+",
      required=True,
      help=f"{text}, or several, or a folder of them such as that of a "
      "cross-validation: an ensemble",
    )
  else:
    arguments.add_argument(
      "--workdir", metavar="DIR", type=file_path, required=True, help=text
    )
  arguments.option(
    "--step", "STEP", "step of the checkpoint (default: the best one)", type=int
  )
  arguments.option(
    "--batch-size",
    "SIZE",
    "images per batch (default: as the run evaluated)",
    type=count,
  )
  return arguments


def add_part(parser: Parser, default: str, *, whole: bool = False) -> None:
  """Adds `--part`, a part of the run's split.

  Args:
    parser: of the program.
    default: which part without it.
    whole: whether 'all' of them may be taken.
  """
  parser.add_argument(
    "--part",
    choices=(*PARTS, "all") if whole else PARTS,
    default=default,
    help=f"part of the run's split (default: {default})",
  )


def add_precision(parser: Parser, default: str) -> None:
  """Adds `--precision`; `default` describes what happens without it."""
  parser.add_argument(
    "--precision",
    metavar="NAME",
    choices=folded.PRECISIONS,
    help="compute in float32 or bfloat16; int8 and int8_bfloat16 do so with "
    f"weights stored as 8-bit integers (default: {default})",
  )


def add_places(parser: Parser) -> None:
  """Adds the overrides of where a run's data are; to be called last."""
  parser.add_overrides(
    "data.path=PATH, data.root=PATH and data.cache_dir=DIR, if the images, "
    "those of a table or the packed cache are no longer where the run had them"
  )


def places(changes: Sequence[str]) -> dict[str, str]:
  """Returns the arguments of `reopen.open_run` that overrides give.

  Raises:
    InputError: for an override of another field.
  """
  values = dict(map(overrides.parse, changes))
  for path in values:
    if path not in PLACES:
      raise InputError(f"{path}: got it; valid: {' and '.join(PLACES)}")
  return place_arguments(values)


def place_arguments(values: Mapping[str, Any]) -> dict[str, str]:
  """Returns the arguments of `reopen.open_run` among overridden fields.

  Args:
    values: 'section.field' -> value.
  """
  return {
    argument: values[path]
    for argument, path in zip(
      ("data_path", "data_root", "cache_dir"), PLACES, strict=True
    )
    if path in values
  }


def open_run(args: argparse.Namespace) -> reopen.SavedRun:
  """Opens the run that arguments name.

  Raises:
    InputError: if there is no such run or checkpoint.
  """
  allocator.keep_freed_memory()
  run = reopen.open_run(
    args.workdir,
    step=args.step,
    batch_size=args.batch_size,
    **places(args.overrides),
  )
  compile_cache.keep(run.config.data.cache_dir)
  return run


def open_runs(
  args: argparse.Namespace, changes: Sequence[str]
) -> list[reopen.SavedRun]:
  """Opens all runs that arguments name, for a parser of several.

  Args:
    args: of the program.
    changes: overrides of places, see `places`.

  Raises:
    InputError: if one is no run, or has no such checkpoint.
  """
  allocator.keep_freed_memory()
  runs = [
    reopen.open_run(
      path, step=args.step, batch_size=args.batch_size, **places(changes)
    )
    for folder in args.workdir
    for path in run_folders(folder)
  ]
  compile_cache.keep(runs[0].config.data.cache_dir)
  return runs


def run_folders(path: pathlib.Path) -> list[pathlib.Path]:
  """Returns the folder of a run, or those of the runs inside a folder.

  Those of a study or a cross-validation lie two levels below, seeds one.
  """
  if (path / "config.json").is_file():
    return [path]
  found = {
    file.parent
    for depth in ("*", "*/*")
    for file in path.glob(f"{depth}/config.json")
  }
  return sorted(found) or [path]


def output_folder(path: pathlib.Path) -> pathlib.Path:
  """Returns a folder that can be written, created where it is missing.

  Raises:
    InputError: if it cannot be written.
  """
  try:
    path.mkdir(parents=True, exist_ok=True)
    writable = os.access(path, os.W_OK)
  except OSError:
    writable = False
  if not writable:
    raise InputError(
      f"--output: got {str(path)!r}, which cannot be written; valid: a folder "
      "you may create or write"
    )
  return path


def output_picture(
  output: pathlib.Path | None, default: pathlib.Path
) -> pathlib.Path:
  """Returns the path of a picture, once it is known that it can be written.

  Args:
    output: as `--output`, or None.
    default: the path then.

  Raises:
    InputError: if that is no .png, or its folder cannot be written.
  """
  path = output or default
  if path.suffix.lower() != ".png" or path.is_dir():
    raise InputError(f"--output: got {str(path)!r}; valid: a file called *.png")
  output_folder(path.parent)
  return path


def save_picture(picture: np.ndarray, path: pathlib.Path) -> None:
  """Writes u8[h, w, 3] to a file.

  Raises:
    InputError: if it cannot be written.
  """
  try:
    with atomic.writing(path) as file:
      Image.fromarray(picture).save(file, "PNG")
  except OSError as error:
    raise InputError(
      f"--output: got {str(path)!r} ({error}); valid: a file that you may write"
    ) from None
