"""The program `mn-jax`: one sub-command for each program of the package."""

import importlib
import sys
from collections.abc import Sequence

from mn_jax.commandline import program, signals
from mn_jax.config import near
from mn_jax.errors import InputError

# Name -> (module with a `main`, what it does).
COMMANDS = {
  "look": ("tools.look", "look at your own images, before training"),
  "train": ("main", "train on your own images, or an experiment"),
  "predict": ("tools.predict", "classify images"),
  "evaluate": ("tools.evaluate", "compute the metrics of a run"),
  "demo": ("tools.demo", "try a run in a browser"),
  "report": ("tools.report", "write a page about a run or a study"),
  "push": ("tools.push", "write a run as a model for others"),
  "export": (
    "tools.export",
    "write a network for phones and other runtimes",
  ),
  "study": ("tools.study", "train the members of a study"),
  "sweep": ("tools.sweep", "search a space of fields"),
  "crossval": (
    "tools.crossval",
    "cross-validate your images, or an experiment",
  ),
  "ensemble": ("tools.ensemble", "average runs on one split"),
  "prepare": ("tools.prepare", "download and pack a data set"),
  "fetch": ("tools.fetch", "download published weights"),
  "leakcheck": ("tools.leakcheck", "look for leaks in a split"),
  "embed": ("tools.embed", "embed images by a run's features"),
  "probe": ("tools.probe", "classify given features"),
  "saliency": ("tools.saliency", "draw saliency maps"),
  "slide-map": ("tools.slide_map", "map predictions over a slide"),
  "summary": ("tools.summary", "count a network's layers"),
  "bench": ("tools.bench", "measure speed"),
  "scaling": ("tools.scaling", "measure and plan scaling over devices"),
  "launch": ("tools.launch", "start a run on other machines"),
}


def main(argv: Sequence[str] | None = None) -> int:
  """Runs a sub-command; returns its exit code."""
  name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
  if name in ("-h", "--help"):
    print(_help())
    return 0
  if name not in COMMANDS:
    meant = near.hint(near.name(name, COMMANDS))
    error = InputError(f"got {name!r}{meant}; valid: {', '.join(COMMANDS)}")
    program.report("mn-jax", error)
    return 2
  if argv is None:
    signals.take_over(program.RESUMES if name == "train" else "")
  # Imported only now: most programs need JAX, which is slow to import.
  module = importlib.import_module(f"mn_jax.{COMMANDS[name][0]}")
  return module.main(rest)


def _help() -> str:
  width = max(map(len, COMMANDS))
  rows = [f"  {name:{width}}  {text}" for name, (_, text) in COMMANDS.items()]
  return "\n".join(
    (
      "Train MobileNet-family image classifiers in JAX, and compare them.",
      "",
      "your own images, in a folder for each class or a table:",
      "  mn-jax look photos                     what is there, what to train",
      "  mn-jax train --data=photos             trains, into runs/photos",
      "  mn-jax predict --workdir=runs/photos new_photos",
      "",
      "an experiment of this project, on a generated sample:",
      "  mn-jax train --config=idc_v1:sample --workdir=runs/sample",
      "",
      "usage: mn-jax COMMAND ...",
      "",
      "commands (mn-jax COMMAND --help says more):",
      *rows,
    )
  )
