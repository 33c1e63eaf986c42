"""Metrics of a run: `python -m mn_jax.tools.evaluate --workdir=DIR`.

Any checkpoint on any part of the run's split, by the evaluation step of
training. Nothing is written but the file of `--output`. Exit codes: 0, or 2
for a mistake in what was given.
"""

import json
import math
import pathlib
import sys
from collections.abc import Sequence

from mn_jax import run_options
from mn_jax.metrics import classification
from mn_jax.observe import console as console_lib
from mn_jax.observe import writers


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the program; returns the exit code."""
  return run_options.run_program("evaluate", _evaluate, argv)


def _evaluate(argv: Sequence[str] | None) -> None:
  parser = run_options.parser(
    "evaluate",
    "Metrics of a checkpoint of a run on a part of its split: those of "
    "summary.json for its best checkpoint on val and test.",
  )
  run_options.add_part(parser, default="val")
  parser.add_argument("--json", action="store_true", help="print JSON")
  parser.add_argument(
    "--output",
    metavar="FILE.npz",
    help="write predictions, as in a run's folder `predictions`: ids (rows of "
    "the packed images), names, groups, labels, logits, losses, classes",
  )
  args = parser.parse_args(argv)
  output = None
  if args.output is not None:
    output = pathlib.Path(args.output).expanduser()
    run_options.output_folder(output.parent)
  run = run_options.open_run(args)
  console = console_lib.Console(quiet=args.json)
  with console.counting("decoding", "images") as progress:
    data = run.data(progress)
  predictions = run.predict(data, data.part(args.part))
  scalars = classification.summarize(predictions, positive=data.spec.positive)
  if output is not None:
    data.answers(predictions).write(output)
  if args.json:
    print(
      json.dumps(
        {
          "workdir": str(run.path),
          "experiment": run.config.experiment,
          "step": run.step,
          "part": args.part,
          **{f"{k}_sha256": digest for k, digest in run.digests.items()},
          **writers.jsonable(scalars),
        },
        indent=2,
      )
    )
    return
  console.table(
    f"{run.config.experiment}, step {run.step}",
    ("metric", args.part),
    [
      (
        name.replace("_", " "),
        f"{value:,.0f}" if name == "count" else console_lib.number(value),
      )
      for name, value in scalars.items()
    ],
  )
  if output is not None:
    console.line(f"Predictions: {output}")
  if any(map(math.isnan, scalars.values())):
    console.line("- is a number that is not defined for these images.")


if __name__ == "__main__":
  sys.exit(main())
