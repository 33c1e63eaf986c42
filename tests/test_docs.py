"""What the pages promise exists: links, fields, numbers, tables, wording."""

import collections
import contextlib
import json
import pathlib
import re

import numpy as np
import pytest

from mn_jax.config import overrides
from mn_jax.data import splits
from mn_jax.data.datasets import registry as datasets
from mn_jax.data.files import archive
from mn_jax.models import registry
from tests import config_page

ROOT = pathlib.Path(__file__).parents[1]
TEXT = {
  path.relative_to(ROOT).as_posix(): path.read_text()
  for path in sorted(
    [
      *ROOT.glob("*.md"),
      *(ROOT / "docs").rglob("*.md"),
      *(ROOT / "launch").rglob("*.md"),
      *(ROOT / "third_party").rglob("*.md"),
    ]
  )
}
# Not the words of the field, or not idiomatic -> what to write instead.
WORDS = {
  r"\bdrawn\b": "from scratch, randomly initialised, generated",
  r"commonest": "majority class, most common",
  r"\banswers? with\b|constant answer": "predicts",
  r"surest": "most confident errors",
  r"\bmend(?:s|ed|ing)?\b": "fixed",
  r"\b(?:goes|went|go|going|gone) on\b": "resumes, continues",
  r"\b(?:was|were|are|is) begun\b|begun": "started",
  r"the study's setting|the study that": "the paper by name",
  r"\bthe sources?'s?\b|\bthe sources? (?:of|print|report)": (
    "the paper by name"
  ),
  r"\bupside\b": "no canonical orientation",
  r"\bby image\b": "random split, stratified",
  r"\bby[- ]groups?\b": "per group",
  r"\btexts\b": "strings",
  r"\d less \w|\w less V\d": "minus",
  r"\bat hand\b": "available",
  r"\bheeds?\b": "respects, is per",
  r"\bso many\b": "this many",
  r"\bsqueezed?\b(?!-)": "resized to the square",
  r"what came of|what a run is made of": "results of a study, set-up of a run",
  r"\bto the bit\b": "bit for bit",
}


@pytest.mark.parametrize("page", TEXT)
def test_words_are_those_of_the_field(page):
  text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", TEXT[page], flags=re.S)
  text = " ".join(text.split())
  for pattern, instead in WORDS.items():
    match = re.search(rf".{{0,40}}(?:{pattern}).{{0,20}}", text, re.I)
    assert not match, f"{match[0]!r}; write: {instead}"


def anchors(text: str) -> set[str]:
  """The anchors of a page's headings, as GitHub makes them."""
  return {
    re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
    for heading in re.findall(r"^#+ (.*)$", text, re.M)
  }


@pytest.mark.parametrize("page", TEXT)
def test_links_lead_somewhere(page):
  for target in re.findall(r"\]\(([^)]+)\)", TEXT[page]):
    path, _, anchor = target.partition("#")
    if "://" in target:
      continue
    file = ((ROOT / page).parent / path) if path else ROOT / page
    assert file.exists(), target
    if anchor:
      assert anchor in anchors(file.read_text()), target


def test_every_page_is_in_the_index():
  index = (ROOT / "docs").glob("*.md")
  linked = set(re.findall(r"\]\(([^)#]+)\)", TEXT["docs/README.md"]))
  assert {path.name for path in index} - {"README.md"} <= linked


def test_the_readme_is_short():
  assert len(TEXT["README.md"].encode()) <= 8000


def test_fields_named_in_the_pages_exist():
  for text in TEXT.values():
    for name, value in re.findall(r"`--config\.([a-z]\S+?)=(\S+?)`", text):
      if not value.isupper():  # a word that stands for a value
        overrides.parse(f"{name}={value}")


def test_the_page_of_the_configuration_is_that_of_the_sections():
  assert config_page.PATH.read_text() == config_page.page(), (
    "run: python -m tests.config_page"
  )


def test_no_placeholder_is_left():
  for page, text in TEXT.items():
    left = re.findall(r"\b(?:TODO|TBD|RESULTS|BENCH|TABLE)\d*\b", text)
    assert not left, page


def _rows(page: str) -> list[list[str]]:
  """The cells of the rows of all tables of a page."""
  return [
    [cell.strip().strip("*") for cell in line.split("|")[1:-1]]
    for line in TEXT[page].splitlines()
    if line.startswith("|")
  ]


def test_results_of_the_readme_are_those_of_the_page_of_results():
  numbers = [
    {cell for cell in row if re.match(r"\.\d", cell)}
    for row in _rows("docs/results.md")
  ]
  best = [row for row in _rows("README.md") if "docs/results.md" in row[-1]]
  assert best
  for row in best:
    shown = {cell for cell in row if re.match(r"\.\d", cell)}
    assert any(shown <= known for known in numbers), row


def test_speeds_of_the_readme_are_those_of_the_page_of_results():
  rows = [row for row in _rows("README.md") if re.match(r"\d", row[1])]
  assert rows
  assert all(row in _rows("docs/results.md") for row in rows)


def test_speeds_are_those_of_the_benchmark():
  measured = {
    (row[0], row[1], row[2]): (row[5], row[7], row[8], row[9], row[11])
    for row in _rows("docs/benchmarks/cpu.md")
    if len(row) == 12 and row[3:5] == ["train", "float32"] and ";" not in row[5]
  }
  names = {
    "MobileNetV1": "mobilenet_v1",
    "MobileNetV2": "mobilenet_v2",
    "MobileNetV3-Small": "mobilenet_v3_small",
  }
  rows = [
    row for row in _rows("docs/results.md") if re.search(r", \d+, \d+$", row[0])
  ]
  assert len(rows) == 5
  for network, *shown in rows:
    name, pixels, batch = network.split(", ")
    exact = measured[names[name], pixels, batch]
    for cell, source in zip(shown, exact, strict=True):
      numbers, expected = (
        [float(number) for number in re.findall(r"[\d.]+", text)]
        for text in (cell, source)
      )
      assert numbers == pytest.approx(expected, abs=0.051), network


@pytest.mark.parametrize(
  ("study", "metrics"),
  [
    ("idc", ("accuracy", "balanced_accuracy", "auroc")),
    ("idc_recipe", ("accuracy", "balanced_accuracy", "auroc", "f1")),
    ("colorectal", ("accuracy", "balanced_accuracy", "macro_auroc")),
    ("chest_xray", ("accuracy", "balanced_accuracy", "specificity", "auroc")),
    ("eurosat", ("accuracy", "macro_auroc")),
    ("cifar100", ("accuracy", "macro_f1", "macro_auroc")),
  ],
)
def test_results_are_those_of_the_reports(study, metrics):
  path = ROOT / "docs" / "results" / study / "report.json"
  rows = _rows("docs/results.md")
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
  rows = _rows("docs/results.md")
  for name, runs in groups.items():
    for metric in ("accuracy", "balanced_accuracy", "auroc"):
      key = f"test/{metric}"
      if key not in runs[0]:
        key = f"test/macro_{metric}"
      mean = np.mean([run[key] for run in runs])
      shown = f"{mean:.3f}".removeprefix("0")
      assert any(cell.split(" ")[0] == shown for row in rows for cell in row), (
        name,
        metric,
        shown,
      )


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
  table = splits.ImageTable(names, names, labels, np.full(len(names), ""))
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
    splits.ImageTable(
      listing.names, listing.groups, listing.labels, listing.parts
    ),
  )
  assert split.sha256 in TEXT["docs/data.md"]


def test_every_room_is_on_the_map():
  design = TEXT["docs/design.md"]
  for path in (ROOT / "mn_jax").iterdir():
    if path.suffix == ".py" and path.stem != "__init__":
      assert f"| `{path.name}` |" in design, path.name
    elif path.is_dir() and path.name != "__pycache__":
      assert f"| `{path.name}/` |" in design, path.name


def test_files_named_in_the_pages_exist():
  files = [
    f"/{path.relative_to(ROOT).as_posix()}"
    for folder in ("mn_jax", "configs", "tests")
    for path in (ROOT / folder).rglob("*.py")
  ]
  for page, text in TEXT.items():
    names = set(re.findall(r"`([\w/]+\.py)`", text))
    for name in () if page == "CHANGELOG.md" else names:
      if not any(word.isupper() for word in re.split(r"[/.]", name)):
        assert any(file.endswith(f"/{name}") for file in files), (page, name)
