"""Tests of lists of published parts."""

import collections
import hashlib
import importlib.resources
import json
import zipfile

import numpy as np

from mn_jax.data import splits
from mn_jax.data.datasets import eurosat, registry
from mn_jax.data.files import archive
from tests.data import toy_tables as toy

FILE = "eurosat_spatial_split.json"


def test_the_spatial_split_of_eurosat():
  lists = eurosat.SPEC.part_lists()
  assert {part: len(names) for part, names in lists.items()} == {
    "train": 16_200,
    "val": 5_400,
    "test": 5_400,
  }
  names = [name for listed in lists.values() for name in listed]
  assert len({*names}) == len(names) == eurosat.SPEC.images
  assert lists["test"][:2] == [
    "AnnualCrop/AnnualCrop_1.jpg",
    "AnnualCrop/AnnualCrop_9.jpg",
  ]
  # Pasture has few tiles of the test, SeaLake few of training.
  tests = collections.Counter(name.split("/")[0] for name in lists["test"])
  assert sorted(tests) == sorted(eurosat.CLASSES)
  assert (tests["Pasture"], tests["Forest"]) == (115, 1_077)


def test_the_lists_are_those_that_were_published(shared_data):
  lists = eurosat.SPEC.part_lists()
  archive = zipfile.ZipFile(shared_data / "eurosat-spatial-splits.zip")
  hashes = json.loads(
    importlib.resources.files("mn_jax.data.datasets")
    .joinpath(FILE)
    .read_bytes()
  )["sha256"]
  for part, names in lists.items():
    content = archive.read(f"eurosat-spatial-{part}.txt")
    assert hashlib.sha256(content).hexdigest() == hashes[part]
    published = content.decode().split()
    assert sorted(published) == sorted(name.split("/")[1] for name in names)


def test_tiles_of_an_archive_are_in_the_published_parts(shared_data):
  files = archive.open_files(shared_data / "EuroSAT.zip")
  listing = eurosat.SPEC.open(files).listing
  files.close()
  parts, notes = registry.published_parts(
    "eurosat", listing.groups, listing.parts
  )
  assert collections.Counter(parts.tolist()) == {
    "train": 3_673,
    "val": 1_178,
    "test": 1_149,
  }
  assert notes[0].startswith("12527 of 16200 published train groups are not in")


def test_the_spatial_split_never_changes():
  lists = eurosat.SPEC.part_lists()
  names = np.array([*lists["train"], *lists["val"], *lists["test"]])
  parts, notes = registry.published_parts("eurosat", names, np.full(27_000, ""))
  assert notes == ()
  table = splits.ImageTable(names, names, np.zeros(27_000, np.int32), parts)
  assert toy.make("fixed", table).sha256 == (
    "0bcd6581364c5dcf7072b9d0ba7d973244e10a8f8ffb1ee983a73b7d0df2a610"
  )


def test_missing_images_are_counted_and_few_of_them_named():
  names = np.array(["AnnualCrop/AnnualCrop_1.jpg", "Forest/Forest_9999.jpg"])
  parts, notes = registry.published_parts("eurosat", names, np.full(2, ""))
  assert parts.tolist() == ["test", ""]
  assert notes[0] == (
    "16200 of 16200 published train groups are not in the data: "
    "AnnualCrop/AnnualCrop_2.jpg, AnnualCrop/AnnualCrop_3.jpg, "
    "AnnualCrop/AnnualCrop_4.jpg and 16197 more"
  )
  assert len(notes) == 3
