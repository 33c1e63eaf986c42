"""Small runs, and images that they never saw, for tests of evaluations."""

import pathlib
import shutil

import numpy as np
from PIL import Image

from mn_jax.data.samples import patches
from mn_jax.evaluation import evaluation
from tests import toy_transfer as toy

CASES, NEW = 14, 4  # patients in all, and those that no run sees
QUICK = evaluation.Options(resamples=40)


def write(root: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
  """Writes a folder to train with and one of other patients."""
  own, new = root / "own", root / "new"
  patches.write_sample(own, num_patients=CASES, patches_per_patient=12)
  (own / "SAMPLE.json").unlink()
  new.mkdir()
  for case in sorted(own.iterdir())[-NEW:]:
    shutil.move(case, new / case.name)
  return own, new


def train(own: pathlib.Path, workdir: pathlib.Path, **fields) -> pathlib.Path:
  """Trains a few steps."""
  defaults = {
    "model__name": "simple_cnn",
    "model__shallow": False,
    "data__name": "idc",
    "data__path": str(own),
    "eval__batch_size": 16,
  }
  toy.run(toy.load(**(defaults | fields)), workdir)
  return workdir


def files(folder: pathlib.Path) -> list[pathlib.Path]:
  return sorted(folder.rglob("*.png"))


def pixels(path: pathlib.Path) -> np.ndarray:
  return np.asarray(Image.open(path).convert("RGB"))
