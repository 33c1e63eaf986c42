"""What a summary says of other runs: an ensemble's, or a student's teacher."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from mn_jax.errors import InputError
from mn_jax.run import records


def members(paths: Sequence[pathlib.Path], views: str) -> dict[str, Any]:
  """Returns what an ensemble is made of, by which a stale one is known.

  Args:
    paths: folders of finished runs, or of ensembles.
    views: a name in `augment.views.KINDS`, or '' for the plain image.

  Raises:
    InputError: if a run is not finished.
  """
  return {"views": views, "runs": [_identity(path) for path in paths]}


def is_current(
  summary: Mapping[str, Any], paths: Sequence[pathlib.Path], views: str
) -> bool:
  """Returns whether a summary is of an ensemble of these runs as they are now.

  It outlives runs that are gone, if they are those that it was made of.
  """
  made = summary.get("ensemble")
  if made is None or made["views"] != views:
    return False
  if [x["name"] for x in made["runs"]] != [_name(path) for path in paths]:
    return False
  return all(
    now in (None, then)
    for then, now in zip(made["runs"], map(_present, paths), strict=True)
  )


def is_of_teacher(summary: Mapping[str, Any], path: pathlib.Path) -> bool:
  """Returns whether a student learnt from a run as it is now.

  A student outlives its teacher, and one of an earlier version does not say
  which network taught it.

  Args:
    summary: of the student.
    path: folder of its teacher.
  """
  taught = (summary.get("teacher") or {}).get("state_sha256")
  try:
    now = records.read_summary(path)["state_sha256"]
  except (InputError, KeyError):
    return True
  return taught in (None, now)


def arguments(
  output: pathlib.Path, paths: Sequence[pathlib.Path], views: str
) -> tuple[str, ...]:
  """Returns the arguments of `mn_jax.tools.ensemble` that make an ensemble."""
  tta = (f"--tta={views}",) if views else ()
  return (f"--output={output}", *tta, "--workdir", *map(str, paths))


def _present(path: pathlib.Path) -> dict[str, Any] | None:
  try:
    return _identity(path)
  except InputError:
    return None


def _identity(path: pathlib.Path) -> dict[str, Any]:
  """Returns what tells a run from another in the same folder."""
  summary = records.read_summary(path)
  return {
    "name": _name(path),
    "best_step": summary["best_step"],
    "state_sha256": summary.get("state_sha256"),
    "ensemble": summary.get("ensemble"),
  }


def _name(path: pathlib.Path) -> str:
  """Where it lies on this machine is nobody else's concern."""
  return "/".join(path.absolute().parts[-2:])
