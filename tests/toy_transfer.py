"""Tiny runs on pretrained weights, for tests."""

import contextlib
import io
import pathlib

import jax
import jax.numpy as jnp

from mn_jax import config as config_lib
from mn_jax.config import checks, files
from mn_jax.models import registry
from mn_jax.observe.console import Console
from mn_jax.observe.writers import read_lines
from mn_jax.run import records, split_data, training
from mn_jax.run import setup as setup_lib
from tests.weights import toy_h5

# Six steps on the sample's images of a small network with as few layers as
# there are: compiling them takes most of the time.
STEPS = {
  "model.width": 0.125,
  "model.shallow": True,
  "model.separable": False,
  "train.batch_size": 32,
  "train.epochs": 0.0,
  "train.steps": 6,
  "eval.batch_size": 64,
  "eval.every_epochs": 0.0,
  "eval.every_steps": 3,
  "checkpoint.every_epochs": 0.0,
  "checkpoint.every_steps": 2,
  "observe.log_every_steps": 2,
}
# The images stay the same, so that features can be cached.
TINY = {
  **STEPS,
  "data.image_size": 32,
  "augment.flip": "none",
  "augment.quarter_turns": False,
}
# The network that compiles fastest, with BatchNorm in its head, and the
# config's own augmentation.
QUICK = {
  **STEPS,
  "data.image_size": 16,
  "model.name": "simple_cnn",
  "model.head": "gap_128_64",
  "model.shallow": False,
  "model.separable": True,
}


def load(
  name: str = "idc_v1:test", *, base: dict = TINY, **overrides
) -> config_lib.Config:
  """A config with the fields of `base`, then `model__head="plain"` and such."""
  config = files.read_config(name)
  fields = {key.replace("__", "."): value for key, value in overrides.items()}
  if "model.name" in fields:
    # What only the usual network has.
    fields = {"model.shallow": False, "model.separable": True, **fields}
  config.update_from_flattened_dict({**base, **fields})
  return checks.from_config_dict(config)


def write_weights(path: pathlib.Path, *, classes: int, seed: int = 0) -> dict:
  """Writes a file of the tiny network in Keras's layout.

  Returns:
    Its tensors by path.
  """
  network = registry.describe(
    "mobilenet_v1",
    num_classes=classes,
    width=TINY["model.width"],
    options=registry.Options(shallow=True, separable=False),
  )
  values = toy_h5.tensors(network, seed)
  toy_h5.write(path, network, values)
  return values


def ignore_progress(done: int, total: int) -> None:
  """Takes the place of a progress bar."""
  del done, total


def build(config: config_lib.Config) -> setup_lib.Setup:
  """The set-up of a run."""
  data = split_data.load(config.data, ignore_progress)
  return setup_lib.build(config, data, ignore_progress)


def steps(setup: setup_lib.Setup, count: int) -> tuple:
  """The state after the first steps, and the sums of each as numbers."""
  sums, batches = [], setup.batches(0)
  # The step donates its argument.
  state = jax.tree.map(jnp.copy, setup.initial_state)
  # Optax's Adam multiplies integers by floats.
  with jax.numpy_dtype_promotion("standard"):
    for _ in range(count):
      state, sums_of_step = setup.train_step(state, next(batches))
      sums.append({name: float(value) for name, value in sums_of_step.items()})
  return jax.device_get(state), sums


def run(config, workdir, *, stop_at=None) -> tuple[dict | None, str]:
  """The summary of a run, None if it was stopped, and what it printed."""
  summaries, printed = run_seeds(config, workdir, stop_at=stop_at)
  return None if summaries is None else summaries[0], printed


def run_seeds(config, workdir, *, stop_at=None) -> tuple[list | None, str]:
  """The summaries of all seeds, None if stopped, and what was printed."""
  with (
    contextlib.redirect_stdout(io.StringIO()) as printed,
    jax.numpy_dtype_promotion("standard"),
  ):
    summaries = training.train_and_evaluate(
      config,
      workdir,
      console=Console(),
      stop_requested=lambda step, saved: step == stop_at,
    )
  return summaries, printed.getvalue()


def logged(workdir: pathlib.Path) -> list[dict]:
  """The lines of metrics.jsonl without times and the speed."""
  return [
    {k: v for k, v in line.items() if not k.startswith(("speed/", "time"))}
    for line in read_lines(workdir / "metrics.jsonl")
  ]


def read(workdir: pathlib.Path, name: str) -> dict:
  """A JSON file of a run."""
  return records.read_object(workdir / name)
