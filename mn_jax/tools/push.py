"""Writes a run as a model for others: `python -m mn_jax.tools.push RUN`.

A folder with `model.safetensors`, `config.json` and a model card, `README.md`.
Only with `--to` is it uploaded. Names of images and groups are in none of them.
Exit codes: 0, 2 for a wrong argument, 130 stopped by Ctrl-C.
"""

import argparse
import functools
import pathlib
import re
import sys
import tempfile
from collections.abc import Sequence

from mn_jax.commandline import program
from mn_jax.commandline.parser import Parser, command, file_path
from mn_jax.data import atomic
from mn_jax.errors import InputError, RunError
from mn_jax.observe.console import Console
from mn_jax.report import model_card, page, run_analysis
from mn_jax.run import reopen
from mn_jax.weights import exported, files, hub, hub_upload, sources

_CARD = "README.md"
_FILES = (files.FILE, sources.CONFIG, _CARD)
# Identifiers as the Hub lists them: 'apache-2.0', 'cc-by-4.0', 'other'.
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]*")


def _parser() -> Parser:
  parser = Parser(
    command("push"),
    description="Write the best checkpoint of a finished run as a folder for "
    "others: weights, config.json and a model card; upload it with --to.",
    example="runs/idc",
  )
  parser.add_argument(
    "run", metavar="RUN", type=file_path, help="folder of a finished run"
  )
  parser.option(
    "--output", "DIR", "folder to write (default: RUN/model)", type=file_path
  )
  parser.option(
    "--to",
    "hf:OWNER/NAME",
    "upload it to this repository of the Hugging Face Hub, which is created, "
    "private, if it is not there; needs HF_TOKEN or `hf auth login`",
  )
  parser.flag("--public", "with --to: everybody may see the repository")
  parser.option(
    "--license",
    "ID",
    "licence of the weights, as the Hub names it, such as apache-2.0 (default: "
    "none is stated)",
    default="",
  )
  parser.option(
    "--intended-use",
    "TEXT",
    "a sentence or more for the model card (default: that none is stated)",
    default="",
  )
  return parser


def _check(args: argparse.Namespace) -> str:
  """Checks the arguments; returns the repository, or ''.

  Raises:
    InputError: naming the argument.
  """
  if args.license and not _LICENCE.fullmatch(args.license):
    raise InputError(
      f"--license: got {args.license!r}; valid: an identifier of the Hub, such "
      "as apache-2.0, cc-by-4.0 or other"
    )
  if not args.to:
    if args.public:
      raise InputError("--public: got it without --to; valid: with it")
    return ""
  repository = hub.parse(args.to, "--to")
  if "@" in args.to:
    raise InputError(f"--to: got {args.to!r}; valid: hf:OWNER/NAME")
  return repository.name


def _push(argv: Sequence[str] | None) -> None:
  args = _parser().parse(argv)
  repository = _check(args)
  console = Console()
  analysis = run_analysis.analyze(args.run)
  run = reopen.open_run(args.run)
  run.check_single_images()
  best = analysis.summary["best_step"]
  if run.step != best:
    raise InputError(
      f"RUN: got {str(args.run)!r}, whose results are of step {best}, of which "
      f"there is no checkpoint (the best is of step {run.step}); valid: a run "
      "with the checkpoint that was tested"
    )
  output = args.output or args.run / "model"
  name = _write(args, run, analysis, output, repository)
  console.line(f"Model: {output}")
  layout = "of this package" if name is None else f"of timm, {name}"
  console.line(f"Layout: {layout}; model card: {output / _CARD}")
  if not repository:
    console.line("Nothing was uploaded; --to=hf:OWNER/NAME does so.")
    return
  commit = hub_upload.upload(repository, output, _FILES, public=args.public)
  console.line(f"Uploaded: hf:{repository}@{commit}")


def _write(
  args: argparse.Namespace,
  run: reopen.SavedRun,
  analysis: run_analysis.RunAnalysis,
  output: pathlib.Path,
  repository: str,
) -> str | None:
  """Writes all files, or none; returns timm's name of the network.

  Raises:
    InputError: for a folder with files of these names from elsewhere.
    RunError: if the machine does not write them.
  """
  _check_output(output)
  config = run.config
  description = exported.Description(
    network=run.network,
    classes=run.classes,
    image_size=config.data.image_size,
    resolution=config.model.resolution,
    other_sizes=config.data.other_sizes,
    bits=config.data.bits,
    multi_label=run.multi_label,
    dtype=config.model.dtype,
    crop_share=config.data.crop_share,
  )
  try:
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".push") as made:
      folder = pathlib.Path(made)
      name = exported.write(folder, description, run.variables)
      card = model_card.build(
        analysis,
        classes=run.classes,
        folder=output.name,
        repository=repository,
        timm=name is not None,
        licence=args.license,
        intended_use=args.intended_use,
      )
      atomic.write_text(folder / _CARD, page.model_card(card))
      for file in _FILES:
        (folder / file).replace(output / file)
  except OSError as error:
    raise RunError(
      f"{output}: cannot be written ({error.strerror or error})"
    ) from None
  return name


def _check_output(output: pathlib.Path) -> None:
  """Refuses a folder whose files of the same names are not an earlier push."""
  there = [name for name in _FILES if (output / name).exists()]
  if there and not exported.is_described(output / files.FILE):
    raise InputError(
      f"--output: got {str(output)!r}, which has a {there[0]} that is not of a "
      "pushed model; valid: a new folder, or one that was pushed into before"
    )


main = functools.partial(program.run, "push", _push)

if __name__ == "__main__":
  sys.exit(main())
