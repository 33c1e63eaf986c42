"""What the summary of an ensemble says of the runs that it is the mean of."""

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

  An ensemble outlives runs that are gone.
  """
  try:
    return summary.get("ensemble") == members(paths, views)
  except InputError:
    return "ensemble" in summary


def arguments(
  output: pathlib.Path, paths: Sequence[pathlib.Path], views: str
) -> tuple[str, ...]:
  """Returns the arguments of `mn_jax.tools.ensemble` that make an ensemble."""
  tta = (f"--tta={views}",) if views else ()
  return (f"--output={output}", *tta, "--workdir", *map(str, paths))


def _identity(path: pathlib.Path) -> dict[str, Any]:
  """Returns what tells a run from another in the same folder."""
  summary = records.read_summary(path)
  return {
    # Where it lies on this machine is nobody else's concern.
    "name": "/".join(path.absolute().parts[-2:]),
    "best_step": summary["best_step"],
    "state_sha256": summary.get("state_sha256"),
    "ensemble": summary.get("ensemble"),
  }
