"""Small runs and caches to be damaged: what a user keeps, made in seconds.

A base folder has the images, a cache, and three runs with all their files:

- `halfway`: stopped in its middle; its best checkpoint is not among the newest
- `finished`: the same run at its end
- `frozen`: a head on cached features of a frozen backbone, stopped too
"""

import os
import pathlib
import shutil
from collections.abc import Callable, Mapping

from mn_jax import main
from mn_jax.config import files
from mn_jax.data.samples import patches
from mn_jax.observe.console import Console
from mn_jax.parallel import compile_cache
from mn_jax.run import training
from mn_jax.tools import evaluate, predict, prepare, report
from tests import toy_transfer

SIZE = 16
STOP, STEPS = 6, 8
_STEPS = {
  "data.image_size": SIZE,
  "data.split_seed": 2,
  "train.epochs": 0,
  "train.steps": STEPS,
  "train.batch_size": 8,
  "train.ema_decay": 0.5,
  "optim.warmup_epochs": 0,
  "optim.warmup_steps": 1,
  "eval.every_epochs": 0,
  "eval.every_steps": 2,
  "eval.batch_size": 16,
  "checkpoint.every_epochs": 0,
  "checkpoint.every_steps": 2,
  "observe.log_every_steps": 1,
}
_SMALL = {"model.name": "simple_cnn", "model.width": 0.25}
_FROZEN = {
  "model.width": 0.125,
  "model.shallow": True,
  "model.separable": False,
  "model.transfer": "frozen",
  "model.resolution": 32,
  "augment.flip": "none",
  "augment.quarter_turns": False,
}
SUBJECTS = ("halfway", "finished", "frozen")
# What is done with a damaged run, or on a damaged cache.
ACTIONS: dict[str, tuple[str, ...]] = {
  "halfway": ("train", "evaluate", "predict"),
  "finished": ("train", "evaluate", "predict", "report"),
  "frozen": ("train", "evaluate"),
}


def overrides(base: pathlib.Path, subject: str) -> list[str]:
  """The command line of a subject, without program and workdir."""
  fields = _STEPS | _SMALL
  if subject == "frozen":
    fields = _STEPS | _FROZEN | {"model.weights": base / "weights.h5"}
  return [f"{key}={value}" for key, value in fields.items()]


def set_up(cache: pathlib.Path) -> None:
  """Points this process at a cache, and keeps every program in it."""
  os.environ["MN_JAX_CACHE"] = str(cache)
  compile_cache._MIN_COMPILE_SECONDS = 0


def make(base: pathlib.Path) -> None:
  """Makes images, cache and runs in a new folder."""
  cache, images = base / "cache", base / "images"
  set_up(cache)
  patches.write_sample(images, num_patients=12, patches_per_patient=5)
  toy_transfer.write_weights(base / "weights.h5", classes=5)
  arguments = [f"--source={images}", f"--image-size={SIZE}"]
  assert prepare.main(["idc", f"--cache-dir={cache}", *arguments]) == 0
  for subject in ("halfway", "frozen"):
    config = files.load_config("configs/idc_v1.py", overrides(base, subject))
    training.train_and_evaluate(
      config,
      base / subject,
      console=Console(quiet=True),
      stop_requested=lambda step, *_: step == STOP,
    )
  shutil.copytree(base / "halfway", base / "finished")
  program, arguments = action("train", "finished", base, base / "finished")
  assert program(arguments) == 0
  kept = {p.name for p in (base / "halfway" / "checkpoints").iterdir()}
  assert kept == {"2", "4", "6"}, kept


def action(
  name: str, subject: str, base: pathlib.Path, workdir: pathlib.Path
) -> tuple[Callable[[list[str] | None], int], list[str]]:
  """Returns what an action on a copy of a subject runs.

  Args:
    name: of the action.
    subject: whose configuration is used.
    base: of `make`.
    workdir: the copy.

  Returns:
    The program, which returns its exit code, and its arguments.
  """
  here = f"--workdir={workdir}"
  images = str(base / "images" / "90001")
  programs: Mapping[str, tuple[Callable, list[str]]] = {
    "train": (
      main.main,
      ["--config=configs/idc_v1.py", here, *overrides(base, subject)],
    ),
    "evaluate": (evaluate.main, [here, "--json"]),
    "predict": (predict.main, [here, "--format=json", images]),
    "report": (report.main, [str(workdir), "--numbers"]),
  }
  return programs[name]
