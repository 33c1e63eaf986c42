"""Published weights on real photographs, where a folder of them is at hand."""

import csv
import dataclasses
import functools
import pathlib

import jax
import numpy as np
import pytest

from mn_jax.data import decode, resizing
from mn_jax.data.files import archive
from mn_jax.deploy import predictor, trained
from mn_jax.errors import InputError
from mn_jax.models import registry, variables
from mn_jax.weights import imagenet, pretrained

# Of each file: network and width, and top-1 and top-5 in percent at 224 pixels
# of 256, which Keras has too, and at 256 of 256.
CASES = {
  "mobilenet_v1_1.0_224_tf": (
    "mobilenet_v1",
    1.0,
    (91.62, 98.80, 91.62, 99.40),
  ),
  "mobilenet_v1_0.75_224_tf": (
    "mobilenet_v1",
    0.75,
    (84.43, 96.71, 88.02, 97.31),
  ),
  "mobilenet_v2_1.0_224_tf": (
    "mobilenet_v2",
    1.0,
    (90.12, 98.20, 89.52, 98.80),
  ),
  "mobilenet_v3_small_224_tf": (
    "mobilenet_v3_small",
    1.0,
    (82.63, 96.11, 84.73, 96.11),
  ),
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
  name = "more" if stem == "mobilenet_v1_1.0_224_tf" else "logits"
  with np.load(shared_weights / f"expected_{name}.npz") as file:
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
  of_file = trained.from_weights(
    str(shared_weights / f"{stem}.h5"), describe(stem)
  )
  larger = dataclasses.replace(
    of_file,
    image_size=256,
    read_image=functools.partial(
      resizing.decode_and_fit, size=256, other_sizes="crop", bits=16
    ),
  )
  found = []
  for network in (of_file, larger):
    chosen = predictor.fold(network)
    logits = np.stack([*chosen.logits(map(chosen.read_image, images))])
    order = np.argsort(-logits, axis=1)
    hits = order[:, :5] == classes.reshape(-1, 1)
    found += [100 * hits[:, 0].mean(), 100 * hits.any(1).mean()]
  np.testing.assert_allclose(found, CASES[stem][2], atol=0.5)


def test_the_table_of_the_docs_has_these_numbers():
  page = (pathlib.Path(__file__).parents[2] / "docs/models.md").read_text()
  for name, width, numbers in CASES.values():
    title = f"`{name}`" + (f", width {width:g}" if width != 1 else "")
    (row,) = (
      line.split(" | ")
      for line in page.splitlines()
      if line.startswith(f"| {title} |") and "±" in line
    )
    for cell, number in zip(row[3:], numbers, strict=True):
      top, _, error = cell.rstrip(" |").partition(" ± ")
      assert float(top) == number
      if error:
        share = number / 100
        expected = 100 * np.sqrt(share * (1 - share) / 334)
        assert float(error) == pytest.approx(expected, abs=0.006)


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
