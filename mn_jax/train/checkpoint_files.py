"""The files of one checkpoint: its state and position, read and verified.

Neither Orbax's arrays nor JSON have a checksum of their own: a flipped bit
would restore another value. So the position, a JSON item beside the arrays, has
SHA-256 digests of itself and of each part of the state, and whatever is read is
compared with them.
"""

import contextlib
import dataclasses
import errno
import functools
import json
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import flax.traverse_util
import jax
import numpy as np
import tensorstore
from absl import logging

from mn_jax.data import checksums
from mn_jax.errors import RunError
from mn_jax.train import state as state_lib
from mn_jax.train.state import TrainState

# What tells of damage: a file is missing, or a folder is in its place. Others
# are of the disk, the network or the memory, and may pass.
_DAMAGE = (None, errno.ENOENT, errno.ENOTDIR, errno.EISDIR)
# tensorstore raises ValueErrors with a status and mostly the error's number.
_OS_ERROR = re.compile(r"os_error_code='(\d+)'")
_STATUS = re.compile(
  "ABORTED|DEADLINE_EXCEEDED|PERMISSION_DENIED|RESOURCE_EXHAUSTED|UNAVAILABLE"
  "|Invalid file path"
)


class DamagedCheckpointError(ValueError):
  """A checkpoint cannot be read, or is not what was saved; says why."""


@dataclasses.dataclass
class Position:
  """Where a run is, besides its state; JSON in the checkpoint.

  Attributes:
    batch: the number of the next global batch; equals the completed updates.
    data: sha256 of the split, the images, the weights that training started
      from ('' without) and the config's fields that cannot change.
    window: float sums of training metrics since the last log.
    epoch_sums: those since the start of the epoch; of a checkpoint that an
      earlier version saved, since then.
    epoch_means: training metrics of the last complete epoch.
    score: of the validation at this step, higher is better; None if there was
      none, or its metric is undefined.
    best_score: of the best checkpoint; None without one.
    best_step: its step, or 0.
    lost_best: 'step' and 'score' of a checkpoint that was better and is
      damaged; empty without one.
    worse: evaluations since the best.
    skipped: updates that were skipped, their loss or gradient not being finite.
    train: training metrics as last logged.
    clock: snapshot of the run's `observe.clock.Clock`.
    logged: sha256 of the lines of `metrics.jsonl` up to here.
  """

  batch: int = 0
  data: dict[str, str] = dataclasses.field(default_factory=dict)
  window: dict[str, float] = dataclasses.field(default_factory=dict)
  epoch_sums: dict[str, float] = dataclasses.field(default_factory=dict)
  epoch_means: dict[str, float] = dataclasses.field(default_factory=dict)
  score: float | None = None
  best_score: float | None = None
  best_step: int = 0
  lost_best: dict[str, float] = dataclasses.field(default_factory=dict)
  worse: int = 0
  skipped: int = 0
  train: dict[str, float] = dataclasses.field(default_factory=dict)
  clock: dict[str, float] = dataclasses.field(default_factory=dict)
  logged: str = ""


@contextlib.contextmanager
def using(path: pathlib.Path) -> Iterator[None]:
  """Says in one line that a folder cannot be listed or changed.

  Raises:
    RunError: in place of an OSError.
  """
  try:
    yield
  except OSError as error:
    raise RunError(
      f"--workdir: {str(path)!r} cannot be used ({error.strerror or error}); "
      "the same command tries again"
    ) from None


def steps(path: pathlib.Path) -> list[int]:
  """Lists the steps of checkpoints, readable or not, in ascending order.

  Args:
    path: the folder of all checkpoints; there are none if it does not exist.

  Raises:
    RunError: if the machine does not let it be read.
  """
  names = []
  with using(path), contextlib.suppress(FileNotFoundError):
    names = [entry.name for entry in path.iterdir()]
  return sorted(
    int(name) for name in names if re.fullmatch(r"0|[1-9]\d*", name)
  )


def sealed(state: TrainState, position: Position) -> dict[str, Any]:
  """The JSON item of a checkpoint: the position, with the digests.

  The digests do not depend on where the arrays are. They wait for the state and
  fetch it from the device, as the save does.
  """
  content = {
    "position": dataclasses.asdict(position),
    "state_sha256": {
      name: state_lib.sha256(part) for name, part in _parts(state).items()
    },
  }
  return {**content, "sha256": checksums.of_json(content)}


def read_position(folder: pathlib.Path) -> Position:
  """Reads the position of a checkpoint.

  Args:
    folder: of the checkpoint.

  Raises:
    DamagedCheckpointError: if it is not what was saved.
    RunError: if the machine does not let it be read.
  """
  with _reading(folder):
    return _read_position(folder)[0]


def read_state(
  folder: pathlib.Path, like: TrainState
) -> tuple[TrainState, Position]:
  """Reads the state and the position of a checkpoint.

  Args:
    folder: of the checkpoint.
    like: arrays of the wanted shapes, types and shardings.

  Raises:
    DamagedCheckpointError, RunError: as `read_position`.
  """
  with _reading(folder):
    position, digests = _read_position(folder)
    paths = [
      jax.tree_util.keystr(path, simple=True, separator=".")
      for path, _ in jax.tree_util.tree_leaves_with_path(like)
    ]
    arrays = _Arrays(folder)
    if missing := sorted({*paths}.difference(arrays.paths)):
      raise DamagedCheckpointError(f"it has no {missing[0]}")
    state = jax.tree.structure(like).unflatten(arrays.read(paths))
    _verify(_parts(state), digests)
    return jax.tree.map(_placed_like, state, like), position


def read_variables(folder: pathlib.Path) -> dict:
  """Reads what a checkpoint's network is evaluated with; no optimizer.

  Args:
    folder: of the checkpoint.

  Returns:
    As `state.eval_variables`, f32 NumPy arrays.

  Raises:
    DamagedCheckpointError, RunError: as `read_position`.
  """
  with _reading(folder):
    _, digests = _read_position(folder)
    arrays = _Arrays(folder)
    if not arrays.paths:
      raise DamagedCheckpointError("it has no arrays")
    parts = {
      field.name: arrays.read_nested(field.name)
      for field in dataclasses.fields(TrainState)
      if field.name not in ("step", "opt_state")
    }
    _verify(parts, digests)
    return state_lib.eval_variables(TrainState(step=(), opt_state=(), **parts))


def _read_position(
  folder: pathlib.Path,
) -> tuple[Position, dict[str, str] | None]:
  """The position and the digests of the state; None without any."""
  sealed = json.loads((folder / "position" / "metadata").read_bytes())
  if "batch" in sealed:
    _warn_without_digests(folder.parent)
    position, digests = Position(**sealed), None
    if position.best_step == position.batch:
      position.score = position.best_score
  else:
    if sealed.pop("sha256") != checksums.of_json(sealed):
      raise DamagedCheckpointError("its position is not what was saved")
    position, digests = Position(**sealed["position"]), sealed["state_sha256"]
  if str(position.batch) != folder.name:
    raise DamagedCheckpointError(f"its position is of step {position.batch}")
  return position, digests


@functools.cache
def _warn_without_digests(path: pathlib.Path) -> None:
  """Says it once of a run."""
  logging.warning(
    "Checkpoints in %s were saved without digests, by an older version: they "
    "cannot be verified",
    path,
  )


class _Arrays:
  """The arrays of a saved state, read without Orbax.

  Orbax reads all of them in one event loop: when one fails, the others print
  tracebacks at some later time.
  """

  def __init__(self, folder: pathlib.Path):
    # tensorstore refuses paths with '..'.
    self._store = {
      "driver": "ocdbt",
      "base": {"driver": "file", "path": f"{folder.resolve() / 'state'}/"},
    }
    self._context = tensorstore.Context()
    store = tensorstore.KvStore.open(self._store, context=self._context)
    keys = [key.decode() for key in store.result().list().result()]
    self.paths = [
      key.removesuffix("/.zarray") for key in keys if key.endswith("/.zarray")
    ]

  def read(self, paths: Iterable[str]) -> list[np.ndarray]:
    """Arrays by their paths, as 'params.head.kernel'."""
    opening = [
      tensorstore.open(
        {
          "driver": "zarr",
          "kvstore": {**self._store, "path": f"{path}/"},
          "fill_missing_data_reads": False,
        },
        context=self._context,
        open=True,
        read=True,
      )
      for path in paths
    ]
    reading = [array.result().read() for array in opening]
    return [array.result() for array in reading]

  def read_nested(self, part: str) -> dict:
    """A part of the state that is a dict of dicts, perhaps of nothing."""
    paths = [path for path in self.paths if path.startswith(f"{part}.")]
    flat = {
      tuple(path.split(".")[1:]): array
      for path, array in zip(paths, self.read(paths), strict=True)
    }
    return flax.traverse_util.unflatten_dict(flat)


def _verify(parts: dict[str, Any], digests: dict[str, str] | None) -> None:
  """Compares parts of the state with their digests, where there are any."""
  for name, part in parts.items() if digests is not None else ():
    # A version before a field was added saved nothing of it.
    expected = digests.get(name) or state_lib.sha256({})
    if expected != state_lib.sha256(part):
      raise DamagedCheckpointError(f"its {name} is not what was saved")


def _placed_like(value: np.ndarray, like: jax.Array) -> jax.Array:
  if (value.shape, value.dtype) != (like.shape, like.dtype):
    raise DamagedCheckpointError(
      f"it has an array {value.dtype}{list(value.shape)} for "
      f"{like.dtype}{list(like.shape)}"
    )
  return jax.device_put(value, like.sharding)


def _parts(state: TrainState) -> dict[str, Any]:
  """The fields of the state by name."""
  return {
    field.name: getattr(state, field.name)
    for field in dataclasses.fields(state)
  }


@contextlib.contextmanager
def _reading(folder: pathlib.Path) -> Iterator[None]:
  """Tells damage from what the machine does not let be read."""
  try:
    yield
  except DamagedCheckpointError:
    raise
  except Exception as error:  # whatever tensorstore, JSON and Orbax raise
    reason = _one_line(error)
    if _is_of_the_machine(error) or not folder.parent.is_dir():
      raise RunError(
        f"checkpoint {str(folder)!r} could not be read and is left as it is "
        f"({reason}); the same command tries again"
      ) from None
    raise DamagedCheckpointError(reason) from None


def _one_line(error: Exception) -> str:
  """The kind of an error and its cause, which tensorstore says last."""
  text = " ".join(str(error).split(" [tensorstore_spec")[0].split())
  if len(text) > 200:
    text = f"{text[:40]} ... {text[-155:]}"
  return f"{type(error).__name__}: {text}"


def _is_of_the_machine(error: BaseException | None) -> bool:
  """Whether memory, rights or a device failed, here or in a cause."""
  if error is None:
    return False
  if isinstance(error, MemoryError):
    return True
  if isinstance(error, OSError) and error.errno not in _DAMAGE:
    return True
  text = str(error)
  if any(int(number) not in _DAMAGE for number in _OS_ERROR.findall(text)):
    return True
  return bool(_STATUS.search(text)) or any(
    _is_of_the_machine(cause)
    for cause in (
      error.__cause__,
      error.__context__,
      *getattr(error, "exceptions", ()),
    )
  )
