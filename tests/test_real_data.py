"""One epoch of every data set on real images, small and quick."""

import numpy as np
import pytest

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
