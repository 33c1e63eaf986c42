"""Arguments of the programs that train several runs: studies and sweeps."""

import pathlib
from collections.abc import Sequence

from mn_jax.commandline.parser import Parser, command, file_path, number
from mn_jax.errors import InputError


def parser(name: str, *, description: str, example: str, seeds: int) -> Parser:
  """Returns a parser with the arguments that all of these programs have.

  Args:
    name: of the program.
    description: what it does.
    example: arguments of an example.
    seeds: default of `--seeds`.
  """
  arguments = Parser(command(name), description=description, example=example)
  arguments.option(
    "--workdir",
    "DIR",
    "folder of all runs (default: runs/NAME)",
    type=file_path,
  )
  arguments.option(
    "--seeds",
    "COUNT",
    "seeds per row, from 0",
    type=number(int, 1),
    default=seeds,
  )
  arguments.flag("--collect", "run nothing, only gather results")
  return arguments


def add_selection(parser: Parser, kind: str, folder: str) -> None:
  """Adds the name of a study or sweep, `--sample` and `--index`.

  Args:
    parser: of the program.
    kind: 'study' or 'sweep', the name of the argument.
    folder: of `configs`, in which names are looked up.
  """
  parser.add_argument(
    kind,
    metavar="NAME",
    help=f"{kind}: a name in configs/{folder}, or the path of a file",
  )
  parser.flag(
    "--sample", "run in seconds on the embedded sample; numbers mean nothing"
  )
  parser.option(
    "--index", "K", "run only the K-th, from 0, for an array of jobs", type=int
  )


def folder(
  workdir: pathlib.Path | None, name: str, *, sample: bool = False
) -> pathlib.Path:
  """Returns the folder of all runs.

  Args:
    workdir: as `--workdir`; None for the default.
    name: of a file, or its path.
    sample: whether the runs are those of `--sample`.
  """
  stem = pathlib.Path(name).stem + ("_sample" if sample else "")
  return workdir or pathlib.Path("runs") / stem


def select[Job](jobs: Sequence[Job], index: int | None) -> Sequence[Job]:
  """Returns the job of `--index` alone, or all of them without it.

  Raises:
    InputError: if there is no job of that index.
  """
  if index is None:
    return jobs
  if not 0 <= index < len(jobs):
    raise InputError(f"--index: got {index}; valid: 0 to {len(jobs) - 1}")
  return [jobs[index]]
