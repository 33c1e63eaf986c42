"""Maps predictions over a slide: `python -m mn_jax.tools.slide_map`.

Writes one picture: the patches in place, their labels, and the probability that
the run's network predicts, averaged where patches overlap. Exit codes: 0, or 2
for a wrong argument.
"""

import functools
import sys
from collections.abc import Sequence

from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, file_path
from mn_jax.errors import InputError
from mn_jax.explain import slide_map
from mn_jax.observe import inspection_figures
from mn_jax.observe.console import Console
from mn_jax.run import split_data


def _parser() -> Parser:
  parser = run_arguments.parser(
    "slide-map",
    description="Map the probability of a class over a slide, beside the "
    "labels and the patches, for data sets with positions of patches.",
    example="--workdir=runs/idc_v1 --group=10253",
  )
  parser.add_argument(
    "--group",
    metavar="NAME",
    required=True,
    help="patient or slide, as in split.json",
  )
  parser.add_argument(
    "--class",
    dest="class_name",
    metavar="NAME",
    help="class of the probability (default: the positive class)",
  )
  parser.option(
    "--output",
    "FILE.png",
    "picture to write (default: WORKDIR/inspect/slide_NAME.png)",
    type=file_path,
  )
  run_arguments.add_places(parser)
  return parser


def _class(data: split_data.SplitData, name: str | None) -> int:
  """Returns the index of the class whose probability is drawn."""
  if name is None and data.spec.positive is not None:
    return data.spec.positive
  if name not in data.classes:
    got = "nothing" if name is None else repr(name)
    raise InputError(f"--class: got {got}; valid: {', '.join(data.classes)}")
  return data.classes.index(name)


def _slide_map(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  run = run_arguments.open_run(args)
  console = Console()
  with console.counting("decoding", "images") as progress:
    data = run.data(progress)
  patches = slide_map.find(data, args.group)
  label = _class(data, args.class_name)
  output = run_arguments.output_picture(
    args.output, run.path / "inspect" / f"slide_{args.group}.png"
  )
  found = slide_map.predict(run, data, patches, label)
  picture = inspection_figures.slide(
    found.tissue,
    found.truth,
    found.probability,
    name=data.classes[label],
    title=patches.title,
  )
  run_arguments.save_picture(picture, output)
  console.line(
    f"{patches.title}, {found.positive:.1%} {data.classes[label]}, "
    f"{found.correct:.1%} classified correctly"
  )
  console.line(f"Slide map: {output}")


main = functools.partial(program.run, "slide_map", _slide_map)

if __name__ == "__main__":
  sys.exit(main())
