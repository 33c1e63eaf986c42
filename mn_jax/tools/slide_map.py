"""Maps predictions over a slide: `python -m mn_jax.tools.slide_map`.

Writes one picture: the patches in place, their labels, and the probability that
the run's network predicts, averaged where patches overlap. Exit codes: 0, or 2
for a wrong argument.
"""

import difflib
import functools
import sys
from collections.abc import Sequence

import numpy as np

from mn_jax.commandline import program, run_arguments
from mn_jax.commandline.parser import Parser, file_path
from mn_jax.data.datasets import registry
from mn_jax.errors import InputError
from mn_jax.explain import slide
from mn_jax.observe import inspection_figures
from mn_jax.observe.console import Console
from mn_jax.run import split_data

_MAX_SIZE = 900  # pixels: a column of 80 mm in print


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


def _rows(data: split_data.SplitData, group: str) -> np.ndarray:
  """Returns the rows i64[n] of a group's patches that have a class."""
  if not data.spec.slides:
    names = [name for name, spec in registry.DATASETS.items() if spec.slides]
    raise InputError(
      f"--workdir: got a run whose data set ({data.spec.title}) does not know "
      f"where on a slide its images are; valid: a run on {', '.join(names)}"
    )
  has_class = data.cache.labels < len(data.classes)
  rows = np.flatnonzero((data.cache.groups == group) & has_class)
  if not len(rows):
    names = np.unique(data.cache.groups).tolist()
    near = difflib.get_close_matches(group, names, n=5, cutoff=0) or names[:5]
    raise InputError(
      f"--group: got {group!r}; valid: one of {len(names)} {data.spec.group}s "
      f"as in split.json, like {', '.join(near)}"
    )
  return rows


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
  rows, label = _rows(data, args.group), _class(data, args.class_name)
  try:
    layout = slide.grid(data.cache.positions[rows], data.spec.image_size)
  except ValueError as error:
    raise InputError(
      f"--group: got {args.group!r}, whose patches lie too far apart for one "
      f"slide ({error}); valid: another {data.spec.group}"
    ) from None
  output = run_arguments.output_picture(
    args.output, run.path / "inspect" / f"slide_{args.group}.png"
  )
  predictions = run.predict(data, rows)
  probability = predictions.probabilities()[:, label]
  positive = predictions.labels == label
  correct = predictions.logits.argmax(axis=1) == predictions.labels
  parts = [
    part for part in data.split.parts if np.isin(rows, data.part(part)).any()
  ]
  where = f"in {' and '.join(parts)}" if parts else "in no part"
  picture = inspection_figures.slide(
    slide.mosaic(layout, data.cache.images[rows], largest=_MAX_SIZE),
    slide.spread(layout, positive),
    slide.spread(layout, probability),
    name=data.classes[label],
    title=f"{data.spec.group} {args.group}, {where}: {len(rows):,} patches",
  )
  run_arguments.save_picture(picture, output)
  console.line(
    f"{data.spec.group} {args.group}, {where}: {len(rows):,} patches, "
    f"{positive.mean():.1%} {data.classes[label]}, {correct.mean():.1%} "
    "classified correctly"
  )
  console.line(f"Slide map: {output}")


main = functools.partial(program.run, "slide_map", _slide_map)

if __name__ == "__main__":
  sys.exit(main())
