"""Tests of the printed description of a run's data."""

import numpy as np

from mn_jax.data import cache, splits
from mn_jax.data.datasets import registry
from mn_jax.observe.console import Console
from mn_jax.run import outputs
from mn_jax.run.split_data import SplitData


def _lines(capsys, name: str, *counts: int) -> list[str]:
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
    quarantine=(("n0", "broken"),),
    dropped=3,
    fingerprint="",
    sha256="",
  )
  rows = np.arange(len(labels))
  split = splits.Split({"train": rows}, "", ("a note",))
  data = SplitData(registry.get(name), packed, packed.classes, split)
  outputs.print_data(Console(), data)
  return capsys.readouterr().out.splitlines()


def test_lines_name_groups_and_notes(capsys):
  lines = _lines(capsys, "idc", 6, 2)
  assert lines[0] == (
    "train       8 images of   4 patients: no_idc 75.0%, idc 25.0%"
  )
  assert lines[1] == "Note: a note"
  assert "1 unreadable files were left out" in lines[2]
  assert lines[3] == "Note: 3 images were dropped for their size"


def test_many_classes_without_groups_fit_a_line(capsys):
  for counts, shares in (
    (
      (9, 10, 11, *(10,) * 7),
      ", AnnualCrop 9.0% to HerbaceousVegetation 11.0%",
    ),
    ((10,) * 10, " of 10.0% each"),
  ):
    line = _lines(capsys, "eurosat", *counts)[0]
    assert line == f"train     100 images: 10 classes{shares}"
    assert len(line) <= 80
