"""One epoch of every data set on real images, small and quick."""

import json

import numpy as np
import pytest

from mn_jax.config import checks, files
from mn_jax.observe.console import Console
from mn_jax.run import training

pytestmark = pytest.mark.usefixtures("standard_promotion")

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
# Config, archive, its own overrides, images of training, validation and test.
FEW = [
  (
    "cifar100_v1",
    "cifar-100-python-part.zip",
    {"train.batch_size": 8, "data.classes": 0, "data.val_fraction": 0.1},
    (450, 50, 500),
  ),
  (
    "colorectal_v2",
    "colorectal-histology-24-tiles.zip",
    {"train.batch_size": 4, "data.fold": 4},
    (19, 2, 3),
  ),
]
MANY = [
  (
    "idc_v1",
    "breast-histopathology-images.zip",
    {"data.split": "fixed"},
    (3559, 1146, 1717),
  ),
  ("eurosat_v2", "EuroSAT.zip", {}, (3900, 900, 1200)),
  ("chest_xray_v2", "chest-xray-pneumonia.zip", {}, (4461, 771, 624)),
]


def _train(name, archive, fields, tmp_path) -> dict:
  config = files.read_config(name)
  fields = {
    "data.path": str(archive),
    "data.cache_dir": str(tmp_path / "cache"),
    **SMALL,
    **fields,
  }
  config.update_from_flattened_dict(fields)
  (summary,) = training.train_and_evaluate(
    checks.from_config_dict(config),
    tmp_path / name,
    console=Console(quiet=True),
    stop_requested=lambda step: False,
  )
  return summary


def _check(name, archive, fields, counts, tmp_path) -> None:
  summary = _train(name, archive, fields, tmp_path)
  assert summary["epochs"] >= 1
  assert np.isfinite(summary["train/loss"])
  assert np.isfinite(summary["test/loss"])
  split = json.loads((tmp_path / name / "split.json").read_text())
  assert tuple(split["images"][p] for p in ("train", "val", "test")) == counts
  assert split["quarantine"] == []


@pytest.mark.parametrize(("name", "archive", "fields", "counts"), FEW)
def test_an_epoch_of_few(shared_data, tmp_path, name, archive, fields, counts):
  _check(name, shared_data / archive, fields, counts, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "archive", "fields", "counts"), MANY)
def test_an_epoch_of_many(shared_data, tmp_path, name, archive, fields, counts):
  _check(name, shared_data / archive, fields, counts, tmp_path)
