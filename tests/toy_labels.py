"""Images with several labels, in a table, for tests."""

import csv
import pathlib

import numpy as np
from PIL import Image

NAMES = ("red", "blue", "stripes")
SHARES = (0.5, 0.3, 0.2)
SIZE = 24
SITES = ("north", "south")


def image(labels: tuple[int, ...], draw: np.random.Generator) -> Image.Image:
  """Noise with a square of each colour and stripes, as the labels say."""
  pixels = draw.integers(60, 120, (SIZE, SIZE, 3)).astype(np.uint8)
  if labels[2]:
    pixels[:, ::4] = 190
  for present, channel in zip(labels[:2], (0, 2), strict=True):
    if present:
      top, left = draw.integers(0, SIZE - 9, 2)
      square = pixels[top : top + 9, left : left + 9]
      square[:] = 30
      square[..., channel] = 230
  return Image.fromarray(pixels)


def write(folder: pathlib.Path, patients: int, *, seed: int = 0) -> None:
  """Writes four images of each patient, and tables of two kinds.

  `columns.csv` has a column of 0 and 1 for each label, `cells.csv` all labels
  in one cell, separated by '|'; both have patients and sites.
  """
  draw = np.random.default_rng(seed)
  (folder / "images").mkdir(parents=True)
  rows = []
  for number in range(4 * patients):
    labels = tuple((draw.random(len(SHARES)) < SHARES).astype(int).tolist())
    name = f"images/{number:04}.png"
    image(labels, draw).save(folder / name)
    patient = f"p{number // 4:03}"
    rows.append((name, labels, patient, SITES[number // 4 % 2]))
  with (folder / "columns.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(("path", *NAMES, "patient", "site"))
    writer.writerows((name, *rest[0], *rest[1:]) for name, *rest in rows)
  with (folder / "cells.csv").open("w", newline="") as file:
    writer = csv.writer(file)
    writer.writerow(("path", "findings", "patient", "site"))
    for name, labels, *rest in rows:
      present = [x for x, y in zip(NAMES, labels, strict=True) if y]
      writer.writerow((name, "|".join(present), *rest))
