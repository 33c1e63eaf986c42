"""The shell commands in the pages exist and take their arguments."""

import re
import shlex

from mn_jax.config import overrides
from tests.test_docs import ROOT, TEXT


def commands() -> list[str]:
  """The lines of all shell blocks, continuations joined."""
  lines = []
  for text in TEXT.values():
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
      lines += block.replace("\\\n", " ").splitlines()
  return [line.split("#")[0].strip() for line in lines if line.strip()]


def test_make_targets_exist():
  for command in commands():
    if command.startswith("make "):
      target = shlex.split(command)[1]
      assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


def test_programs_and_their_arguments_exist():
  for command in commands():
    words = shlex.split(command)
    if "-m mn_jax" not in command:
      continue
    module = words[words.index("-m") + 1]
    assert (ROOT / f"{module.replace('.', '/')}.py").exists()
    for word in words:
      name, _, value = word.removeprefix("--").partition("=")
      if name == "config" and value.startswith("configs/"):
        assert (ROOT / value.partition(":")[0]).exists()
      elif name.startswith("config.") and "FIELD" not in name:
        overrides.parse(f"{name.removeprefix('config.')}={value}")
