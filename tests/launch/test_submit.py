import pytest

from mn_jax.errors import InputError
from mn_jax.launch import submit
from tests.launch import shells


def launch(**fields):
  given = {
    "file": "x.sh",
    "text": "hello\n",
    "command": ("engine", "--file={file}"),
    "needs": "engine",
    **fields,
  }
  return submit.Launch(**given)


@pytest.fixture
def engine(tmp_path, monkeypatch):
  programs = tmp_path / "bin"
  programs.mkdir()
  shells.program(
    programs / "engine",
    f'echo "$PWD $GIVEN $*" > {tmp_path}/called; exit "$CODE"',
  )
  monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
  monkeypatch.setenv("CODE", "0")
  monkeypatch.chdir(tmp_path)
  return tmp_path


def test_file_is_written_whole(tmp_path):
  path = submit.write(launch(), tmp_path / "a" / "b")
  assert path.read_text() == "hello\n"
  submit.write(launch(text="again\n"), tmp_path / "a" / "b")
  assert [p.name for p in path.parent.iterdir()] == ["x.sh"]
  assert path.read_text() == "again\n"


def test_file_that_cannot_be_written_is_one_line(tmp_path):
  (tmp_path / "file").touch()
  with pytest.raises(InputError, match="cannot be written"):
    submit.write(launch(), tmp_path / "file" / "a")


@pytest.mark.parametrize(
  ("inside", "where", "file"), [(False, ".", "out/x.sh"), (True, "out", "x.sh")]
)
def test_program_gets_the_file(engine, inside, where, file):
  made = launch(inside=inside, env=(("GIVEN", "a b"),))
  folder = engine / "out"
  submit.write(made, folder)
  assert submit.submit(made, folder) == 0
  called = (engine / "called").read_text().split(" ")
  assert called[0] == str((engine / where).resolve())
  assert called[1:3] == ["a", "b"]
  expected = file if inside else f"{engine}/{file}"
  assert called[3] == f"--file={expected}\n"


def test_its_exit_code_is_returned(engine, monkeypatch):
  monkeypatch.setenv("CODE", "3")
  submit.write(launch(), engine)
  assert submit.submit(launch(), engine) == 3


def test_without_the_program_the_command_is_told(tmp_path, monkeypatch):
  monkeypatch.setenv("PATH", str(tmp_path))
  made = launch(inside=True, env=(("GIVEN", "a b"),))
  with pytest.raises(InputError) as error:
    submit.submit(made, tmp_path / "my runs")
  assert str(error.value).startswith("engine: not on PATH")
  command = f"cd '{tmp_path}/my runs' && GIVEN='a b' engine --file=x.sh"
  assert command in str(error.value)
