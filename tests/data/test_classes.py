"""Tests of what is said of the classes and labels of a split."""

import numpy as np

from mn_jax.data import classes

NAMES = ("cat", "dog", "owl")


def test_labels_that_a_part_cannot_measure_are_named():
  counts = {
    "train": np.array([9, 3, 12]),
    "val": np.array([0, 2, 4]),
    "test": np.array([0, 1, 5]),
  }
  images = {"train": 20, "val": 4, "test": 9}
  left_out = (
    ": AUROC, F1 and others of it are undefined, macro means leave it out"
  )
  assert classes.notes(NAMES, counts, images) == (
    "training has fewer than 5 images of dog (3)",
    "validation has no image of cat",
    f"validation has no image without owl{left_out}",
    f"the test has no image of cat{left_out}",
  )
  # Of one class per image nothing is wrong with a class of every image.
  alone = {part: np.array([0, 0, 7]) for part in ("train", "val", "test")}
  said = classes.notes(NAMES, alone)
  assert "the test has no image of cat, dog" in said
  assert any("one class alone" in line for line in said)


def test_labels_of_an_image_are_named_together():
  assert classes.names_of(NAMES, np.int32(1)) == "dog"
  labels = np.array([[1, 0, 1], [0, 0, 0]], np.uint8)
  names = [classes.names_of(NAMES, label) for label in labels]
  assert names == ["cat + owl", "no label"]
