"""A run whose class and experiment mean something to figures and tables."""

import numpy as np
import pytest
from PIL import Image

from tests import toy_transfer as toy

CLASSES = ("$5_to_$10 ^{_}", "=1|<b>[red] 猫")


@pytest.mark.extended
def test_any_name_trains_and_trains_again(tmp_path):
  draw = np.random.default_rng(0)
  for level, name in enumerate(CLASSES):
    folder = tmp_path / "data" / name
    folder.mkdir(parents=True)
    for i in range(20):
      pixels = draw.integers(90 * level, 90 * level + 90, (32, 32, 3), np.uint8)
      Image.fromarray(pixels).save(folder / f"{i}.png")
  config = toy.load(
    "image_folder_v2",
    experiment="$$ real^{$5}_$",
    model__name="simple_cnn",
    data__path=str(tmp_path / "data"),
    data__cache_dir=str(tmp_path / "cache"),
    model__width=0.25,
    train__batch_size=8,
    augment__crop_scale=1.0,
  )
  run = tmp_path / "run $x"
  summary, printed = toy.run(config, run)
  assert summary["experiment"] in printed
  assert f"--logdir '{run / 'tensorboard'}'" in printed
  assert all(name in printed for name in CLASSES)
  again, _ = toy.run(config, run)
  assert again["state_sha256"] == summary["state_sha256"]
  assert toy.read(run, "network.json")["classes"] == sorted(CLASSES)
  assert (run / "figures" / "test_confusion_matrix.png").is_file()
