"""Real images: an epoch of every data set, and the same ones as one's own."""

import csv
import hashlib
import pathlib

import numpy as np
import pytest

from mn_jax.config.sections.data import DataConfig
from mn_jax.data.datasets import registry
from mn_jax.data.files import archive
from mn_jax.run import split_data
from tests import toy_transfer as toy

# A network that is compiled fast, whatever the config's.
SMALL = {
  "model.name": "mobilenet_v1",
  "model.shallow": True,
  "model.separable": False,
  "model.width": 0.125,
  "model.resolution": 32,
  "train.epochs": 1.0,
  "optim.warmup_epochs": 0.0,
}
# Config, archive, overrides, images of training, validation and test.
CASES = [
  (
    "cifar100_v1",
    "cifar-100-python-part.zip",
    {
      "train.batch_size": 8,
      "data.classes": 0,
      "data.val_fraction": 0.1,
      "data.allow_missing": ("can",),
    },
    (450, 50, 500),
  ),
  (
    "colorectal_v2",
    "colorectal-histology-24-tiles.zip",
    {"train.batch_size": 4, "data.fold": 4},
    (19, 2, 3),
  ),
  *(
    pytest.param(*case, marks=pytest.mark.slow)
    for case in (
      (
        "idc_v1",
        "breast-histopathology-images.zip",
        {"data.split": "fixed"},
        (3559, 1146, 1717),
      ),
      ("eurosat_v2", "EuroSAT.zip", {}, (3900, 900, 1200)),
      ("chest_xray_v2", "chest-xray-pneumonia.zip", {}, (4461, 771, 624)),
    )
  ),
]


@pytest.mark.parametrize(("name", "archive", "fields", "counts"), CASES)
def test_an_epoch(shared_data, tmp_path, name, archive, fields, counts):
  base = {
    "data.path": str(shared_data / archive),
    "data.cache_dir": str(tmp_path / "cache"),
    **SMALL,
    **fields,
  }
  workdir = tmp_path / "run"
  summary, _ = toy.run(toy.load(name, base=base), workdir)
  assert summary["epochs"] >= 1
  assert np.isfinite(summary["train/loss"])
  assert np.isfinite(summary["test/loss"])
  split = toy.read(workdir, "split.json")
  assert tuple(split["images"][p] for p in ("train", "val", "test")) == counts
  assert split["quarantine"] == []


IDC = "breast-histopathology-images.zip"
XRAYS = "chest-xray-pneumonia.zip"
# What a run says of its results, but for times, places and digests.
NUMBERS = ("loss", "accuracy", "auroc", "balanced_accuracy", "sensitivity")


def _listing(path: pathlib.Path, name: str):
  """The listing of a data set by its own reader."""
  files = archive.open_files(path)
  listing = registry.get(name).open(files).listing
  files.close()
  return listing


def _write(path: pathlib.Path, /, **columns) -> pathlib.Path:
  """Writes a table of columns."""
  with path.open("w", encoding="utf-8", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows(zip(*columns.values(), strict=True))
  return path


def _table_of_patients(shared_data, folder: pathlib.Path) -> dict:
  """Writes the patches of IDC into a table; the fields that read it."""
  patches = _listing(shared_data / IDC, "idc")
  path = _write(
    folder / "patches.csv",
    path=patches.paths,
    patient=patches.groups,
    label=patches.labels,
    x=patches.positions[:, 0],
  )
  return {
    "name": "image_folder",
    "path": str(path),
    "root": str(shared_data / IDC),
    "group": "patient",
    "positive": "1",
    "attributes": ("x",),
  }


def _load(folder: pathlib.Path, **fields) -> split_data.SplitData:
  section = DataConfig(
    **{"image_size": 50, "cache_dir": str(folder / "cache"), **fields}
  )
  return split_data.load(section, toy.ignore_progress)


def _split_sha256(data: split_data.SplitData, names: list[str]) -> str:
  """The hash of a split as if the images had other names."""
  lines = [
    f"{part}\t{name}\n"
    for part, rows in data.split.parts.items()
    for name in sorted(names[row] for row in rows)
  ]
  return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.extended
def test_a_table_of_patients_is_what_the_reader_of_idc_gives(
  shared_data, tmp_path
):
  table = _table_of_patients(shared_data, tmp_path)
  for split in (
    {"split": "grouped"},
    {"split": "kfold", "fold": 3},
    {"split": "grouped", "train_fraction": 0.3, "split_seed": 2},
  ):
    own = _load(tmp_path, **table, **split)
    built_in = _load(tmp_path, name="idc", path=str(shared_data / IDC), **split)
    assert own.cache.sha256 == built_in.cache.sha256
    for column in ("labels", "groups"):
      np.testing.assert_array_equal(
        getattr(own.cache, column), getattr(built_in.cache, column)
      )
    for part, rows in built_in.split.parts.items():
      np.testing.assert_array_equal(own.part(part), rows)
    # Names are paths here and names of files there: another hash, by one rule.
    names = [name.rpartition("/")[2] for name in own.cache.names.tolist()]
    assert _split_sha256(own, names) == built_in.split.sha256
    assert _split_sha256(own, own.cache.names.tolist()) == own.split.sha256
    assert own.split.sha256 != built_in.split.sha256
    assert own.spec.group == built_in.spec.group == "patient"
    assert own.spec.positive == built_in.spec.positive
    # A pattern in the names of files finds the same patients.
    named = _load(
      tmp_path,
      name="idc",
      path=str(shared_data / IDC),
      group_pattern=r"^(\d+)_idx",
      **split,
    )
    assert named.split.sha256 == built_in.split.sha256
  fields = {"name": "idc", "path": str(shared_data / IDC), "split": "fixed"}
  published = _load(tmp_path, **fields)
  # The published lists are of patients, whatever the groups.
  columns = _load(tmp_path, group_pattern=r"_(x\d+)_", **fields)
  assert columns.split.sha256 == published.split.sha256
  assert columns.cache.groups[0].startswith("x")
  np.testing.assert_array_equal(
    own.cache.attributes["x"].astype(int), built_in.cache.positions[:, 0]
  )


@pytest.mark.slow
def test_a_table_of_patients_trains_to_the_same_numbers(shared_data, tmp_path):
  table = _table_of_patients(shared_data, tmp_path)
  fields = {f"data.{name}": value for name, value in table.items()}
  places = {"data.cache_dir": str(tmp_path / "cache"), **SMALL}
  own, _ = toy.run(
    toy.load("idc_v1", base={**places, **fields}), tmp_path / "own"
  )
  built_in, _ = toy.run(
    toy.load("idc_v1", base={**places, "data.path": str(shared_data / IDC)}),
    tmp_path / "built_in",
  )
  for name in NUMBERS:
    assert own[f"test/{name}"] == built_in[f"test/{name}"]
  assert toy.logged(tmp_path / "own") == toy.logged(tmp_path / "built_in")


def _three_classes(shared_data, folder: pathlib.Path) -> dict:
  """Writes X-rays with the kind of pneumonia; the fields that read them."""
  xrays = _listing(shared_data / XRAYS, "chest_xray")
  kinds = [
    next(kind for kind in ("bacteria", "virus", "normal") if kind in name)
    for name in map(str.lower, xrays.names)
  ]
  path = _write(
    folder / "xrays.csv", file=xrays.paths, kind=kinds, part=xrays.parts
  )
  return {
    "name": "image_folder",
    "path": str(path),
    "root": str(shared_data / XRAYS),
    "label": ("kind",),
    "part": "part",
    "group_pattern": r"/(person\d+|(?:NORMAL2-)?IM-\d+)[^/]*$",
    "split": "auto",
    "image_size": 224,
  }


@pytest.mark.extended
def test_xrays_have_three_classes_by_a_table(shared_data, tmp_path):
  data = _load(tmp_path, **_three_classes(shared_data, tmp_path))
  built_in = _load(
    tmp_path,
    name="chest_xray",
    path=str(shared_data / XRAYS),
    split="fixed",
    image_size=224,
  )
  assert data.classes == ("bacteria", "normal", "virus")
  assert data.kind == "fixed"
  counts = data.counts()
  assert counts["test"].tolist() == [242, 234, 148]
  assert (counts["train"] + counts["val"]).tolist() == [2538, 1349, 1345]
  np.testing.assert_array_equal(data.part("test"), built_in.part("test"))
  # Persons are those of the reader, and validation has whole ones.
  np.testing.assert_array_equal(data.cache.groups, built_in.cache.groups)
  assert not {*data.groups("train")} & {*data.groups("val")}
  assert data.cache.sha256 == built_in.cache.sha256


@pytest.mark.slow
def test_an_epoch_of_three_classes(shared_data, tmp_path):
  fields = _three_classes(shared_data, tmp_path)
  base = {f"data.{name}": value for name, value in fields.items()}
  base |= {"data.cache_dir": str(tmp_path / "cache"), **SMALL}
  summary, _ = toy.run(toy.load("image_folder_v2", base=base), tmp_path / "run")
  assert np.isfinite(summary["test/loss"])
  assert summary["test/accuracy"] > 0.39  # bacteria


@pytest.mark.extended
def test_eurosat_is_a_folder_as_well(shared_data, tmp_path):
  fields = {
    "path": str(shared_data / "EuroSAT.zip"),
    "split": "stratified",
    "image_size": 64,
  }
  own = _load(tmp_path, name="image_folder", **fields)
  built_in = _load(tmp_path, name="eurosat", **fields)
  assert own.split.sha256 == built_in.split.sha256
  assert own.digests() == built_in.digests()
  assert own.classes == built_in.classes
  assert own.split.notes[0].startswith("no groups are known: ")
  assert not any("suggest" in note for note in own.notes())
