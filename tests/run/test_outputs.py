"""Tests of the printed description of a run's data."""

import numpy as np

from mn_jax.data import cache, splits
from mn_jax.data.datasets import registry
from mn_jax.observe.console import Console
from mn_jax.run import outputs
from mn_jax.run.split_data import SplitData


def _lines(capsys, name: str, *counts: int, left_out: tuple = ()) -> list[str]:
  """The lines for some numbers of images of each class, two in a group."""
  labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
  names = np.array([f"n{i}" for i in range(len(labels))])
  packed = cache.PackedCache(
    classes=registry.get(name).classes,
    images=np.zeros((len(labels), 8, 8, 3), np.uint8),
    names=names,
    labels=labels,
    groups=np.array([f"g{i // 2}" for i in range(len(labels))]),
    parts=np.full(len(labels), ""),
    positions=np.zeros((len(labels), 2), np.int32),
    quarantine=(),
    dropped=3,
    left_out=left_out,
    notes=("another note",),
    fingerprint="",
    sha256="",
  )
  rows = np.arange(len(labels))
  split = splits.Split({"train": rows}, "", ("a note",))
  data = SplitData(registry.get(name), packed, packed.classes, "fixed", split)
  outputs.print_data(Console(), data)
  return capsys.readouterr().out.splitlines()


def test_lines_name_groups_and_notes(capsys):
  assert _lines(capsys, "idc", 6, 2) == [
    "train       8 images of   4 patients: no_idc 6, idc 2",
    "Note: a note",
    "Note: another note",
  ]


def test_what_is_left_out_is_said_by_class_and_reason(capsys):
  lines = _lines(
    capsys,
    "idc",
    6,
    2,
    left_out=(
      ("", ".txt files", 30),
      ("idc", "unreadable images (truncated)", 1),
      ("no_idc", "empty folders", 2),
      *(("", f".{i} files", 1) for i in range(20)),
    ),
  )[3:]
  assert lines[:3] == [
    "Note: left out: empty folders of no_idc (2)",
    "Note: left out: unreadable images (truncated) of idc (1)",
    "Note: left out: .txt files (30)",
  ]
  assert lines[-1] == "Note: ... and 15 files of 15 more kinds"
  assert len(lines) == 9


def test_every_class_without_an_image_is_seen(capsys):
  line = _lines(capsys, "eurosat", 9, 10, 0, *(10,) * 7)[0]
  assert line.startswith("train      89 images: AnnualCrop 9, Forest 10, ")
  assert ", HerbaceousVegetation 0, " in line
  classes = registry.get("cifar100").classes
  for counts, text in (
    ((10,) * 100, "100 classes of 10 to 10"),
    (
      (7, 3, *(10,) * 98),
      f"100 classes of 3 to 10, the smallest {classes[1]} 3, {classes[0]} 7, ",
    ),
    ((0, 10, 0, *(10,) * 97), f"; none of {classes[0]}, {classes[2]}"),
    ((*(10,) * 80, *(0,) * 20), f"{classes[87]}, 12 more"),
  ):
    assert text in _lines(capsys, "cifar100", *counts)[0]
