"""The folder of a run: who may write to it, and which config it belongs to."""

import contextlib
import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import filelock

from mn_jax.config import Config
from mn_jax.config.experiment import result_fields
from mn_jax.data import atomic
from mn_jax.errors import InputError
from mn_jax.metrics.predictions import NamedPredictions


class Workdir:
  """A run's folder, held by this process until `close`.

  Attributes:
    path: the folder.
  """

  def __init__(self, path: pathlib.Path, *, first_process: bool):
    """Creates the folder and takes its lock.

    Args:
      path: the folder.
      first_process: of several processes of one run only the first locks.

    Raises:
      InputError: if it cannot be written or another run is using it.
    """
    self.path = path
    self._lock = filelock.FileLock(path / ".lock", blocking=False)
    try:
      path.mkdir(parents=True, exist_ok=True)
      if first_process:
        self._lock.acquire()
    except filelock.Timeout:
      raise InputError(
        f"--workdir: got {str(path)!r}, in which another process is training; "
        "valid: another folder, or this one once that process has ended"
      ) from None
    except OSError as error:
      raise InputError(
        f"--workdir: got {str(path)!r}, which cannot be written "
        f"({error.strerror}); valid: a folder you may create or write"
      ) from None

  def check_config(self, config: Config) -> None:
    """Refuses the folder of a run with another config.

    Raises:
      InputError: with the fields that differ.
    """
    saved = self.read_json("config.json", "result_fields")
    if saved is None:
      if any((self.path / "checkpoints").glob("*")):
        raise InputError(
          f"--workdir: got {str(self.path)!r}, which has checkpoints but no "
          "config.json to tell of what; valid: another folder"
        )
      return
    before = saved["result_fields"]
    now = plain(result_fields(config))
    differ = [
      f"{key}: {before.get(key)!r} there, {now.get(key)!r} now"
      for key in sorted(before.keys() | now.keys())
      if before.get(key) != now.get(key)
    ]
    if differ:
      raise InputError(
        f"--workdir: got {str(self.path)!r}, which belongs to another config "
        f"({'; '.join(differ)}); valid: another folder, or the same values"
      )

  def check_data(
    self, now: dict[str, str], before: dict[str, str] | None = None
  ) -> None:
    """Refuses to resume with other images than the run started with.

    Args:
      now: sha256 of 'split' and 'images'.
      before: those that a checkpoint was made with; None for those that
        `split.json` has.

    Raises:
      InputError: with both digests.
    """
    if before is None:
      saved = self.read_json("split.json", "sha256", "images_sha256")
      if saved is None:
        return
      before = {"split": saved["sha256"], "images": saved["images_sha256"]}
    check_digests(self.path, now, before)

  def check_weights(self, sha256: str) -> None:
    """Refuses to resume with other pretrained weights.

    Raises:
      InputError: with both digests.
    """
    saved = self.read_json("network.json", "weights")
    if saved is not None and saved["weights"]["sha256"] != sha256:
      raise InputError(
        f"model.weights: got a file with sha256 {sha256[:16]}, but "
        f"{str(self.path)!r} was started with "
        f"{saved['weights']['sha256'][:16]}; valid: the same file, or another "
        "--workdir"
      )

  def write_config(self, config: Config) -> None:
    """Writes `config.json`: all fields, and those that decide the numbers."""
    self.write_json(
      "config.json",
      {
        "config": dataclasses.asdict(config),
        "result_fields": result_fields(config),
      },
    )

  def read_json(self, name: str, *keys: str) -> dict[str, Any] | None:
    """A JSON object of the folder, or None if there is no such file.

    Args:
      name: of the file.
      keys: that it must have.

    Raises:
      InputError: if it is not what `write_json` wrote.
    """
    path = self.path / name
    if not path.exists():
      return None
    try:
      value = json.loads(path.read_text())
    except ValueError:
      value = None
    if not isinstance(value, dict) or not value.keys() >= set(keys):
      raise InputError(
        f"--workdir: got {str(self.path)!r}, whose {name} cannot be read; "
        "valid: another folder"
      )
    return value

  def write_json(self, name: str, value: dict[str, Any]) -> None:
    """Writes a JSON file at once or not at all."""
    atomic.write_json(self.path / name, value)

  def write_predictions(self, part: str, predictions: NamedPredictions) -> None:
    """Writes the predictions of the best checkpoint for a part of the split."""
    predictions.write(self.path / "predictions" / f"{part}.npz")

  def close(self) -> None:
    """Lets other processes use the folder; leaves none that is empty."""
    if self._lock.is_locked:
      (self.path / ".lock").unlink(missing_ok=True)
      self._lock.release()
      if not any(self.path.iterdir()):
        self.path.rmdir()


def of_seed(path: pathlib.Path, seed: int) -> pathlib.Path:
  """The folder of one of several seeds that share a folder."""
  return path / f"seed{seed}"


@contextlib.contextmanager
def opened(
  config: Config, path: pathlib.Path, *, first_process: bool
) -> Iterator[list[Workdir]]:
  """The folders of a config's runs, held: the workdir, or one per seed in it.

  Args:
    config: of the experiment.
    path: the workdir.
    first_process: as `Workdir` takes it.

  Raises:
    InputError: as `Workdir`, or if the workdir has one run where several are
      asked for, or several for one.
  """
  count = config.train.replicas
  if count == 1 and any(path.glob("seed*/config.json")):
    raise InputError(
      f"--workdir: got {str(path)!r}, whose folders are the runs of several "
      "seeds; valid: one of these, or another folder"
    )
  if count > 1 and (path / "config.json").exists():
    raise InputError(
      f"--workdir: got {str(path)!r}, which is the run of one seed, with "
      f"train.replicas {count}; valid: another folder, or train.replicas 1"
    )
  paths = [path]
  if count > 1:
    paths = [of_seed(path, config.seed + number) for number in range(count)]
  with contextlib.ExitStack() as stack:
    if count > 1 and first_process:
      stack.callback(_remove_empty, path)
    folders = []
    for path_of_seed in paths:
      folder = Workdir(path_of_seed, first_process=first_process)
      stack.callback(folder.close)
      folders.append(folder)
    yield folders


def _remove_empty(path: pathlib.Path) -> None:
  if path.is_dir() and not any(path.iterdir()):
    path.rmdir()


def read_object(path: pathlib.Path) -> dict[str, Any]:
  """A JSON object of a run's folder, which must be there.

  Raises:
    InputError: if it is missing or not what `Workdir.write_json` wrote.
  """
  try:
    value = json.loads(path.read_text())
  except (OSError, ValueError):
    value = None
  if not isinstance(value, dict):
    raise InputError(
      f"--workdir: got {str(path.parent)!r}, which has no {path.name} that can "
      "be read; valid: the folder of a run"
    )
  return value


def check_digests(
  path: pathlib.Path, now: dict[str, str], before: dict[str, str]
) -> None:
  """Refuses other images, or another split, than a run began with.

  Args:
    path: the run's folder.
    now, before: sha256 of 'split' and 'images'.

  Raises:
    InputError: with both digests.
  """
  for what, digest in now.items():
    if before[what] != digest:
      raise InputError(
        f"data: the sha256 of the {what} is {digest[:16]}, but {str(path)!r} "
        f"was started with {before[what][:16]}; valid: the same images, or "
        "another --workdir"
      )


def plain(values: dict[str, Any]) -> dict[str, Any]:
  """As JSON gives them back: tuples as lists."""
  return json.loads(json.dumps(values))
