"""Writes the file of an engine and hands it to the engine's own program."""

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
  """The file of a job, and the command that submits it.

  Attributes:
    file: name of the file.
    text: content of the file.
    command: command that submits it; '{file}' stands for the file's path.
    needs: program that has to be installed for that.
    folder: folder that the file is written to.
    inside: whether the command is run in that folder.
    env: (variable, value) of the command's environment.
  """

  file: str
  text: str
  command: tuple[str, ...]
  needs: str
  folder: str = "runs/launch"
  inside: bool = False
  env: tuple[tuple[str, str], ...] = ()

  def words(self, folder: pathlib.Path) -> list[str]:
    """Returns the command for a file in this folder."""
    path = self.file if self.inside else str(folder / self.file)
    return [word.replace("{file}", path) for word in self.command]

  def by_hand(self, folder: pathlib.Path) -> str:
    """Returns the command as a line for a shell."""
    line = shlex.join(self.words(folder))
    env = "".join(f"{key}={shlex.quote(value)} " for key, value in self.env)
    cd = f"cd {shlex.quote(str(folder))} && " if self.inside else ""
    return f"{cd}{env}{line}"


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
  """Submits a file that was written; returns the program's exit code.

  Raises:
    InputError: if the program is not installed; it names the command to run by
      hand.
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
