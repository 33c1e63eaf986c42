"""The files of TensorBoard's projector."""

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector import projector_config_pb2

from mn_jax.observe import projector


def write(folder, count=5, side=4):
  rng = np.random.default_rng(1)
  features = rng.normal(size=(count, 3)).astype("f4")
  columns = {
    "class": [f"c{i}" for i in range(count)],
    "name": [f"a\tname\nof {i}" for i in range(count)],
  }
  images = rng.integers(0, 256, (count, side, side, 3), np.uint8)
  projector.write(folder, features, columns, images, name='a "run"')
  return features, images


def test_tensorboard_reads_the_files(tmp_path):
  folder = tmp_path / "new" / "folder"
  features, _ = write(folder)
  config = text_format.Parse(
    (folder / "projector_config.pbtxt").read_text(),
    projector_config_pb2.ProjectorConfig(),
  )
  (info,) = config.embeddings
  assert info.tensor_name == 'a "run"'
  assert list(info.sprite.single_image_dim) == [4, 4]
  found = np.loadtxt(folder / info.tensor_path, delimiter="\t")
  np.testing.assert_allclose(found, features, rtol=1e-6)
  header, *rows = (folder / info.metadata_path).read_text().splitlines()
  assert header == "class\tname"
  assert rows == [f"c{i}\ta\\tname\\nof {i}" for i in range(5)]
  assert (folder / info.sprite.image_path).exists()


def test_writing_again_replaces(tmp_path):
  write(tmp_path, count=9)
  _, images = write(tmp_path)
  text = (tmp_path / "projector_config.pbtxt").read_text()
  assert text.count("embeddings") == 1
  assert len((tmp_path / "tensors.tsv").read_text().splitlines()) == 5
  assert len((tmp_path / "metadata.tsv").read_text().splitlines()) == 6
  # The sprite has the images row by row.
  sprite = np.asarray(Image.open(tmp_path / "sprite.png"))
  assert sprite.shape == (12, 12, 3)
  for i, image in enumerate(images):
    top, left = 4 * (i // 3), 4 * (i % 3)
    np.testing.assert_array_equal(sprite[top : top + 4, left : left + 4], image)


def test_a_large_sprite_is_shrunk_to_what_tensorboard_loads(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(projector, "_SPRITE", 40)
  _, images = write(tmp_path, count=26, side=12)
  with Image.open(tmp_path / "sprite.png") as image:
    sprite = np.asarray(image)
  assert sprite.shape == (36, 36, 3)
  text = (tmp_path / "projector_config.pbtxt").read_text()
  assert text.count("single_image_dim: 6\n") == 2
  means = images[7].reshape(6, 2, 6, 2, 3).mean(axis=(1, 3))
  np.testing.assert_allclose(sprite[6:12, 6:12], means, atol=1)
