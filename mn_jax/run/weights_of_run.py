"""Another run's network as the weights that a run starts from."""

import pathlib
from typing import Any

import flax.traverse_util
import numpy as np

from mn_jax.errors import InputError
from mn_jax.models import fake_quant, registry
from mn_jax.run import records
from mn_jax.train import checkpoint
from mn_jax.train import state as state_lib
from mn_jax.weights import pretrained as pretrained_lib


def is_run(name: str) -> bool:
  """Returns whether a name of weights is the folder of a run.

  Args:
    name: as `model.weights` has it.
  """
  try:
    return bool(name) and (_path(name) / "network.json").is_file()
  except (OSError, RuntimeError, ValueError):
    return False


def refuse_seeds(field: str, name: str) -> None:
  """Refuses the folder of the runs of several seeds.

  Args:
    field: of the config that names it.
    name: as the field has it.

  Raises:
    InputError: if it is one.
  """
  try:
    several = any(_path(name).glob("seed*/config.json"))
  except (OSError, RuntimeError, ValueError):
    several = False  # no path that can be
  if several:
    raise InputError(
      f"{field}: got {name!r}, whose folders are the runs of several seeds; "
      "valid: one of these"
    )


def check(name: str, network: registry.Network) -> None:
  """Checks that a run's network fits, without reading its weights.

  Args:
    name: the run's folder.
    network: that its weights are for; classes and head may differ.

  Raises:
    InputError: if the run has another network or no checkpoint, or its files
      cannot be read.
  """
  theirs = _described(name)["network"]
  pretrained_lib.with_conventions_of(theirs, network, name)
  try:
    checkpoint.steps(_path(name))
  except InputError as error:
    raise unreadable("model.weights", name, error) from None


def load(
  name: str, network: registry.Network, *, multi_label: bool
) -> pretrained_lib.Pretrained:
  """Loads the best checkpoint of a run.

  Moving averages, where the run kept them, are what it is evaluated with, and
  what is loaded. Ranges of fake quantisation are not.

  Args:
    name: the run's folder.
    network: that the weights are for; classes and head may differ.
    multi_label: whether an image of it may have several labels. Logits are read
      differently then, and are not loaded if the run's images may not.

  Raises:
    InputError: if the run has another network, or no checkpoint that is intact.
    RunError: if the machine does not let it be read.
  """
  described, path = _described(name), _path(name)
  theirs, classes = described["network"], described["classes"]
  same = described["multi_label"] == multi_label
  try:
    step, variables = checkpoint.read_best(path)
  except InputError as error:
    raise unreadable("model.weights", name, error) from None
  variables = fake_quant.without_ranges(variables)
  origin = pretrained_lib.Origin(
    file=f"{path.resolve().name}, step {step}",
    sha256=state_lib.sha256(variables),
    source="run",
    num_classes=len(classes) if same else 0,
    head=theirs.head,
    name=name,
    note=""
    if same
    else "images of the run and of this one differ in whether "
    "they have several labels",
  )
  return pretrained_lib.Pretrained(
    pretrained_lib.with_conventions_of(theirs, network, name),
    _tensors(variables),
    origin,
    class_names=classes,
    classes=classes if same else (),
  )


def _described(name: str) -> dict[str, Any]:
  """The run's 'network', its 'classes' as a tuple, and 'multi_label'.

  Raises:
    InputError: if it is not there or damaged.
  """
  try:
    fields = records.read_object(_path(name) / "network.json", records.NETWORK)
    return {
      "network": registry.from_dict(fields["network"]),
      "classes": tuple(map(str, fields["classes"])),
      "multi_label": bool(fields.get("multi_label")),
    }
  except (InputError, AttributeError, KeyError, TypeError, ValueError) as error:
    raise unreadable("model.weights", name, error) from None


def _tensors(variables: dict) -> dict[str, np.ndarray]:
  """Tensors by path, without the weight of running averages."""
  tensors = {}
  for collection in ("params", "batch_stats"):
    flat = flax.traverse_util.flatten_dict(variables[collection], sep="/")
    for path, value in flat.items():
      if collection == "params" or not path.endswith("/weight"):
        tensors[path] = np.asarray(value)
  return tensors


def _path(name: str) -> pathlib.Path:
  return pathlib.Path(name).expanduser()


def unreadable(field: str, name: str, error: Exception) -> InputError:
  """Returns what to raise for a run that a config names and that is damaged.

  Args:
    field: of the config.
    name: of the run's folder.
    error: what reading it raised.
  """
  reason = str(error).partition("; valid: ")[0].removeprefix("--workdir: ")
  return InputError(
    f"{field}: got {name!r}, a run that cannot be read ({reason}); "
    "valid: the folder of a run of this version, with a checkpoint"
  )
