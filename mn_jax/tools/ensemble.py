"""Averages runs: `python -m mn_jax.tools.ensemble --workdir A B --output=DIR`.

The mean probabilities of several finished runs on one split, each by several
views of an image if `--tta` says so, on the validation and test part. They are
written as a folder like a run's, for reports, studies and comparisons; nothing
is trained. Exit codes: 0, or 2 for a wrong argument.
"""

import functools
import sys
from collections.abc import Sequence

from mn_jax.augment import views
from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command, file_path
from mn_jax.errors import InputError
from mn_jax.evaluation import run_ensemble
from mn_jax.observe import formatting
from mn_jax.observe.console import Console
from mn_jax.parallel import allocator, compile_cache


def _parser() -> Parser:
  parser = Parser(
    command("ensemble"),
    description="Average the probabilities of finished runs on one split, and "
    "write them as a folder that reads like a run's.",
    example="--workdir runs/v1 runs/v3 --output=runs/both --tta=dihedral",
  )
  parser.add_argument(
    "--workdir",
    metavar="DIR",
    type=file_path,
    action="extend",
    nargs="+",
    required=True,
    help="folder of a finished run, or several; without --tta of ensembles too",
  )
  parser.add_argument(
    "--output",
    metavar="DIR",
    type=file_path,
    required=True,
    help="folder of the ensemble",
  )
  parser.option(
    "--tta",
    "KIND",
    "average several views of an image too: "
    f"{', '.join(views.KINDS)} (default: the plain image)",
    default="",
  )
  return parser


def _ensemble(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  if (args.output / "checkpoints").exists():
    raise InputError(
      f"--output: got {str(args.output)!r}, which is a trained run; valid: "
      "another folder"
    )
  if args.tta:
    allocator.keep_freed_memory()
    compile_cache.keep()
  console = Console()
  with console.counting("decoding", "images") as progress:
    summary = run_ensemble.write(
      args.output, args.workdir, views=args.tta, progress=progress
    )
  rows = [
    (
      formatting.metric_name(name.removeprefix("test/")),
      *(
        formatting.number(summary[f"{part}/{name}"]) for part in ("val", "test")
      ),
    )
    for name in (
      key.removeprefix("test/") for key in summary if key.startswith("test/")
    )
    if name != "count"
  ]
  title = formatting.count(len(args.workdir), "run")
  if args.tta:
    title += f", {formatting.count(len(views.KINDS[args.tta]), 'view')} each"
  console.table(title, ("metric", "val", "test"), rows)
  console.line(f"Ensemble: {args.output}")


main = functools.partial(program.run, "ensemble", _ensemble)

if __name__ == "__main__":
  sys.exit(main())
