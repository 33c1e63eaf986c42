"""Arguments of `tools.bench`."""

import argparse
from collections.abc import Iterable
from typing import Any

from mn_jax.commandline.parser import Parser, command, file_path, names, number
from mn_jax.models import registry
from mn_jax.parallel import accelerators
from mn_jax.perf import machine
from mn_jax.perf.bench import comparison, side_process, suite

# What `--of` measures.
MEASURES = ("model", "ops", "input", "run", "program")
_TIMEOUT = 1800  # seconds
# What a network is without --config, and the fields of an experiment's.
_NETWORK = {
  "--model": "mobilenet_v1",
  "--resolution": 50,
  "--batch-size": 32,
  "--dtype": "float32",
  "--classes": 2,
}
NETWORK_FIELDS = {
  "--model": "model.name",
  "--resolution": "data.image_size",
  "--batch-size": "train.batch_size",
  "--dtype": "model.dtype",
  "--classes": "data.classes",
}
# What --of=program compiles for.
CHIPS = ("cpu", *accelerators.ACCELERATORS)

# Flag, name of its value, least value, default, help.
_COUNTS = (
  ("--steps-per-repeat", "COUNT", 1, 1, "steps between two waits"),
  ("--images", "COUNT", 1, 1000, "--of=input: images to decode"),
  ("--gathered", "COUNT", 1, 200_000, "--of=input: images to gather"),
)


def parser() -> Parser:
  """Returns the parser of `tools.bench`."""
  parser = Parser(
    command("bench"),
    description="Measure the speed of a network, its operations, the input "
    "path, or a whole run; or read a compiled program.",
    example="--model=mobilenet_v2 --peer=timm-eager",
  )

  def choice(flag: str, choices: Iterable[str], text: str, **more: str) -> None:
    default = more.setdefault("default", next(iter(choices)))
    text = f"{text} (default: {default})"
    parser.add_argument(flag, choices=tuple(choices), help=text, **more)

  choice("--of", MEASURES, "what to measure")
  _add_network(parser)
  choice("--mode", ("train", "infer"), "training step or inference")
  for flag, metavar, least, default, text in _COUNTS:
    parser.option(flag, metavar, text, type=number(int, least), default=default)
  peers = ", ".join(comparison.PEERS)
  parser.option(
    "--peer", "NAMES", f"one or more of {peers}", type=names(comparison.PEERS)
  )
  parser.option(
    "--peer-python",
    "FILE",
    "interpreter of all peers (default: $MN_JAX_PEER_PYTHON for those with "
    "torch, this one for the others)",
    default="",
  )
  parser.flag("--skip-missing", "continue without peers that cannot be started")
  choice(
    "--allocator",
    side_process.ALLOCATORS,
    "memory allocator of all libraries: glibc keeping freed memory, glibc as "
    "it is, or jemalloc",
  )
  choice(
    "--channels-last",
    comparison.LAYOUTS,
    "layout of images in torch; auto: on for GPUs, the faster one on CPUs",
  )
  parser.option(
    "--timeout",
    "SECONDS",
    "limit of a side process that does not answer",
    type=number(float, 1),
    default=_TIMEOUT,
  )
  parser.option(
    "--repeats",
    "COUNT",
    "timed repeats (default: 11 of networks, 7 of operations, 3 of the input "
    "path)",
    type=number(int, 0),
  )
  parser.option(
    "--config",
    "NAME[:ARG]",
    "experiment of --of=input, --of=run, --of=program",
  )
  _add_program(parser)
  _add_page(parser)
  parser.flag("--json", "print JSON instead of tables")
  parser.add_overrides()
  return parser


def _add_network(parser: Parser) -> None:
  """Adds the flags of a network, which an experiment has, too: no defaults."""
  choices = {
    "--model": (registry.MODELS, "network"),
    "--dtype": (("float32", "bfloat16"), "dtype of computation"),
  }
  counts = {
    "--resolution": ("PIXELS", 1, "input height and width"),
    "--batch-size": ("SIZE", 1, "images per step"),
    "--classes": ("COUNT", 2, "number of logits"),
  }
  for flag, (values, text) in choices.items():
    text = f"{text} (default: {_NETWORK[flag]})"
    parser.add_argument(flag, choices=tuple(values), help=text, metavar="NAME")
  for flag, (metavar, least, text) in counts.items():
    text = f"{text} (default: {_NETWORK[flag]})"
    parser.option(flag, metavar, text, type=number(int, least))


def _add_program(parser: Parser) -> None:
  """Adds the flags of --of=program."""
  parser.add_argument(
    "--chip",
    choices=CHIPS,
    default=CHIPS[0],
    metavar="NAME",
    help=f"--of=program: compile for one of {', '.join(CHIPS)} (default: "
    f"{CHIPS[0]}); no chip needs to be there",
  )
  parser.option(
    "--top",
    "COUNT",
    "--of=program: list the kernels that move most",
    type=number(int, 0),
    default=0,
  )
  parser.flag("--layers", "--of=program: list every layer")
  parser.option(
    "--keep",
    "FILE",
    "--of=program: keep the compiled text; compressed if it ends .gz",
    type=file_path,
  )
  parser.option(
    "--text",
    "FILE",
    "--of=program: read a text that --keep kept instead of compiling",
    type=file_path,
  )
  parser.flag(
    "--registers",
    "--of=program: registers and spills of a GPU's kernels, by ptxas",
  )
  parser.option(
    "--compare",
    "FILE.json",
    "--of=program: compare with what --json printed",
    type=file_path,
  )


def _add_page(parser: Parser) -> None:
  """Adds the flags of a page of many cases."""
  parser.option(
    "--table",
    "FILE.md",
    "page to write, with all of --cases that are not measured yet",
    type=file_path,
  )
  default = next(iter(suite.CASES))
  parser.add_argument(
    "--cases",
    choices=tuple(suite.CASES),
    default=default,
    help=f"what the page of --table reports (default: {default})",
  )
  parser.option(
    "--before",
    "FILE.json",
    "--cases=programs: readings of an earlier revision, to compare with",
    type=file_path,
  )
  parser.option(
    "--only",
    "TEXT",
    "measure cases with this in their flags; none: only write the page",
    default="",
  )


def network(args: argparse.Namespace) -> dict[str, Any]:
  """Values of the flags that a network has, by their names; those given."""
  values = {flag: getattr(args, _attribute(flag)) for flag in _NETWORK}
  return {flag: value for flag, value in values.items() if value is not None}


def case(args: argparse.Namespace) -> side_process.Case:
  """The case of the arguments, with defaults for what is not given."""
  given = _NETWORK | network(args)
  return side_process.Case(
    model=given["--model"],
    resolution=given["--resolution"],
    batch=given["--batch-size"],
    mode=args.mode,
    dtype=given["--dtype"],
    classes=given["--classes"],
    threads=machine.cores(),
    allocator=args.allocator,
  )


def for_every_case(args: argparse.Namespace) -> list[str]:
  """Flags that were given and apply to all measurements of a page."""
  flags = {
    "--peer-python": (args.peer_python, ""),
    "--allocator": (args.allocator, side_process.ALLOCATORS[0]),
    "--repeats": (args.repeats, None),
    "--timeout": (args.timeout, _TIMEOUT),
  }
  return [
    f"{flag}={value}"
    for flag, (value, default) in flags.items()
    if value != default
  ]


def _attribute(flag: str) -> str:
  return flag[2:].replace("-", "_")
