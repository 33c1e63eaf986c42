"""`Parser`: arguments of a program and overrides of config fields."""

import argparse
import functools
import math
import pathlib
import re
import sys
import textwrap
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn

from mn_jax.config import near, overrides, paths
from mn_jax.errors import InputError

_WIDTH = 78  # columns; argparse leaves two of a terminal's 80
# Of what has no section, only the config's own fields: an argument of another
# program may have an equals sign.
_OVERRIDE = re.compile(
  r"(?:[A-Za-z_]\w*(?:\.\w+)+|seed|experiment)=.*", re.DOTALL
)
_CONFIG = "--config."


class Parser(argparse.ArgumentParser):
  """A parser with errors of one line, and help that starts with an example.

  Flags are spelled with dashes; underscores mean the same.

  Attributes:
    takes_overrides: whether `section.field=value` is an override, which may
      stand anywhere and also be written `--config.section.field=value`.
  """

  takes_overrides = False

  def __init__(self, prog: str, *, example: str = "", **options):
    """Makes a parser of no arguments but --help.

    Args:
      prog: how the program is started.
      example: arguments of an example.
      **options: of `argparse.ArgumentParser`.
    """
    options.setdefault(
      "formatter_class", functools.partial(argparse.HelpFormatter, width=_WIDTH)
    )
    super().__init__(prog, allow_abbrev=False, **options)
    self._example = example

  def option(
    self,
    flag: str,
    metavar: str,
    text: str,
    *,
    type: Callable[[str], Any] = str,
    default: Any = None,
  ) -> None:
    """Adds an option that takes a value.

    Args:
      flag: such as '--count'.
      metavar: what the help calls the value.
      text: its help, to which the default is added.
      type: reads the value.
      default: None or '' is not shown.
    """
    if default not in (None, ""):
      text = f"{text} (default: {default})"
    self.add_argument(
      flag, metavar=metavar, type=type, default=default, help=text
    )

  def flag(self, flag: str, text: str) -> None:
    """Adds a flag without a value; `text` is its help."""
    self.add_argument(flag, action="store_true", help=text)

  def add_config(self, *, required: bool = True) -> None:
    """Adds `--config`, for `files.load_config`."""
    self.add_argument(
      "--config",
      metavar="NAME[:ARG]",
      required=required,
      help="experiment: a name in configs, or a path, FILE.py[:ARG]",
    )

  def add_overrides(self, text: str = "changes a field of the config") -> None:
    """Adds overrides as the last positional arguments, `overrides`."""
    self.takes_overrides = True
    self.add_argument(
      "overrides", nargs="*", metavar="SECTION.FIELD=VALUE", help=text
    )

  def parse(self, argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses all arguments.

    Args:
      argv: without the program's name; None for those of the process.

    Returns:
      The arguments by name; `overrides` is a list of 'section.field=value',
      each of an existing field and a value of its type.

    Raises:
      InputError: for the first that is wrong.
    """
    words = _with_dashes(sys.argv[1:] if argv is None else argv)
    changes = []
    if self.takes_overrides:
      changes, words = _split(words)
    self._check_flags(words)
    args, surplus = self.parse_known_args(words)
    if "overrides" in args:
      args.overrides = changes + args.overrides
      args.overrides += [word for word in surplus if not word.startswith("-")]
      surplus = [word for word in surplus if word.startswith("-")]
      for change in args.overrides:
        self._check_override(change)
        overrides.parse(change)
    else:
      surplus += changes
    if surplus:
      raise InputError(f"got {surplus[0]!r}; valid: see --help")
    return args

  def _check_flags(self, words: Sequence[str]) -> None:
    """Refuses the first unknown flag, before others are missed."""
    if self._subparsers is not None:
      return  # which have flags of their own
    end = words.index("--") if "--" in words else len(words)
    for word in words[:end]:
      flag, equals, value = word.partition("=")
      if word.startswith("--") and flag not in self._option_string_actions:
        wrong = flag.removeprefix("--").replace("-", "_")
        flags = {
          x.removeprefix("--").replace("-", "_"): x
          for x in self._option_string_actions
        }
        if self.takes_overrides:
          meant = near.field(wrong, flags)
        else:
          meant = flags.get(near.name(wrong, flags), "")
        question = near.hint(meant and f"{meant}{equals}{value}")
        raise InputError(f"got {word!r}{question}; valid: see --help")

  def _check_override(self, word: str) -> None:
    """Asks about a path of images without its flag."""
    takes_images = "--data" in self._option_string_actions
    if takes_images and "=" not in word and pathlib.Path(word).exists():
      raise InputError(
        f"got {word!r}{near.hint(f'--data={word}')}; valid: SECTION.FIELD=VALUE"
      )

  def error(self, message: str) -> NoReturn:
    """Raises what is wrong.

    Raises:
      InputError: always.
    """
    raise InputError(message.removeprefix("argument "))

  def format_help(self) -> str:
    """Returns the help of argparse below an example."""
    if not self._example:
      return super().format_help()
    lines = textwrap.wrap(
      f"{self.prog} {self._example}", _WIDTH - 6, break_on_hyphens=False
    )
    example = " \\\n    ".join(lines)
    return f"example:\n  {example}\n\n{super().format_help()}"


def command(name: str) -> str:
  """Returns how a program is started: as this process was, or as a module."""
  if pathlib.Path(sys.argv[0]).name == "mn-jax":
    return f"mn-jax {name}"
  module = "main" if name == "train" else f"tools.{name.replace('-', '_')}"
  return f"python -m mn_jax.{module}"


def file_path(text: str) -> pathlib.Path:
  """Reads a path as an argument; see `paths.local`."""
  try:
    return paths.local(text)
  except InputError as error:
    raise argparse.ArgumentTypeError(str(error)) from None


def number(
  kind: type[int | float], low: float, high: float = math.inf
) -> Callable[[str], int | float]:
  """Returns a type of arguments: a finite number in a range, ends included."""
  span = f"{low} or more" if high == math.inf else f"{low} to {high}"

  def read(text: str) -> int | float:
    try:
      value = kind(text)
    except ValueError:
      value = math.nan
    if not (math.isfinite(value) and low <= value <= high):
      raise argparse.ArgumentTypeError(f"got {text}; valid: {span}")
    return value

  return read


def names(valid: Collection[str]) -> Callable[[str], tuple[str, ...]]:
  """Returns a type of arguments: valid names separated by commas, each once."""

  def read(text: str) -> tuple[str, ...]:
    for name in text.split(","):
      if name not in valid:
        raise argparse.ArgumentTypeError(
          f"got {name!r}; valid: {', '.join(valid)}"
        )
    return tuple(dict.fromkeys(text.split(",")))

  return read


def _with_dashes(argv: Sequence[str]) -> list[str]:
  """Returns arguments with '--a_b=c' spelled '--a-b=c'."""
  end = argv.index("--") if "--" in argv else len(argv)
  words = []
  for word in argv[:end]:
    if word.startswith("--") and not word.startswith(_CONFIG):
      flag, equals, value = word.partition("=")
      word = f"{flag.replace('_', '-')}{equals}{value}"
    words.append(word)
  return [*words, *argv[end:]]


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
  """Returns the overrides among arguments, and the other arguments."""
  changes, others = [], []
  words = iter(argv)
  for word in words:
    if word == "--":
      return changes, [*others, word, *words]
    if word.startswith(_CONFIG):
      if "=" not in word:
        value = next(words, "--")
        if value.startswith("--"):
          raise InputError(f"{word}: got no value; valid: {word}=VALUE")
        word = f"{word}={value}"
      changes.append(word.removeprefix(_CONFIG))
    elif _OVERRIDE.fullmatch(word):
      changes.append(word)
    else:
      others.append(word)
  return changes, others
