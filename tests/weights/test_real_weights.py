"""Published weights on real photographs, where a folder of them is at hand."""

import csv

import jax
import numpy as np
import pytest

from mn_jax.data import decode, resizing
from mn_jax.data.files import archive
from mn_jax.deploy import predictor, trained
from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.weights import imagenet, pretrained

# Of each file: network, width, and Keras's top-1 in percent.
CASES = {
  "mobilenet_v1_0.75_224_tf": ("mobilenet_v1", 0.75, 84.43),
  "mobilenet_v2_1.0_224_tf": ("mobilenet_v2", 1.0, 90.12),
  "mobilenet_v3_small_224_tf": ("mobilenet_v3_small", 1.0, 82.63),
}
cases = pytest.mark.parametrize(
  "stem", [pytest.param(stem, marks=pytest.mark.extended) for stem in CASES]
)


def describe(stem):
  name, width, _ = CASES[stem]
  return registry.describe(name, num_classes=1000, width=width)


@pytest.fixture(scope="module")
def photographs(shared_data):
  """(files of images with a short side of 256 pixels, their classes)."""
  with (shared_data / "imagenet-sample-334.csv").open() as file:
    rows = list(csv.DictReader(file))
  files = archive.open_files(shared_data / "imagenet-sample-334.zip")
  paths = {path.rpartition("/")[2]: path for path in files.names()}
  images = [files.read(paths[row["file"]]) for row in rows]
  files.close()
  return images, np.array([int(row["index"]) for row in rows])


@pytest.fixture(scope="module")
def crops(photographs):
  """u8[334, 224, 224, 3]: their middle."""
  images, _ = photographs
  return np.stack(
    [
      resizing.resize_and_crop(
        decode.decode(image), 224, share=0.875, interpolation="bilinear"
      )
      for image in images
    ]
  )


@cases
def test_logits_are_those_of_keras(stem, shared_weights, crops):
  with np.load(shared_weights / "expected_logits.npz") as file:
    expected = file[f"{stem}/logits"]
  path = str(shared_weights / f"{stem}.h5")
  loaded = pretrained.load(path, describe(stem))
  module = registry.build(loaded.network)
  values = pretrained.insert(loaded, variables.initial_values(module, 224, 0))
  apply = jax.jit(lambda v, x: module.apply(v, x, False)[0])
  x = crops[: len(expected)].astype(np.float32) / 127.5 - 1
  np.testing.assert_allclose(apply(values, x), expected, atol=1e-3)


@cases
def test_photographs_are_recognised(stem, shared_weights, photographs):
  images, classes = photographs
  chosen = predictor.fold(
    trained.from_weights(str(shared_weights / f"{stem}.h5"), describe(stem))
  )
  found = [x.argmax() for x in chosen.logits(map(chosen.read_image, images))]
  top1 = 100 * np.mean(found == classes)
  assert top1 == pytest.approx(CASES[stem][2], abs=0.5)


def test_a_backbone_alone_is_loaded_and_cannot_predict(shared_weights):
  path = str(shared_weights / "mobilenet_v2_1.0_torch_no_top.safetensors")
  network = registry.describe("mobilenet_v2", num_classes=10)
  loaded = pretrained.load(path, network)
  origin = loaded.origin
  assert (origin.source, origin.num_classes) == ("torchvision", 0)
  assert origin.head_problem == ""
  assert sum(x.size for x in loaded.tensors.values()) == 2_257_984
  with pytest.raises(InputError, match="which has no classifier"):
    trained.from_weights(path, network)


@pytest.mark.extended
def test_features_of_a_backbone_alone_are_those_of_torch(shared_weights, crops):
  path = str(shared_weights / "mobilenet_v2_1.0_torch_no_top.safetensors")
  with np.load(shared_weights / "expected_more.npz") as file:
    expected = file["mobilenetv2_bottleneck/features"]
  loaded = pretrained.load(
    path, registry.describe("mobilenet_v2", num_classes=10)
  )
  conventions = loaded.network.conventions
  module = registry.build(loaded.network)
  values = pretrained.insert(loaded, variables.initial_values(module, 224, 0))
  x = crops[: len(expected)].astype(np.float32) / 255
  x = (x - np.float32(conventions.mean)) / np.float32(conventions.std)
  features = jax.jit(lambda v, x: module.apply(v, x, False)[1])(values, x)
  np.testing.assert_allclose(features["pooled"], expected, atol=1e-3)


def test_classes_are_those_of_imagenet(shared_data):
  with (shared_data / "imagenet-sample-334.csv").open() as file:
    rows = list(csv.DictReader(file))
  names = imagenet.names()
  assert [names[int(row["index"])] for row in rows] == [
    row["name"] for row in rows
  ]
