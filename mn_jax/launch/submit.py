"""A file for an engine, and the engine's own program that takes it."""

import dataclasses
import os
import pathlib
import shlex
import shutil
import subprocess

from mn_jax.data import atomic
from mn_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Launch:
  """What is written, and what is run then.

  Attributes:
    file: name of the file.
    text: what is in it.
    command: that starts it; '{file}' stands for the file's path.
    needs: program without which it cannot be.
    folder: where the file is written.
    inside: whether the command is run in the file's folder.
    env: (variable, value) for the command.
  """

  file: str
  text: str
  command: tuple[str, ...]
  needs: str
  folder: str = "runs/launch"
  inside: bool = False
  env: tuple[tuple[str, str], ...] = ()

  def words(self, folder: pathlib.Path) -> list[str]:
    """The command, once the file is in the folder."""
    place = self.file if self.inside else str(folder / self.file)
    return [word.replace("{file}", place) for word in self.command]

  def by_hand(self, folder: pathlib.Path) -> str:
    """The same as a line for a shell."""
    line = shlex.join(self.words(folder))
    given = "".join(f"{key}={shlex.quote(value)} " for key, value in self.env)
    there = f"cd {shlex.quote(str(folder))} && " if self.inside else ""
    return f"{there}{given}{line}"


def write(launch: Launch, folder: pathlib.Path) -> pathlib.Path:
  """Writes the file; returns its path.

  Raises:
    InputError: if it cannot be written.
  """
  path = folder / launch.file
  try:
    atomic.write_text(path, launch.text)
  except OSError as error:
    raise InputError(
      f"got {str(path)!r}, which cannot be written ({error.strerror}); valid: "
      "a folder you may create or write"
    ) from None
  return path


def submit(launch: Launch, folder: pathlib.Path) -> int:
  """Starts what `write` has written; returns the program's exit code.

  Raises:
    InputError: if the program is not installed; says what to run by hand.
  """
  if shutil.which(launch.needs) is None:
    raise InputError(
      f"{launch.needs}: not on PATH, so {folder / launch.file} is written but "
      f"not started; valid: where it is installed, `{launch.by_hand(folder)}`"
    )
  done = subprocess.run(
    launch.words(folder),
    cwd=folder if launch.inside else None,
    env={**os.environ, **dict(launch.env)},
    check=False,
  )
  return done.returncode
