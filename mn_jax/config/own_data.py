"""A user's own images, named by their path alone: their fields and workdir."""

import pathlib
from collections.abc import Mapping
from typing import Any

import ml_collections

from mn_jax.config import paths

NAME = "image_folder"
_ARCHIVES = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def fields(data: str) -> dict[str, Any]:
  """Returns 'section.field' -> value of what a path alone tells.

  Args:
    data: path of a folder, an archive or a table.

  Raises:
    InputError: if it is no path of this machine's file system.
  """
  return {
    "experiment": name(data),
    "data.name": NAME,
    "data.path": str(paths.local(data, "--data").absolute()),
    "data.split": "auto",
  }


def over_experiment(
  values: ml_collections.ConfigDict,
  given: Mapping[str, Any],
  *,
  data: str | None,
  fine_tune: bool,
) -> dict[str, Any]:
  """Returns 'section.field' -> value of what changes in an experiment.

  Args:
    values: of the experiment.
    given: 'section.field' -> value, over all others.
    data: path of a user's images in place of the experiment's, or None.
    fine_tune: whether an experiment from scratch starts from weights instead.

  Raises:
    InputError: if the path is none of this machine's file system.
  """
  changes = {} if data is None else fields(data)
  if fine_tune and values.model.transfer == "scratch":
    changes["model.transfer"] = "fine_tune"
  return {**changes, **given}


def name(data: str) -> str:
  """Returns the name of images: of their folder, or of their file's stem."""
  # Not resolved: the name of a link is the one that its user knows.
  path = paths.local(data, "--data").absolute()
  if path.name == "..":
    path = path.resolve()
  if path.is_dir():
    return path.name or "images"
  lower = path.name.lower()
  suffix = next((x for x in _ARCHIVES if lower.endswith(x)), path.suffix)
  return path.name.removesuffix(path.name[len(path.name) - len(suffix) :])


def default_workdir(data: str) -> pathlib.Path:
  """Returns `runs/NAME`, where a run is if no folder is named."""
  return pathlib.Path("runs") / name(data)
