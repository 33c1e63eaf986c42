"""The files that install, pin and describe the project agree."""

import email
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile

import nbclient
import nbformat
import pytest
from packaging import requirements
from packaging import version as versions

import mn_jax

ROOT = pathlib.Path(__file__).parent.parent
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = (ROOT / "requirements.txt").read_text()
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
OFFLINE = ["--no-deps", "--no-build-isolation", "--no-index"]
LOCKED_EXTRAS = ("dev", "kaggle")


def _entries() -> list[str]:
  """The entries of requirements.txt, without comments, each on one line."""
  lines = [line for line in LOCK.splitlines() if not re.match(r"\s*#", line)]
  return "\n".join(lines).replace("\\\n", " ").strip().splitlines()


def _normalized(name: str) -> str:
  return re.sub(r"[-_.]+", "-", name).lower()


def _pins() -> dict[str, str]:
  pairs = (re.match(r"([\w.-]+)==([^\s;]+)", entry) for entry in _entries())
  return {_normalized(pair[1]): pair[2] for pair in pairs}


def _declared() -> list[requirements.Requirement]:
  project = PYPROJECT["project"]
  extras = project["optional-dependencies"]
  lines = [*project["dependencies"]]
  for extra in LOCKED_EXTRAS:
    lines += extras[extra]
  return [requirements.Requirement(line) for line in lines]


def test_every_locked_entry_is_pinned_and_hashed():
  entries = _entries()
  assert len(entries) > len(_declared())
  form = re.compile(
    r"[a-z0-9][\w.-]*==[\w.!]+( ; [^-]+?)?(\s+--hash=sha256:[0-9a-f]{64})+"
  )
  assert [entry for entry in entries if not form.fullmatch(entry)] == []
  assert len(_pins()) == len(entries)


def test_lock_says_nothing_of_where_it_was_made():
  for pattern in (
    r"[a-z+]+://",  # an address
    r"^\s*(-e|-f|-i|--(?!hash=))",  # an option
    r"(^|[\s'\"=@])(~|\.{0,2})/\w",  # a path
    r"==[^\s;]*\+",  # a local version
    r"\s@\s",  # a direct reference
    r"\b[\w-]+\.(com|dev|io|net|org)\b",  # a host
  ):
    found = [
      line
      for line in LOCK.splitlines()
      if re.search(pattern, line, re.IGNORECASE)
    ]
    assert found == []


def test_versions_are_valid_and_pins_fit_the_dependencies():
  for requirement in _declared():
    pin = _pins()[_normalized(requirement.name)]
    assert requirement.specifier.contains(pin, prereleases=True)
  attribute = PYPROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"]
  assert attribute == "mn_jax.__version__"
  assert str(versions.Version(mn_jax.__version__)) == mn_jax.__version__


def test_makefile_has_the_commands_and_one_set_up():
  text = (ROOT / "Makefile").read_text()
  rules = dict(re.findall(r"^([a-z]+):(.*?)(?:##.*)?$", text, re.MULTILINE))
  for target in ("train", "test", "lint"):
    assert rules[target].split() == ["$(STAMP)"]
  assert rules["setup"].split() == ["$(STAMP)", "$(PROGRAM)"]
  assert "mn-jax" in PYPROJECT["project"]["scripts"]
  assert re.search(r"^PROGRAM := .*/mn-jax$", text, re.MULTILINE)
  phony = re.search(r"^\.PHONY:(.*)$", text, re.MULTILINE)[1].split()
  assert set(rules) <= set(phony)
  assert PYPROJECT["project"]["requires-python"] == ">=3.12"
  assert "(3, 12) <= v" in text
  assert (ROOT / ".python-version").read_text().strip() == "3.12"


def test_ci_script_is_executable_and_the_licence_complete():
  script = ROOT / ".ci" / "run"
  assert os.access(script, os.X_OK)
  text = script.read_text()
  assert text.startswith("#!/usr/bin/env bash\n")
  assert "\nset -euo pipefail\n" in text
  subprocess.run(["bash", "-n", script], check=True)
  licence = (ROOT / "LICENSE").read_text()
  assert PYPROJECT["project"]["license"] == "Apache-2.0"
  assert "Version 2.0, January 2004" in licence
  assert "END OF TERMS AND CONDITIONS" in licence


def test_artefacts_are_described_and_pinned():
  manifest = ROOT / "third_party" / "manifest.json"
  artefacts = json.loads(manifest.read_text())["artefacts"]
  page = (ROOT / "third_party" / "README.md").read_text()
  names = [artefact["name"] for artefact in artefacts]
  assert len(set(names)) == len(names)
  for artefact in artefacts:
    assert set(artefact) == {
      *("name", "title", "kind", "version", "origin", "handle", "upstream"),
      *("licence", "licence_note", "sha256", "sha256_reason", "contents"),
      *("stored", "citations"),
    }
    for field in ("name", "title", "kind", "version", "contents", "stored"):
      assert artefact[field], field
    assert f"`{artefact['name']}`" in page
    assert re.match(r"https?://", artefact["origin"])
    assert artefact["licence"] or artefact["licence_note"]
    if artefact["sha256"] is None:
      assert artefact["sha256_reason"]
    else:
      assert re.fullmatch(r"[0-9a-f]{64}", artefact["sha256"])
    assert all("doi:" in citation for citation in artefact["citations"])
  handles = [a["handle"] for a in artefacts if a["handle"]]
  assert handles
  for handle in handles:
    assert re.fullmatch(r"[\w-]+/[\w-]+/versions/\d+", handle)


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> list[pathlib.Path]:
  """The wheel and the source distribution, built without a network."""
  if importlib.util.find_spec("pip") is None:
    pytest.skip("this environment was made by uv, without pip")
  source = tmp_path_factory.mktemp("source")
  output = tmp_path_factory.mktemp("dist")
  hidden = shutil.ignore_patterns("__pycache__")
  for folder in ("mn_jax", "configs"):
    shutil.copytree(ROOT / folder, source / folder, ignore=hidden)
  for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
    shutil.copy(ROOT / name, source)
  sdist = (
    "import sys; from setuptools import build_meta; "
    "build_meta.build_sdist(sys.argv[1])"
  )
  for command in (
    [*PIP, "wheel", *OFFLINE, f"--wheel-dir={output}", "."],
    [sys.executable, "-c", sdist, output],
  ):
    subprocess.run(command, cwd=source, check=True, stdout=subprocess.DEVNULL)
  (wheel,), (archive,) = output.glob("*.whl"), output.glob("*.tar.gz")
  return [wheel, archive]


@pytest.fixture(scope="module")
def python(built, tmp_path_factory) -> pathlib.Path:
  """The Python of a fresh environment in which the wheel is installed.

  What it depends on is that of this environment, behind its own packages.
  """
  folder = tmp_path_factory.mktemp("fresh") / "venv"
  venv.create(folder, symlinks=True)
  python = folder / "bin" / "python"
  wheel = [str(built[0]), "--no-warn-script-location"]
  subprocess.run(
    [*PIP, f"--python={python}", "install", *OFFLINE[::2], *wheel],
    check=True,
  )
  ours = sysconfig.get_path("purelib")
  (packages,) = folder.glob("lib/*/site-packages")
  (packages / "dependencies.pth").write_text(f"{ours}\n")
  return python


@pytest.mark.extended
def test_distributions_have_all_that_is_needed(built):
  wheel, archive = built
  with tarfile.open(archive) as packed_files:
    packed = {name.partition("/")[2] for name in packed_files.getnames()}
  with zipfile.ZipFile(wheel) as files:
    names = set(files.namelist())
    (information,) = (name for name in names if name.endswith("/METADATA"))
    metadata = email.message_from_bytes(files.read(information))
  for folder in ("mn_jax", "configs"):
    for path in (ROOT / folder).rglob("*"):
      if path.is_file() and "__pycache__" not in path.parts:
        name = path.relative_to(ROOT).as_posix()
        assert name in packed
        assert name.replace("configs/", "mn_jax/configs/", 1) in names, name
  assert "mn_jax/py.typed" in names
  assert not [n for n in names if not n.startswith(("mn_jax/", "mn_jax-"))]
  extras = PYPROJECT["project"]["optional-dependencies"]
  assert set(metadata.get_all("Provides-Extra")) == set(extras)
  assert metadata["Description-Content-Type"] == "text/markdown"
  assert metadata["License-Expression"] == "Apache-2.0"
  needed = {
    _normalized(requirements.Requirement(line).name)
    for line in metadata.get_all("Requires-Dist")
    if "extra ==" not in line
  }
  assert not needed & {"flatbuffers", "huggingface-hub", "pyarrow", "keras"}


@pytest.mark.extended
def test_an_installed_wheel_trains_without_the_checkout(python, tmp_path):
  environment = {**os.environ}
  environment.pop("PYTHONPATH", None)

  def run(*arguments):
    return subprocess.run(
      [python.with_name("mn-jax"), *arguments],
      cwd=tmp_path,
      env=environment,
      capture_output=True,
      text=True,
      timeout=300,
      check=False,
    )

  done = run(
    *("train", "--config=idc_v1:test", "--workdir=run"),
    *("data.image_size=16", "model.name=simple_cnn", "train.epochs=1"),
  )
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "run" / "summary.json").is_file()
  # Each is found in the package, and asked for a run that there is not.
  for name, command in (("idc", "study"), ("idc_v2_random", "sweep")):
    done = run(command, name, "--index=999")
    assert "--index: got 999; valid: 0 to " in done.stderr
  done = run("report", "run", "--numbers")
  assert done.returncode == 0, done.stderr
  assert (tmp_path / "run" / "report" / "report.html").is_file()


def _kinds(cell: nbformat.NotebookNode) -> list[str]:
  """The outputs of a cell: what they are, without bars that are gone."""
  return [
    output.get("name", output.output_type)
    for output in cell.get("outputs", ())
    if output.get("data", {}).get("text/plain") != ""
  ]


@pytest.mark.extended
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the kernel's pipes
def test_the_notebook_runs_with_an_installed_wheel(
  python, tmp_path, monkeypatch
):
  kernel = tmp_path / "kernels" / "fresh"
  kernel.mkdir(parents=True)
  arguments = ["-m", "ipykernel_launcher", "-f", "{connection_file}"]
  description = {
    "argv": [str(python), *arguments],
    "display_name": "fresh",
    "language": "python",
  }
  (kernel / "kernel.json").write_text(json.dumps(description))
  monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
  monkeypatch.delenv("PYTHONPATH", raising=False)
  page = nbformat.read(ROOT / "docs" / "quickstart.ipynb", as_version=4)
  nbformat.validate(page)
  shown = [_kinds(cell) for cell in page.cells]
  home = tmp_path / "home"
  home.mkdir()
  page.cells.append(
    nbformat.v4.new_code_cell(
      "print(mn_jax.__file__)\nprint(result.intervals['accuracy'].value)"
    )
  )
  executed = nbclient.NotebookClient(
    page,
    timeout=500,
    kernel_name="fresh",
    coalesce_streams=True,
    resources={"metadata": {"path": str(home)}},
  ).execute()
  *cells, last = executed.cells
  assert [_kinds(cell) for cell in cells] == shown
  place, accuracy = last.outputs[0].text.split()
  assert python.parents[1] in pathlib.Path(place).parents
  # Three classes; what a run gets depends on the machine.
  assert float(accuracy) > 0.6
