"""What the documents promise exists: commands, files, fields, links."""

import collections
import contextlib
import json
import pathlib
import re
import shlex
import subprocess
import sys

import numpy as np
import pytest

from mn_jax.commandline import flags
from mn_jax.data import splits
from mn_jax.data.datasets import registry as datasets
from mn_jax.data.files import archive
from mn_jax.models import registry

ROOT = pathlib.Path(__file__).parents[1]
PAGES = [
  ROOT / name
  for name in (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "docs/data.md",
    "docs/design.md",
    "docs/models.md",
    "docs/playbooks.md",
    "docs/processes.md",
    "docs/benchmarks/README.md",
    "docs/benchmarks/scaling.md",
    "launch/README.md",
    "third_party/README.md",
  )
]
TEXT = {page.relative_to(ROOT).as_posix(): page.read_text() for page in PAGES}


def commands() -> list[str]:
  """The lines of all shell blocks, continuations joined."""
  found = []
  for text in TEXT.values():
    for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL):
      found += block.replace("\\\n", " ").splitlines()
  return [line.split("#")[0].strip() for line in found if line.strip()]


@pytest.mark.parametrize("page", TEXT)
def test_links_lead_somewhere(page):
  folder = (ROOT / page).parent
  for target in re.findall(r"\]\(([^)#]+)\)", TEXT[page]):
    if "://" not in target:
      assert (folder / target).exists(), target


@pytest.mark.parametrize("command", [c for c in commands() if "make " in c])
def test_make_targets_exist(command):
  target = shlex.split(command)[1]
  assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)


@pytest.mark.parametrize("command", [c for c in commands() if "-m mn_jax" in c])
def test_programs_and_their_arguments_exist(command):
  words = shlex.split(command)
  module = words[words.index("-m") + 1]
  assert (ROOT / f"{module.replace('.', '/')}.py").exists()
  for word in words:
    name, _, value = word.removeprefix("--").partition("=")
    if name == "config" and value.startswith("configs/"):
      assert (ROOT / value.partition(":")[0]).exists()
    elif name.startswith("config.") and "FIELD" not in name:
      flags.check_override(name.removeprefix("config."), value)


def test_fields_named_in_the_readme_exist():
  for name, value in re.findall(
    r"`--config\.(\S+?)=(\S+?)`", TEXT["README.md"]
  ):
    if value.isupper():  # a word that stands for a path
      value = "x"
    flags.check_override(name, value)


@pytest.mark.parametrize(
  "module",
  [
    "main",
    "tools.prepare",
    "tools.bench",
    "tools.fetch",
    "tools.predict",
    "tools.evaluate",
    "tools.saliency",
    "tools.embed",
    "tools.slide_map",
    "tools.study",
    "tools.crossval",
    "tools.leakcheck",
    "tools.report",
    "tools.sweep",
    "tools.launch",
    "tools.scaling",
  ],
)
def test_help_is_given(module):
  done = subprocess.run(
    [sys.executable, "-m", f"mn_jax.{module}", "--help"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    timeout=120,
    check=False,
  )
  assert "Traceback" not in done.stderr
  assert len(done.stdout) > 300


def test_no_placeholder_is_left():
  for page, text in TEXT.items():
    left = re.findall(r"\b(?:TODO|TBD|RESULTS|BENCH|TABLE)\d*\b", text)
    assert not left, page


@pytest.mark.parametrize(
  ("study", "metrics"),
  [
    ("idc", ("accuracy", "balanced_accuracy", "auroc")),
    ("chest_xray", ("accuracy", "balanced_accuracy", "specificity", "auroc")),
    ("eurosat", ("accuracy", "macro_auroc")),
  ],
)
def test_results_of_the_readme_are_those_of_the_reports(study, metrics):
  path = ROOT / "docs" / "results" / study / "report.json"
  rows = [
    [cell.strip() for cell in line.split("|")]
    for line in TEXT["README.md"].splitlines()
    if line.startswith("|")
  ]
  for member in json.loads(path.read_text())["members"]:
    found = [member["metrics"][name] for name in metrics]
    if not member["seeds"]:
      continue
    shown = {str(len(member["seeds"]))}
    for value in found:
      cell = f"{value['mean']:.3f}".removeprefix("0")
      if value["std"] is not None:
        cell += f" ± {value['std']:.3f}".replace("0.", ".")
      shown.add(cell)
    assert any(shown <= set(row) for row in rows), member["name"]


def test_results_of_transfer_are_the_means_of_the_runs():
  groups = collections.defaultdict(list)
  for path in (ROOT / "docs" / "results" / "transfer").glob("*.json"):
    groups[path.stem.partition("_seed")[0]].append(json.loads(path.read_text()))
  assert groups
  rows = [line.split("|") for line in TEXT["README.md"].splitlines()]
  for name, runs in groups.items():
    for metric in ("accuracy", "balanced_accuracy", "auroc"):
      key = f"test/{metric}"
      if key not in runs[0]:
        key = f"test/macro_{metric}"
      mean = np.mean([run[key] for run in runs])
      shown = f"{mean:.3f}".removeprefix("0")
      assert any(
        cell.strip().split(" ")[0].strip("*") == shown
        for row in rows
        for cell in row
      ), (name, metric, shown)


def test_the_table_of_networks_is_that_of_the_registry():
  rows = {
    line.split("|")[1].strip(" `"): line
    for line in TEXT["docs/models.md"].splitlines()
    if line.startswith("| `") and line.count("|") == 9
  }
  assert list(rows) == list(registry.MODELS)
  for name, spec in registry.MODELS.items():
    cells = [cell.strip() for cell in rows[name].split("|")]
    assert cells[2] == str(spec.conventions.resolution)
    assert cells[3] == f"{spec.params:,}"
    assert cells[5] == f"{spec.macs:,}"
    assert spec.paper in TEXT["docs/models.md"]


def _data_rows() -> dict[str, list[str]]:
  """Name -> cells of the table of data sets."""
  lines = TEXT["docs/data.md"].splitlines()
  rows = [line.split("|") for line in lines if line.startswith("| `")]
  return {
    row[1].strip(" `"): [cell.strip() for cell in row[2:-1]]
    for row in rows
    if len(row) == 10
  }


def test_the_table_of_data_sets_is_that_of_the_registry():
  rows = _data_rows()
  real = {
    name: spec
    for name, spec in datasets.DATASETS.items()
    if spec.generate is None
  }
  assert sorted(rows) == sorted(real)
  for name, spec in real.items():
    images, classes, pixels, group, split, sources, licence = rows[name]
    assert images == (f"{spec.images:,}" if spec.images else "yours")
    if spec.classes:
      assert classes == str(len(spec.classes))
    assert pixels == str(spec.image_size)
    assert group == (spec.group or "none known")
    assert split == spec.split
    assert sources == (", ".join(spec.sources()) or "your copy")
    assert licence == spec.licence
    assert f"### {name}\n" in TEXT["docs/data.md"]


def test_samples_are_named():
  for name, spec in datasets.DATASETS.items():
    if spec.generate is not None:
      assert f"`{name}`" in TEXT["docs/data.md"]


def test_the_split_of_all_of_eurosat():
  counts = dict.fromkeys(datasets.get("eurosat").classes, 3000)
  for name in ("Highway", "Industrial", "PermanentCrop", "River"):
    counts[name] = 2500
  counts["Pasture"] = 2000
  rows = sorted(
    (label, f"{name}/{name}_{number}.jpg")
    for label, (name, count) in enumerate(counts.items())
    for number in range(1, count + 1)
  )
  names = np.array([name for _, name in rows])
  labels = np.array([label for label, _ in rows], np.int32)
  assert len(names) == datasets.get("eurosat").images
  table = splits.Table(names, names, labels, np.full(len(names), ""))
  split = splits.make(splits.Rule("stratified"), table)
  assert f"`{split.sha256}`" in TEXT["docs/data.md"]


@pytest.mark.parametrize(
  ("name", "file", "kind"),
  [
    ("chest_xray", "chest-xray-pneumonia.zip", "fixed"),
    ("idc", "breast-histopathology-images.zip", "grouped"),
    ("eurosat", "EuroSAT.zip", "stratified"),
  ],
)
def test_splits_of_the_real_data(shared_data, name, file, kind):
  with contextlib.closing(archive.open_files(shared_data / file)) as files:
    listing = datasets.get(name).open(files).listing
  split = splits.make(
    splits.Rule(kind),
    splits.Table(listing.names, listing.groups, listing.labels, listing.parts),
  )
  assert split.sha256 in TEXT["docs/data.md"]


def test_every_file_of_the_package_is_on_the_map():
  design = TEXT["docs/design.md"]
  for path in (ROOT / "mn_jax").iterdir():
    if path.suffix == ".py" and path.stem != "__init__":
      assert f"  {path.name} " in design, path.name
    elif path.is_dir() and path.name != "__pycache__":
      assert f"  {path.name}/ " in design, path.name
