"""The shell commands in the pages: all are parsed, those that can be are run.

In the extended tier every command runs in a folder of its own, in the order of
the pages, shrunk to the embedded sample; but not what `NOT_RUN` lists.
"""

import contextlib
import faulthandler
import importlib
import itertools
import json
import pathlib
import re
import shlex
import shutil

import numpy as np
import pytest
from PIL import Image

from mn_jax.commandline.entry import COMMANDS
from mn_jax.commandline.parser import Parser
from mn_jax.config import files
from mn_jax.data.datasets import registry
from tests import programs
from tests.test_docs import ROOT, TEXT

# A command that is not run -> why. Its arguments are parsed all the same.
NOT_RUN = {
  r"tools\.bench": "takes minutes; tests/tools/test_bench.py runs small cases",
  r"tools\.scaling": "takes minutes; tests/tools/test_scaling_tool.py",
  r"tools\.(study|sweep|crossval)|mn-jax crossval": (
    "many runs; their tests run small ones"
  ),
  r"tools\.demo": "serves until it is stopped; tests/tools/test_demo.py",
  r"tools\.launch (?!.*--dry.run)": "starts a job on a cluster, or processes",
  r"tools\.prepare|tools\.fetch \w": "downloads, or takes the whole data set",
  r"weights=": "needs published weights",
  r"new_patients|new\.csv": "labelled images; tests/tools/test_evaluate_new.py",
  r"--conformal|--at-spec": "needs more groups; tests/tools/test_predict*.py",
  r"scans\.csv": "a table of patients; tests/test_story_patients.py",
  r"export .*--input-size=224": (
    "the run of the page on own images; tests/test_docs_serving.py exports one"
  ),
  r"runs/idc(?!_v1)": "needs the runs of a whole study",
  r"runs/eurosat_int8": "needs weights; tests/run/test_fake_quant_runs.py",
}
# Pages on own images: their commands are parsed, and the stories
# (tests/test_story_*.py) run such commands on images that can be learned.
STORIES = ("own_images", "evaluation", "multi_label", "trust")
# Not a program of this package -> why it is not run.
OTHERS = {
  r"make \w+": "its target is looked up in the Makefile",
  r"source \.venv/bin/activate|export \w+=": "sets up the shell",
  r"\S+/bin/(pip|pre-commit) |python3 -m venv": "installs packages",
  r"cp configs/\S+ \w+\.py$": "copies a file, as the test does",
  r"squeue|launch/slurm/one_node_cluster\.sh": "needs SLURM",
}
ENGINES = ("local", "slurm", "tpu_vm", "gke", "skypilot")
VERBS = ("measure", "plan", "report")
FOREIGN = {"--gpus-per-task", "--config"}  # of SLURM, and of overrides
SHRUNK = (
  "data.image_size=32",
  "model.width=0.25",
  "train.epochs=0",
  "train.steps=4",
  "train.batch_size=16",
  "optim.warmup_epochs=0",
  "eval.every_epochs=0",
  "eval.every_steps=2",
  "observe.log_every_steps=2",
)


def commands(page: str) -> list[str]:
  """The commands of a page's shell blocks, continuations joined."""
  lines = []
  for block in re.findall(r"```sh\n(.*?)```", TEXT[page], re.DOTALL):
    lines += block.replace("\\\n", " ").splitlines()
  lines = [re.sub(r"(^|\s)#.*|>.*", "", line).split() for line in lines]
  return [" ".join(line) for line in lines if line]


def program(command: str) -> tuple[str, list[str]] | None:
  """The module and the arguments of a command of this package."""
  words = shlex.split(command)
  if words[0] == "mn-jax":
    return f"mn_jax.{COMMANDS[words[1]][0]}", words[2:]
  if words[:2] == ["python", "-m"]:
    return words[2], words[3:]
  return None


class Parsed(BaseException):
  """Ends a program when its arguments have been parsed."""


def parse(monkeypatch, module: str, arguments: list[str]):
  """What a program reads from its arguments; it does nothing else."""
  real = Parser.parse

  def stop(self, argv):
    raise Parsed(real(self, argv))

  monkeypatch.setattr(Parser, "parse", stop)
  monkeypatch.setattr(faulthandler, "enable", lambda: None)  # needs a terminal
  with pytest.raises(Parsed) as caught:
    importlib.import_module(module).main(arguments)
  monkeypatch.undo()
  return caught.value.args[0]


@pytest.mark.parametrize("page", [page for page in TEXT if commands(page)])
def test_commands_are_parsed(page, monkeypatch, capsys):
  makefile = (ROOT / "Makefile").read_text()
  for command in commands(page):
    if program(command) is None:
      assert any(re.match(pattern, command) for pattern in OTHERS), command
      if command.startswith("make "):
        target = shlex.split(command)[1]
        assert re.search(rf"^{target}:", makefile, re.M), command
      continue
    if "ENGINE" in command:  # stands for any of them
      continue
    copied = command.replace("my_experiment.py", "configs/idc_v1.py")
    module, arguments = program(copied)
    if page.startswith("docs/results/"):  # one of many runs of a study
      arguments = [*arguments, "--workdir=DIR"]
    try:
      args = parse(monkeypatch, module, arguments)
    except pytest.fail.Exception:
      pytest.fail(f"{command}: {capsys.readouterr().err}")
    if getattr(args, "config", None):
      files.load_config(args.config, getattr(args, "overrides", ()))
    for kind in ("study", "sweep"):
      if getattr(args, kind, None):
        files.find(getattr(args, kind), f"get_{kind}")


def test_flags_named_in_the_pages_exist(capsys):
  for module, _ in COMMANDS.values():
    main = importlib.import_module(f"mn_jax.{module}").main
    nested = {"tools.launch": ENGINES, "tools.scaling": VERBS}
    for arguments in ([], *([name] for name in nested.get(module, ()))):
      with contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
  known = set(re.findall(r"--[\w-]+", capsys.readouterr().out))
  for page, text in TEXT.items():
    if page == "CHANGELOG.md":
      continue
    flags = set(re.findall(r"`(--[a-z][\w-]*)", text)) - FOREIGN
    assert flags <= known, (page, flags - known)


def _folder(path: pathlib.Path) -> None:
  """Makes what the commands name: images, and this project's files."""
  for name in ("configs", "docs"):
    (path / name).symlink_to(ROOT / name)
  shutil.copy(ROOT / "configs" / "idc_v1.py", path / "my_experiment.py")
  numbers = np.random.default_rng(0)
  folders = [
    f"{photos}/{name}"
    for photos in ("photos", "other_photos")
    for name in ("cat", "dog", "owl")
  ]
  for folder in [*folders, "new_photos", "patches"]:
    (path / folder).mkdir(parents=True)
    for number in range(20):
      pixels = numbers.integers(0, 256, (40, 40, 3), np.uint8)
      Image.fromarray(pixels).save(path / folder / f"{number}.png")
  _tables(path)


def _tables(path: pathlib.Path) -> None:
  """Makes tables of images: of patients with two each, of several labels."""
  numbers = np.random.default_rng(1)
  for table, folder in (("labels", "scans"), ("new_labels", "new_scans")):
    (path / folder).mkdir()
    rows = ["file,label,patient,site"]
    for patient, view in itertools.product(range(20), range(2)):
      name = f"{folder}/p{patient}_{view}.png"
      pixels = numbers.integers(0, 256, (40, 40, 3), np.uint8)
      Image.fromarray(pixels).save(path / name)
      label = ("normal", "tumour")[(patient + view) % 2]
      rows.append(f"{name},{label},p{patient},{('north', 'south')[view]}")
    (path / f"{table}.csv").write_text("\n".join(rows) + "\n")
  rows = ["path,label,patient,site,split"]
  for patient, view in itertools.product(range(20), range(2)):
    label = ("benign", "malignant")[(patient + view) % 2]
    part = ("train", "train", "test", "")[patient % 4]
    name = f"scans/p{patient}_{view}.png"
    rows.append(f"{name},{label},p{patient},Oslo,{part}")
  (path / "scans.csv").write_text("\n".join(rows) + "\n")
  rows = ["file,cat,dog"]
  for number in range(20):
    for name, cat, dog in (("cat", 1, number % 2), ("dog", number % 3 == 0, 1)):
      rows.append(f"photos/{name}/{number}.png,{int(cat)},{dog}")
    rows.append(f"photos/owl/{number}.png,0,0")
  (path / "pets.csv").write_text("\n".join(rows) + "\n")


def _shrink(module: str, arguments: list[str], folder: pathlib.Path) -> list:
  """The same command on the embedded sample, for seconds."""
  if module in ("mn_jax.main", "mn_jax.tools.look"):
    arguments = [*arguments, *SHRUNK]
  config = next((a for a in arguments if a.startswith("--config=")), "")
  if config and module in ("mn_jax.main", "mn_jax.tools.leakcheck"):
    with contextlib.chdir(folder):
      name = files.load_config(config.partition("=")[2]).data.name
    if f"{name}_sample" in registry.DATASETS:
      arguments = [*arguments, f"data.name={name}_sample"]
  if module == "mn_jax.tools.report":
    arguments = [*arguments, "--numbers"]
  if module == "mn_jax.tools.export":
    # So short a run answers by chance, and in 8 bits by another.
    arguments = [*arguments, "--force", "--turns=1"]
  if module == "mn_jax.tools.slide_map":
    split = json.loads((folder / "runs/idc_v1/split.json").read_text())
    arguments = [
      f"--group={split['groups']['test'][0]}" if "group" in word else word
      for word in arguments
    ]
  return arguments


@pytest.mark.extended
def test_commands_run(tmp_path, monkeypatch):
  monkeypatch.setenv("BROWSER", "true")
  monkeypatch.setenv("MN_JAX_CACHE", str(tmp_path / "cache"))
  _folder(tmp_path)
  done = set()
  for page in TEXT:
    for command in commands(page):
      skipped = any(re.search(pattern, command) for pattern in NOT_RUN)
      generated = page.startswith("docs/results/")
      skipped |= generated or pathlib.Path(page).stem in STORIES
      if program(command) is None or skipped or command in done:
        continue
      done.add(command)
      module, arguments = program(command)
      if "reproduction" in command:
        arguments = ["--reproduction=reproduction.md"]
      arguments = _shrink(module, arguments, tmp_path)
      ended = programs.run(module, *arguments, folder=tmp_path)
      # leakcheck ends with 1 where it finds something.
      assert ended.returncode <= (module == "mn_jax.tools.leakcheck"), (
        command,
        ended.stderr[-2000:],
      )
  assert len(done) > 10
