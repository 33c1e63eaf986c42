"""The builders for users of TFDS, on small copies, without TensorFlow."""

import io
import sys
import zipfile

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import mn_jax.tfds_builders
from mn_jax.data import datasets, decode, sample, store
from mn_jax.errors import InputError

XRAYS = {
  "chest_xray/train/NORMAL/IM-0115-0001.jpeg": 1,
  "chest_xray/train/PNEUMONIA/person1_bacteria_1.jpeg": 2,
  "chest_xray/val/PNEUMONIA/person2_virus_9.jpeg": 3,
  "chest_xray/test/NORMAL/NORMAL2-IM-0031-0001.jpeg": 4,
  "chest_xray/chest_xray/test/NORMAL/NORMAL2-IM-0031-0001.jpeg": 4,
}


@pytest.fixture(scope="module")
def idc_copy(tmp_path_factory):
  """A manual_dir with generated patches, of published cases and another."""
  folder = tmp_path_factory.mktemp("idc") / "breast-histopathology-images"
  sample.write_sample(folder, num_patients=4, patches_per_patient=5)
  lists = datasets.case_lists("idc")
  names = [lists["train"][0], lists["val"][0], lists["test"][0]]
  patients = sorted(path for path in folder.iterdir() if path.is_dir())
  for patient, name in zip(patients, names, strict=False):
    for path in list(patient.rglob("*.png")):
      path.rename(path.with_name(path.name.replace(patient.name, name)))
  return folder.parent


def prepare(name, root, manual_dir):
  builder = tfds.builder(name, data_dir=root, file_format="array_record")
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
  )
  return builder


@pytest.fixture(scope="module")
def idc(tmp_path_factory, idc_copy):
  return prepare("idc", tmp_path_factory.mktemp("tfds"), idc_copy)


def test_importing_registers_the_builders():
  names = tfds.list_builders(with_community_datasets=False)
  assert {"idc", "chest_xray"} <= set(names)
  assert mn_jax.tfds_builders.Idc.name == "idc"


@pytest.mark.parametrize("name", ["idc", "chest_xray"])
def test_schema_says_what_is_known_of_an_image(name):
  spec = datasets.get(name)
  policy = tfds.testing.MockPolicy.USE_CODE
  with tfds.testing.mock_data(num_examples=2, policy=policy):
    source = tfds.data_source(name, split="train")
    example = source[0]
  assert len(source) == 2
  known = {"image", "label", "filename", spec.group}
  assert set(example) == known | ({"x", "y"} if name == "idc" else set())
  features = source.dataset_info.features
  assert tuple(features["label"].names) == spec.classes
  assert features["image"].shape == (None, None, 3)


def test_read_back_it_is_what_the_project_packs(idc, idc_copy, tmp_path):
  packed = store.load(
    "idc",
    path=str(idc_copy),
    root=tmp_path,
    image_size=50,
    other_sizes="drop",
    max_unreadable=0.0,
  )
  splits = idc.as_data_source()
  examples = [example for source in splits.values() for example in source]
  rows = {name: row for row, name in enumerate(packed.names.tolist())}
  assert len(examples) == len(packed) == 20
  for example in examples:
    row = rows.pop(example["filename"].decode())
    np.testing.assert_array_equal(example["image"], packed.images[row])
    assert example["label"] == packed.labels[row]
    assert example["patient"].decode() == packed.groups[row]
    assert [example["x"], example["y"]] == packed.positions[row].tolist()
  assert "tensorflow" not in sys.modules


def test_splits_are_the_published_cases(idc):
  lists = datasets.case_lists("idc")
  for part, source in idc.as_data_source().items():
    patients = {example["patient"].decode() for example in source}
    assert len(patients) == 1
    listed = {case for cases in lists.values() for case in cases}
    expected = set(lists.get(part, ())) or patients - listed
    assert patients <= expected
  assert set(idc.info.splits) == {"train", "val", "test", "other"}


def test_images_are_the_publishers_bytes(idc, idc_copy):
  source = idc.as_data_source(
    "test", decoders={"image": tfds.decode.SkipDecoding()}
  )
  for example in source:
    (path,) = idc_copy.rglob(example["filename"].decode())
    assert example["image"] == path.read_bytes()


def xray_archive(path, more=()):
  with zipfile.ZipFile(path, "w") as file:
    for name, value in XRAYS.items():
      buffer = io.BytesIO()
      Image.new("L", (6, 4), value * 40).save(buffer, "JPEG")
      file.writestr(name, buffer.getvalue())
    for name in more:
      file.writestr(name, b"")


def test_xrays_come_from_an_archive_once_each(tmp_path):
  xray_archive(tmp_path / "chest-xray-pneumonia.zip")
  builder = prepare("chest_xray", tmp_path / "tfds", tmp_path)
  found = {
    split: sorted((e["person"].decode(), int(e["label"])) for e in source)
    for split, source in builder.as_data_source().items()
  }
  assert found == {
    "train": [("IM-0115", 0), ("person1", 1), ("person2", 1)],
    "test": [("NORMAL2-IM-0031", 0)],
  }
  skip = {"image": tfds.decode.SkipDecoding()}
  (example,) = builder.as_data_source("test", decoders=skip)
  assert decode.decode(example["image"]).shape == (4, 6, 3)
  assert example["filename"] == b"NORMAL2-IM-0031-0001.jpeg"


def test_a_hostile_archive_is_refused(tmp_path):
  xray_archive(tmp_path / "chest-xray-pneumonia.zip", more=["../evil.jpeg"])
  with pytest.raises(InputError, match=r"refused: member '\.\./evil\.jpeg'"):
    prepare("chest_xray", tmp_path / "tfds", tmp_path)
  assert not (tmp_path.parent / "evil.jpeg").exists()


def test_the_folder_of_a_copy_may_be_named_itself(idc_copy, tmp_path):
  folder = idc_copy / "breast-histopathology-images"
  builder = prepare("idc", tmp_path, folder)
  assert sum(s.num_examples for s in builder.info.splits.values()) == 20


def test_no_copy_says_where_to_get_one(tmp_path):
  with pytest.raises(AssertionError, match=r"kaggle\.com/datasets/paultimothy"):
    prepare("idc", tmp_path / "tfds", tmp_path / "nothing")
