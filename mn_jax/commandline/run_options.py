"""What the programs that open a run share: arguments, errors, exit codes."""

import argparse
import os
import pathlib
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import NoReturn

import numpy as np
from PIL import Image

from mn_jax.data.datasets.listing import PARTS
from mn_jax.deploy import predictor
from mn_jax.errors import InputError
from mn_jax.parallel import allocator, compile_cache
from mn_jax.run import reopen


class Parser(argparse.ArgumentParser):
  """Whose errors are one line, as those of the other arguments."""

  def error(self, message: str) -> NoReturn:
    """Raises what is wrong.

    Raises:
      InputError: always.
    """
    raise InputError(message)


def parser(name: str, description: str) -> Parser:
  """A parser that knows what names a run and its data.

  Args:
    name: of the program in `mn_jax.tools`.
    description: what it does.
  """
  made = Parser(prog=f"python -m mn_jax.tools.{name}", description=description)
  made.add_argument(
    "--workdir",
    metavar="DIR",
    required=True,
    help="of a finished or stopped run",
  )
  made.add_argument(
    "--step",
    metavar="STEP",
    type=int,
    help="of the checkpoint (default: the best)",
  )
  add_places(made)
  made.add_argument(
    "--batch",
    metavar="SIZE",
    type=int,
    help="images at once (default: as the run evaluated)",
  )
  return made


def add_places(parser: Parser) -> None:
  """Adds `--data.path` and `--data.cache_dir`."""
  parser.add_argument(
    "--data.path",
    dest="data_path",
    metavar="PATH",
    help="folder or archive of the images, where it is not that of the run",
  )
  parser.add_argument(
    "--data.cache_dir",
    dest="cache_dir",
    metavar="DIR",
    help="of packed images, where it is not that of the run",
  )


def add_part(parser: Parser, default: str) -> None:
  """Adds `--part`."""
  parser.add_argument(
    "--part",
    choices=PARTS,
    default=default,
    help=f"of the run's split (default: {default})",
  )


def add_precision(parser: Parser, default: str) -> None:
  """Adds `--precision`; `default` says in words what it is without."""
  parser.add_argument(
    "--precision",
    metavar="NAME",
    choices=predictor.PRECISIONS,
    help="compute in float32 or bfloat16; int8 and int8_bfloat16 do so with "
    f"weights that are kept as 8-bit integers (default: {default})",
  )


def open_run(args: argparse.Namespace) -> reopen.SavedRun:
  """The run that the arguments name.

  Raises:
    InputError: see `restored.open_run`.
  """
  if args.batch is not None:
    at_least_one("batch", args.batch)
  run = reopen.open_run(
    pathlib.Path(args.workdir).expanduser(),
    step=args.step,
    data_path=args.data_path,
    cache_dir=args.cache_dir,
    batch_size=args.batch,
  )
  compile_cache.keep(run.config.data.cache_dir)
  return run


def at_least_one(name: str, value: int) -> None:
  """Checks the value of `--name`.

  Raises:
    InputError: if it is below 1.
  """
  if value < 1:
    raise InputError(f"--{name}: got {value}; valid: 1 or more")


def output_folder(path: pathlib.Path) -> pathlib.Path:
  """A folder that can be written, created where it is missing.

  Raises:
    InputError: if it cannot be.
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


def output_picture(given: str | None, default: pathlib.Path) -> pathlib.Path:
  """Where a picture goes, once it is known that it can.

  Args:
    given: as `--output`, or None.
    default: where it goes then.

  Raises:
    InputError: if that is no .png, or its folder cannot be written.
  """
  path = pathlib.Path(given or default).expanduser()
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
    Image.fromarray(picture).save(path)
  except OSError as error:
    raise InputError(
      f"--output: got {str(path)!r} ({error}); valid: a file that you may write"
    ) from None


def run_program(
  name: str,
  program: Callable[[Sequence[str] | None], None],
  argv: Sequence[str] | None,
) -> int:
  """Runs a program; returns its exit code: 0, or 2 for a mistake of its user.

  Args:
    name: of the program.
    program: raises an InputError for what the user can mend.
    argv: its arguments; None for those of the process.
  """
  # Pillow warns of odd metadata in images that it reads all the same.
  warnings.filterwarnings("ignore", module="PIL")
  allocator.keep_freed_memory()
  try:
    program(argv)
  except InputError as error:
    print(f"{name}: {error}", file=sys.stderr)
    return 2
  except KeyboardInterrupt:
    print(f"{name}: stopped", file=sys.stderr)
    return 130
  return 0
