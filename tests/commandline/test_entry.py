"""Every program: `mn-jax COMMAND --help`, and what is wrong in one line."""

import importlib
import pathlib
import subprocess
import sys

import pytest

from mn_jax.commandline import entry

ROOT = pathlib.Path(__file__).parents[2]
# Programs with commands of their own.
NESTED = {
  "launch": ("local", "slurm", "tpu_vm", "gke", "skypilot"),
  "scaling": ("measure", "plan", "report"),
}


def test_every_program_has_a_command():
  modules = {f"mn_jax.{module}" for module, _ in entry.COMMANDS.values()}
  tools = (ROOT / "mn_jax" / "tools").glob("*.py")
  expected = {
    f"mn_jax.tools.{path.stem}" for path in tools if path.stem != "__init__"
  }
  assert modules == expected | {"mn_jax.main"}


def test_every_help_fits_and_starts_with_an_example(capsys, monkeypatch):
  monkeypatch.setattr(sys, "argv", ["mn-jax"])
  for name in entry.COMMANDS:
    for line in ([name], *([name, inner] for inner in NESTED.get(name, ()))):
      with pytest.raises(SystemExit) as end:
        entry.main([*line, "--help"])
      assert end.value.code == 0
      lines = capsys.readouterr().out.splitlines()
      assert lines[0] == "example:"
      assert lines[1].startswith(f"  mn-jax {' '.join(line)} ")
      assert lines[lines.index("") + 1].startswith("usage: mn-jax ")
      assert len(lines) > 10
      assert max(map(len, lines)) <= 80
      assert not any("_" in flag for flag in _flags(lines))


def _flags(lines):
  words = (word for line in lines for word in line.split())
  return {word.split("=")[0] for word in words if word.startswith("--")}


def test_the_example_of_every_program_can_be_parsed():
  for module, _ in entry.COMMANDS.values():
    parser = importlib.import_module(f"mn_jax.{module}")._parser()
    example = parser.format_help().partition("\n\n")[0].replace("\\\n", " ")
    words = example.removeprefix("example:").split()
    assert words[:2] == ["python", "-m"]
    parser.parse(words[3:])


def test_the_list_of_commands_needs_no_jax():
  line = (
    "import sys; from mn_jax.commandline import entry; entry.main([]); "
    "print([m for m in sys.modules if m == 'jax'])"
  )
  done = subprocess.run(
    [sys.executable, "-c", line],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
  )
  lines = done.stdout.splitlines()
  assert lines[-1] == "[]"
  # What a new user came for is what is shown first.
  shown = [line.split()[1] for line in lines if line.startswith("  mn-jax ")]
  assert shown[:3] == ["look", "train", "predict"]
  assert max(map(len, lines)) <= 80
  for name in entry.COMMANDS:
    assert any(text.split()[:1] == [name] for text in lines)


def test_an_unknown_command_is_one_line(capsys):
  assert entry.main(["fly"]) == 2
  out, err = capsys.readouterr()
  assert out == ""
  assert err.startswith("mn-jax: got 'fly'; valid: look, train, ")
  assert err.count("\n") == 1
