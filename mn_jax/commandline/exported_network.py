"""What `export` exports: a network, and the images that it is judged by."""

import argparse
import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator
from typing import Any

from mn_jax.commandline import run_arguments, weights_arguments
from mn_jax.config import overrides
from mn_jax.deploy import trained as trained_lib
from mn_jax.deploy.trained import Trained
from mn_jax.errors import InputError
from mn_jax.export import description, labelled
from mn_jax.export.labelled import Labelled
from mn_jax.observe.console import Console
from mn_jax.parallel import compile_cache
from mn_jax.run import records, reopen


@dataclasses.dataclass(frozen=True)
class Exported:
  """A network that is exported.

  Attributes:
    trained: the network.
    origin: what is known of its training.
    labelled: images to calibrate and judge by.
  """

  trained: Trained
  origin: dict[str, Any]
  labelled: Labelled


@contextlib.contextmanager
def opened(
  args: argparse.Namespace, console: Console, *, calibration: int
) -> Iterator[Exported]:
  """Opens the network that arguments name, with the images that it needs.

  Args:
    args: of the program.
    console: shows progress.
    calibration: number of images that calibrate; 0 for none.

  Raises:
    InputError: if it is not there, not finished or has other classes than the
      labelled images.
  """
  if args.workdir:
    yield _of_run(args, console, calibration)
    return
  compile_cache.keep()
  trained = weights_arguments.load(args)
  changes = _changes(args)
  if args.data is None:
    yield Exported(trained, {}, Labelled())
    return
  with contextlib.ExitStack() as stack:
    with console.counting("decoding", "images") as progress:
      images = stack.enter_context(
        labelled.of_path(
          trained,
          args.data,
          changes,
          calibration=calibration,
          progress=progress,
        )
      )
    yield Exported(trained, {}, images)


def _changes(args: argparse.Namespace) -> dict[str, Any]:
  """Returns field of `data` -> value, of how labelled images are read.

  Raises:
    InputError: for another field, or without such images.
  """
  changes = {}
  for change in args.overrides:
    path, value = overrides.parse(change)
    section, _, name = path.rpartition(".")
    valid = ", ".join(f"data.{name}" for name in labelled.FIELDS)
    if args.data is None:
      raise InputError(f"{path}: got it without --data; valid: with --data")
    if section != "data" or name not in labelled.FIELDS:
      raise InputError(f"{path}: got it with --data; valid: {valid}")
    changes[name] = value
  return changes


def _of_run(
  args: argparse.Namespace, console: Console, calibration: int
) -> Exported:
  run = reopen.open_run(
    args.workdir, step=args.step, **run_arguments.places(args.overrides)
  )
  compile_cache.keep(run.config.data.cache_dir)
  if args.step is None:
    _check_finished(args.workdir, run.step)
  images = Labelled()
  if calibration or not args.unjudged:
    with console.counting("decoding", "images") as progress:
      images = labelled.of_run(run.data(progress), calibration=calibration)
  if args.unjudged:
    images = dataclasses.replace(images, parts=())
  return Exported(trained_lib.from_run(run), description.origin_of(run), images)


def _check_finished(workdir: pathlib.Path, step: int) -> None:
  """Refuses a run without results, or whose results are of another step.

  Raises:
    InputError: saying so.
  """
  if not (workdir / "summary.json").exists():
    raise InputError(
      f"--workdir: got {str(workdir)!r}, which has not finished; valid: a "
      f"finished run, or --step={step}, its best checkpoint so far"
    )
  best = records.read_summary(workdir)["best_step"]
  if step != best:
    raise InputError(
      f"--workdir: got {str(workdir)!r}, whose results are of step {best}, of "
      f"which there is no checkpoint; valid: --step={step}, the best there is"
    )
