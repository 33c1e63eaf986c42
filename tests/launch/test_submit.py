"""Files for engines, handed to a stand-in for an engine's program."""

import os

import pytest

from mn_jax.errors import InputError
from mn_jax.launch import submit
from tests.launch import shells


def launch(inside=False):
  return submit.Launch(
    file="x.sh",
    text="hello\n",
    command=("engine", "--file={file}"),
    needs="engine",
    inside=inside,
    env=(("GIVEN", "a b"),),
  )


def test_file_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match="cannot be written"):
    submit.write(launch(), tmp_path / "file" / "a")


def test_program_gets_the_file_and_its_environment(tmp_path, monkeypatch):
  shells.program(tmp_path / "engine", f'echo "$GIVEN $*" > {tmp_path}/called')
  monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
  folder = tmp_path / "my runs"
  for inside, file in ((False, folder / "x.sh"), (True, "x.sh")):
    assert submit.write(launch(inside), folder).read_text() == "hello\n"
    assert submit.submit(launch(inside), folder) == 0
    assert (tmp_path / "called").read_text() == f"a b --file={file}\n"
  by_hand = launch(inside=True).by_hand(folder)
  assert by_hand == f"cd '{folder}' && GIVEN='a b' engine --file=x.sh"
