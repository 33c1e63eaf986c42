"""The folder of a run: who may write to it, and which config it belongs to."""

import contextlib
import dataclasses
import os
import pathlib
import re
from collections.abc import Iterator
from typing import Any

import filelock

from mn_jax.config import Config, changes
from mn_jax.config.experiment import result_fields
from mn_jax.config.sections.data import DataConfig
from mn_jax.data import decode, manifest, store
from mn_jax.data.files import table
from mn_jax.errors import InputError, RunError
from mn_jax.metrics.predictions import NamedPredictions
from mn_jax.run import records

# Patterns, backslashes, what is no text, and a colon behind a name.
_UNSAFE = re.compile(r"[*?\[\]\\\ud800-\udfff]|:(?=/|$)")
# What else a run that has ended has.
_OTHERS = (
  "parameters.txt",
  "metrics.jsonl",
  "predictions/val.npz",
  "predictions/test.npz",
)
# What a run is started with -> the field that errors name, and what else it is.
_DIGESTS = {
  "images": ("data", "other images"),
  "labels": ("data", "other labels"),
  "split": ("data", "another split"),
  "weights": ("model.weights", "other weights"),
  "teacher": ("train.teacher", "another teacher"),
}


class Workdir:
  """A run's folder, held by this process until `close`.

  Attributes:
    path: the folder.
    changes: fields whose values are not those of the run so far.
    config_is_lost: whether there are checkpoints, but nothing that tells their
      config.
  """

  def __init__(self, path: pathlib.Path, *, first_process: bool):
    """Creates the folder and takes its lock.

    Args:
      path: the folder.
      first_process: of several processes of one run only the first locks.

    Raises:
      InputError: if it cannot be written, another run is using it, or
        checkpoints cannot be saved below such a name.
    """
    _check_name(path)
    self.path = path
    self.changes: changes.Changes = {}
    self.config_is_lost = False
    self._history: list[dict[str, Any]] = []
    self._lock = filelock.FileLock(path / ".lock", blocking=False)
    try:
      path.mkdir(parents=True, exist_ok=True)
      if first_process:
        self._lock.acquire()
        # As long as the lock is held, no other file can be the same.
        self._lock_file = (path / ".lock").stat()
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

  def check_there(self) -> None:
    """Ends a run whose folder is gone, or another one of the same name.

    What it wrote from then on would be without what it wrote before.

    Raises:
      RunError: if it was removed, moved or unmounted.
    """
    if self._lock.is_locked and not self._is_there():
      raise RunError(
        f"{self.path} was removed, moved or unmounted while the run wrote to "
        "it; the same command resumes once it is back"
      )

  def _is_there(self) -> bool:
    try:
      return os.path.samestat((self.path / ".lock").stat(), self._lock_file)
    except OSError:
      return False

  def check_config(self, config: Config, *, same: bool = False) -> None:
    """Compares a config with the one that the run has so far.

    Args:
      config: of the run from now on.
      same: whether not even that may differ which a resumed run may change.

    Raises:
      InputError: with the fields that differ and may not.
    """
    path = self.path / "config.json"
    try:
      saved = records.read_object(path, records.CONFIG)
    except records.DamagedError:
      self.config_is_lost = self.has_checkpoints()
      if not self.config_is_lost and (self.path / "summary.json").exists():
        raise
      return
    self.changes = changes.compare(saved["config"], config)
    self._history = saved.get("history", [])
    results = saved.get("result_fields", self.changes)
    if reasons := changes.refused(self.changes, config, results, same=same):
      raise InputError(
        f"--workdir: got {str(self.path)!r}, which belongs to another config "
        f"({'; '.join(reasons)}); valid: another folder, or the same values"
      )

  def check_origin(self, now: dict[str, str], before: dict[str, str]) -> None:
    """Refuses to resume with something else than the run was started with.

    Args:
      now: sha256 of 'split', 'images', 'labels', 'weights', 'teacher' and
        'config'; '' for what there is not.
      before: those that a checkpoint has.

    Raises:
      InputError: with both digests, or if no config is left to compare with.
    """
    check_digests(self.path, now, before)
    teaches, taught = (bool(x.get("teacher")) for x in (now, before))
    if teaches != taught:
      raise InputError(
        f"train.teacher: got {'one' if teaches else 'none'}, but "
        f"{str(self.path)!r} was started with {'one' if taught else 'none'}; "
        "valid: as it was started, or another --workdir"
      )
    if self.config_is_lost and now["config"] != before.get("config"):
      raise InputError(
        f"--workdir: got {str(self.path)!r}, which has checkpoints of another "
        "config, or of one that is not known, and no config.json that can be "
        "read; valid: another folder, or the values that the run was started "
        "with"
      )

  def has_checkpoints(self) -> bool:
    """Whether there is anything to resume from."""
    return any((self.path / "checkpoints").glob("*"))

  def summary(self) -> dict[str, Any] | None:
    """The results of the run; None if something is left to do.

    Raises:
      DamagedError: if the run has ended, but not all of its files are there.
    """
    # The content of another path is compared when the run resumes.
    more_to_train = self.config_is_lost or any(
      path in self.changes for path in (*changes.EXTENDING, changes.TEACHER)
    )
    if more_to_train or not (self.path / "summary.json").exists():
      return None
    if self.has_checkpoints():  # from which the others can be made again
      for name, fields in (
        ("split.json", records.SPLIT),
        ("network.json", records.NETWORK),
      ):
        records.read_object(self.path / name, fields)
      for name in _OTHERS:
        if not (self.path / name).exists():
          raise records.DamagedError(self.path, name, "it is not there")
    summary = records.read_summary(self.path)
    # A run of an earlier version has no reference, and needs none.
    lacks = not (self.path / "reference.npz").exists()
    if self.has_checkpoints() and "reference_images" in summary and lacks:
      raise records.DamagedError(self.path, "reference.npz", "it is not there")
    return summary

  def write_config(self, config: Config, step: int) -> None:
    """Writes `config.json`: all fields, and those that decide the numbers.

    Args:
      config: of the run from now on.
      step: from which it trains; what was changed there is kept beside it.
    """
    history = [
      {**entry, "step": min(entry["step"], step)} for entry in self._history
    ]
    if self.changes:
      history.append({"step": step, "fields": self.changes})
    self.write_json(
      "config.json",
      {
        "config": dataclasses.asdict(config),
        "result_fields": result_fields(config),
        "history": history if step else [],
      },
    )

  def write_json(self, name: str, value: dict[str, Any]) -> None:
    """Writes a JSON file at once or not at all; see `read_object`."""
    records.write_object(self.path / name, value)

  def write_predictions(self, part: str, predictions: NamedPredictions) -> None:
    """Writes the predictions of the best checkpoint for a part of the split."""
    predictions.write(self.path / "predictions" / f"{part}.npz")

  def close(self) -> None:
    """Lets other processes use the folder; leaves none that is empty."""
    if self._lock.is_locked:
      there = self._is_there()
      if there:
        (self.path / ".lock").unlink()
      self._lock.release()
      if there and not any(self.path.iterdir()):
        self.path.rmdir()


def of_seed(path: pathlib.Path, seed: int) -> pathlib.Path:
  """The folder of one of several seeds that share a folder."""
  return path / f"seed{seed}"


def weights_revision(path: pathlib.Path, weights: str) -> str:
  """Returns the commit of the hub that a run's weights are of.

  Args:
    path: the run's folder, or that of several seeds, which may not exist yet.
    weights: `model.weights` of the run.

  Returns:
    The commit with which the run started, or '' if it has not, or its weights
    are not from the hub.
  """
  for folder in (path, *sorted(path.glob("seed*"))):
    with contextlib.suppress(InputError):
      described = records.read_object(folder / "network.json", records.NETWORK)
      origin = described.get("weights") or {}
      if origin.get("name") == weights:
        return str(origin.get("revision", ""))
  return ""


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
    InputError: as `Workdir`, or if the workdir is a folder of the images, or
      has one run where several are asked for, or several for one.
    RunError: in place of any error in the `with` block, as `check_there`.
  """
  _check_place(config.data, path)
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
    try:
      yield folders
    except Exception:
      for folder in folders:
        folder.check_there()  # if not, that is the reason
      raise


def _check_place(section: DataConfig, path: pathlib.Path) -> None:
  """Refuses a workdir that is the folder of the images, or one of its classes.

  Below it another is fine: the files of runs are passed over.
  """
  prepared = manifest.read(section.name, store.cache_root(section.cache_dir))
  source = section.path or (prepared or {}).get("path", "")
  if not source or any(path.glob("config.json")):
    return
  folder, workdir = (
    pathlib.Path(p).expanduser().resolve() for p in (source, path)
  )
  if table.is_table(folder):
    folder = pathlib.Path(section.root or folder.parent).expanduser().resolve()
  is_below = folder in workdir.parents and not any(
    path.glob("seed*/config.json")
  )
  if workdir == folder or (
    is_below
    and any(f.suffix.lower() in decode.SUFFIXES for f in path.rglob("*"))
  ):
    raise InputError(
      f"--workdir: got {str(path)!r}, a folder of the images in {source!r}; "
      "valid: another folder"
    )


def _check_name(path: pathlib.Path) -> None:
  """Refuses a folder in which checkpoints would be lost.

  Orbax looks for their files by patterns, and tensorstore writes them elsewhere
  where a name has a backslash.
  """
  whole = str(path.absolute())
  if found := _UNSAFE.search(whole):
    raise InputError(
      f"--workdir: got {whole!r}, where no checkpoint can be saved, because of "
      f"{found[0]!r}; valid: a path in UTF-8 without * ? [ ] and backslashes, "
      "and without names that end in a colon"
    )


def _remove_empty(path: pathlib.Path) -> None:
  if path.is_dir() and not any(path.iterdir()):
    path.rmdir()


def check_data(path: pathlib.Path, now: dict[str, str]) -> None:
  """Refuses other images or labels than a run started with, by `split.json`.

  What is not in that file any more, `Workdir.check_origin` compares later.

  Args:
    path: the run's folder.
    now: sha256 of 'split', 'images' and 'labels'.

  Raises:
    InputError: with both digests.
  """
  try:
    saved = records.read_object(path / "split.json", records.SPLIT)
  except records.DamagedError:
    return
  before = {
    "split": saved["sha256"],
    "images": saved["images_sha256"],
    "labels": saved.get("labels_sha256", ""),  # not in earlier versions
  }
  check_digests(path, now, before)


def check_digests(
  path: pathlib.Path, now: dict[str, str], before: dict[str, str]
) -> None:
  """Refuses other images, another split or other weights than a run's own.

  Args:
    path: the run's folder.
    now, before: sha256 of 'split', 'images', 'labels', 'weights' and 'teacher',
      of which each may lack some.

  Raises:
    InputError: with both digests.
  """
  for what, (field, other) in _DIGESTS.items():
    digest, expected = now.get(what), before.get(what)
    if digest and expected and digest != expected:
      raise InputError(
        f"{field}: got {other} than {str(path)!r} was started with (sha256 "
        f"{digest[:16]}, not {expected[:16]}); valid: the same {what}, or "
        "another --workdir"
      )
