import concurrent.futures
import json
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds

from mn_jax.data import store
from mn_jax.data.datasets import (
  cifar100,
  colorectal_histology,
  registry,
  tfds_files,
)
from mn_jax.data.datasets.spec import Tfds
from mn_jax.data.packing import PackOptions
from mn_jax.errors import InputError
from tests import toy_tfds
from tests.data.toy_cache import make_images, png

TOY = Tfds("toy:1.0.0", "filename")
PREPARED = [n for n, spec in registry.DATASETS.items() if spec.tfds]
IMAGES = make_images(12)


def rows(files, labels=None):
  """The rows of a split, in order; images are told apart by their pixels."""
  labels = range(len(files)) if labels is None else labels
  return [
    (file, label, png(image))
    for file, label, image in zip(files, labels, IMAGES, strict=False)
  ]


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
  names = [f"{letter}.png" for letter in "abcdef"]
  return toy_tfds.write(
    tmp_path_factory.mktemp("toy"),
    TOY,
    {"train": rows(names, [0, 1, 0, 1, 0, 1])},
    ("cat", "dog"),
  )


@pytest.mark.parametrize("name", PREPARED)
def test_the_layout_fits_what_tfds_says_of_the_data_set(name):
  layout = registry.get(name).tfds
  policy = tfds.testing.MockPolicy.USE_CODE
  with tfds.testing.mock_data(num_examples=1, policy=policy):
    builder = tfds.builder(layout.name)
    folders = tfds_files.check_features(builder.info.features, layout)
    example = builder.as_data_source("train")[0]
  classes = registry.get(name).classes
  assert builder.info.full_name == layout.name.replace(":", "/")
  assert len(folders) == (len(classes) or 1000)
  if name == "eurosat":
    assert folders == classes
  elif name == "colorectal_histology":
    assert folders == classes
    assert len(layout.folders) == 8
  assert example["image"].dtype == np.uint8
  assert isinstance(example[layout.file], str | bytes)
  assert np.issubdtype(example["label"].dtype, np.integer)


def test_examples_are_files_of_the_layout(toy):
  files = tfds_files.open_files(toy, TOY)
  # TFDS shuffles what it writes.
  assert sorted(files.names()) == [
    f"{'dog' if row % 2 else 'cat'}/{letter}.png"
    for row, letter in sorted(
      enumerate("abcdef"), key=lambda pair: (pair[0] % 2, pair[1])
    )
  ]
  assert files.read("cat/c.png") == png(IMAGES[2])
  assert "tensorflow" not in sys.modules
  names = files.names() * 100
  with concurrent.futures.ThreadPoolExecutor(8) as pool:
    contents = list(pool.map(files.read, names))
  assert contents == [files.read(name) for name in names]
  with pytest.raises(OSError, match=r"cat/b\.png: not in"):
    files.read("cat/b.png")
  files.close()
  with pytest.raises(OSError, match=r"cat/c\.png"):
    files.read("cat/c.png")


def load(name, path, root):
  return store.load(
    name,
    path=str(path),
    root=root,
    options=PackOptions(8, "drop"),
  )


def test_colorectal_tiles_are_packed_as_the_publishers_are(tmp_path):
  names = [
    f"{row:X}_CRC-Prim-HE-0{row % 3 + 1}.tif_Row_{row}_Col_7.tif"
    for row in range(8)
  ]
  layout = registry.get("colorectal_histology").tfds
  prepared = toy_tfds.write(
    tmp_path / "tfds",
    layout,
    {"train": rows(names)},
    colorectal_histology.CLASSES,
  )
  copy = tmp_path / "copy"
  for (file, label, image), folder in zip(
    rows(names), colorectal_histology.FOLDERS, strict=True
  ):
    (copy / folder).mkdir(parents=True)
    (copy / colorectal_histology.FOLDERS[label] / file).write_bytes(image)
  packed = load("colorectal_histology", prepared, tmp_path / "one")
  expected = load("colorectal_histology", copy, tmp_path / "two")
  assert packed.sha256 == expected.sha256
  np.testing.assert_array_equal(packed.images, IMAGES[:8])
  np.testing.assert_array_equal(packed.groups, expected.groups)
  np.testing.assert_array_equal(packed.positions, expected.positions)


def test_parts_are_those_of_the_publisher(tmp_path):
  layout = registry.get("cifar100").tfds
  images = make_images(200)
  splits = {
    part: [(f"{part}_{i:05}", i, png(image)) for i, image in enumerate(half)]
    for part, half in (("train", images[:100]), ("test", images[100:]))
  }
  prepared = toy_tfds.write(tmp_path, layout, splits, cifar100.CLASSES)
  packed = load("cifar100", prepared, tmp_path / "root")
  assert len(packed) == 200
  row = packed.names.tolist().index("test/bed/test_00005.png")
  assert packed.parts[row] == "test"
  np.testing.assert_array_equal(packed.images[row], images[105])
  # ImageNet is tested on its validation part.
  layout = registry.get("imagenet2012").tfds
  classes = ("n01440764", "n01443537")
  splits = {
    "train": rows(["n01440764_1.JPEG", "n01443537_1.JPEG"]),
    "validation": rows(["ILSVRC2012_val_1.JPEG", "ILSVRC2012_val_2.JPEG"]),
    "test": rows(["ILSVRC2012_test_1.JPEG"], [-1]),
  }
  prepared = toy_tfds.write(tmp_path, layout, splits, classes)
  packed = load("imagenet2012", prepared, tmp_path / "root")
  assert packed.classes == classes
  assert packed.names.tolist() == [
    "test/n01440764/ILSVRC2012_val_1.JPEG",
    "train/n01440764/n01440764_1.JPEG",
    "test/n01443537/ILSVRC2012_val_2.JPEG",
    "train/n01443537/n01443537_1.JPEG",
  ]
  assert packed.parts.tolist() == ["test", "train"] * 2


def refused(path, layout=TOY):
  with pytest.raises(InputError) as caught:
    tfds_files.open_files(path, layout).names()
  assert "\n" not in str(caught.value)
  assert str(caught.value).startswith(str(path))
  return str(caught.value)


def test_another_data_set_or_version_is_refused(toy):
  assert "got the data set 'toy/1.0.0'; valid: 'eurosat/rgb/2.0.0'" in refused(
    toy, registry.get("eurosat").tfds
  )
  assert "valid: 'toy/2.0.0'" in refused(toy, Tfds("toy:2.0.0", "filename"))


def test_examples_without_a_label_or_name_are_refused(tmp_path, toy):
  prepared = toy_tfds.write(
    tmp_path,
    TOY,
    {"train": rows(["a.png"])},
    ("cat", "dog"),
    features={"image": tfds.features.Image(shape=(None, None, 3))},
  )
  assert "no feature 'label' of type ClassLabel" in refused(prepared)
  assert "no feature 'id' of type Text" in refused(toy, Tfds("toy:1.0.0", "id"))
  folders = Tfds("toy:1.0.0", "filename", folders=("a", "b", "c"))
  assert "got 2 classes; valid: 3" in refused(toy, folders)


def test_examples_of_one_name_or_of_no_class_are_refused(tmp_path):
  for name, labels, message in (
    ("one", [0, 0], "'cat/a.png' is there twice"),
    ("two", [-1], "example 0 of 'train' has the label -1; valid: 0 to 1"),
  ):
    examples = {"train": rows(["a.png"] * len(labels), labels)}
    path = toy_tfds.write(tmp_path / name, TOY, examples, ("cat", "dog"))
    assert message in refused(path)


def edited(toy, tmp_path, file, edit):
  """A copy of the folder with one of its JSON files changed."""
  copy = tmp_path / "copy"
  copy.mkdir()
  for path in toy.iterdir():
    (copy / path.name).write_bytes(path.read_bytes())
  content = json.loads((copy / file).read_text())
  edit(content)
  (copy / file).write_text(json.dumps(content))
  return copy


def test_the_format_of_tensorflow_is_refused(toy, tmp_path):
  copy = edited(
    toy, tmp_path, "dataset_info.json", lambda c: c.pop("fileFormat")
  )
  message = refused(copy)
  assert "got the format 'tfrecord', which only TensorFlow reads" in message
  assert "array_record" in message


def test_a_folder_that_names_foreign_code_is_refused(toy, tmp_path):
  def edit(content):
    feature = content["featuresDict"]["features"]["filename"]
    feature["pythonClassName"] = "antigravity.Text"

  copy = edited(toy, tmp_path, "features.json", edit)
  assert "refused: a feature of class 'antigravity.Text'" in refused(copy)
  assert "antigravity" not in sys.modules


def test_a_damaged_folder_is_refused(toy, tmp_path):
  copy = edited(toy, tmp_path, "features.json", lambda _: None)
  (records,) = copy.glob("*.array_record*")
  records.write_bytes(bytes(len(records.read_bytes())))
  refused(copy)
  records.unlink()
  refused(copy)
  for file in ("features.json", "dataset_info.json"):
    (copy / file).write_text("{")
    assert "not readable as prepared by TensorFlow Datasets" in refused(copy)
