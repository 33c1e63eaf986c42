"""The JSON files of a run: what they must have, and whether they are intact.

They are written with a checksum. A file of an earlier version, which has none,
is read if it has the fields that are needed.
"""

import json
import pathlib
from collections.abc import Mapping
from typing import Any

from mn_jax.config import changes
from mn_jax.data import atomic, checksums
from mn_jax.errors import InputError
from mn_jax.observe import formatting

# Of the files' fields those that are read, with their types.
CONFIG = {"config": dict}
NETWORK = {"network": dict, "classes": list}
SPLIT = {
  "sha256": str,
  "images_sha256": str,
  "seed": int,
  "notes": list,
  "images": dict,
}
SUMMARY = {
  **dict.fromkeys(("experiment", "model", "best_metric", "chosen_on"), str),
  **dict.fromkeys(("split", "split_sha256", "images_sha256", "device"), str),
  **dict.fromkeys(("seed", "steps", "best_step", "params", "macs"), int),
  **dict.fromkeys(("epochs", "wall_seconds"), int | float),
  **dict.fromkeys(("images_per_sec", "data_wait_share"), int | float | None),
  **dict.fromkeys(("val/count", "test/count"), int | float),
  "versions": dict,
}
_CHECKSUM = "checksum"


class DamagedError(InputError):
  """A file of a run is not there, or not what the run wrote.

  Attributes:
    reason: the file's name, and what is wrong with it.
  """

  def __init__(self, folder: pathlib.Path, name: str, why: str):
    self.reason = f"{name} cannot be read ({why})"
    super().__init__(
      f"--workdir: got {str(folder)!r}, whose {self.reason}; valid: the folder "
      "of a run or a study, as it was written"
    )


def unreadable(path: pathlib.Path, error: OSError) -> InputError:
  """Returns what to raise for a file that the system does not let be read."""
  return InputError(
    f"{path}: cannot be read ({error.strerror}); valid: a file that you may "
    "read"
  )


def read_object(
  path: pathlib.Path, fields: Mapping[str, Any] | None = None
) -> dict[str, Any]:
  """Reads a JSON object that `write_object` wrote, or another version of it.

  Args:
    path: of the file.
    fields: those that it must have, with the types of their values.

  Raises:
    DamagedError: if it is not there, or not what was written.
    InputError: if it cannot be read.
  """

  def damaged(why: str) -> DamagedError:
    return DamagedError(path.parent, path.name, why)

  try:
    content = path.read_bytes()
  except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
    raise damaged(error.strerror) from None
  except OSError as error:
    raise unreadable(path, error) from None
  try:
    value = json.loads(content.decode())
  except (ValueError, RecursionError) as error:
    raise damaged(f"it is no JSON in UTF-8: {error}") from None
  if not isinstance(value, dict):
    raise damaged(f"it is no object but {str(value)[:40]!r}")
  sha256 = value.pop(_CHECKSUM, None)
  if sha256 is not None and sha256 != checksums.of_json(value):
    raise damaged("it is not as it was written")
  for name, kind in (fields or {}).items():
    if name not in value:
      raise damaged(f"it has no {name!r}")
    if not isinstance(value[name], kind):
      raise damaged(f"its {name!r} is {str(value[name])[:40]!r}")
  return value


def read_summary(folder: pathlib.Path) -> dict[str, Any]:
  """Reads `summary.json`, the results of a run that has ended.

  Raises:
    DamagedError, InputError: as `read_object`.
  """
  summary = read_object(folder / "summary.json", SUMMARY)
  for name, value in summary.items():
    if "/" in name and not isinstance(value, int | float | None):
      why = f"its {name!r} is {str(value)[:40]!r}"
      raise DamagedError(folder, "summary.json", why)
  return summary


def write_object(path: pathlib.Path, value: Mapping[str, Any]) -> None:
  """Writes a JSON object with a checksum, at once or not at all.

  Undefined numbers become null.
  """
  value = formatting.jsonable(value)
  checksum = checksums.of_json(changes.plain(value))
  atomic.write_json(path, {**value, _CHECKSUM: checksum})
