"""Tests of loading and splitting the images of a table."""

import numpy as np
import pytest
from PIL import Image

from mn_jax.config.sections.data import DataConfig
from mn_jax.errors import InputError
from mn_jax.run import split_data

COUNT = 60


def _progress(done: int, total: int) -> None:
  del done, total


@pytest.fixture
def section(tmp_path):
  """60 images of 12 patients, and the section that reads a table of them."""
  rng = np.random.default_rng(0)
  lines = ["file,patient,sex,class,red,green\n"]
  for i in range(COUNT):
    image = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    name = f"images/{i:02}.png"
    (tmp_path / "images").mkdir(exist_ok=True)
    image.save(tmp_path / name)
    lines.append(
      f"{name},p{i // 5},{'fm'[i % 2]},{'ab'[i % 2]},{i % 2},{i % 3 // 2}\n"
    )
  (tmp_path / "t.csv").write_text("".join(lines), encoding="utf-8")

  def section_(**fields) -> DataConfig:
    return DataConfig(
      **{
        "name": "image_folder",
        "path": str(tmp_path / "t.csv"),
        "cache_dir": str(tmp_path / "cache"),
        "image_size": 8,
        "split": "auto",
        **fields,
      }
    )

  return section_


def _load(section: DataConfig) -> split_data.SplitData:
  return split_data.load(section, _progress)


def test_patients_of_a_table_are_kept_whole(section, tmp_path):
  data = _load(section(group="patient", positive="b", attributes=("sex",)))
  assert data.kind == "grouped"
  assert data.spec.group == "patient"
  assert data.spec.positive == 1
  parts = [{*data.groups(part)} for part in ("train", "val", "test")]
  assert sum(map(len, parts)) == 12 == len(set.union(*parts))
  np.testing.assert_array_equal(
    data.cache.attributes["sex"], np.array(["f", "m"])[data.cache.labels]
  )
  pixels = [
    np.asarray(Image.open(tmp_path / name)) for name in data.cache.names
  ]
  np.testing.assert_array_equal(data.cache.images, pixels)
  folds = [
    _load(section(group="patient", split="kfold", fold=fold)).groups("test")
    for fold in range(5)
  ]
  assert len({*np.concatenate(folds).tolist()}) == 12 == sum(map(len, folds))
  # A pattern in the names finds others.
  data = _load(section(group="patient", group_pattern=r"/(\d)\d\.png"))
  assert {*data.cache.groups} == {*"012345"}
  assert data.spec.group == "group"


def test_several_labels_are_packed_split_and_thinned(section):
  data = _load(section(label=("red", "green"), split="stratified"))
  assert data.multi_label
  assert data.cache.labels.dtype == np.uint8
  numbers = np.arange(COUNT)
  np.testing.assert_array_equal(
    data.cache.labels, np.stack([numbers % 2, numbers % 3 // 2], 1)
  )
  # By the rarest label of an image: 20 have green, 20 red alone, 20 nothing.
  for part, rows in data.split.parts.items():
    count = {"train": 13, "val": 3, "test": 4}[part]
    green = data.cache.labels[rows, 1].sum()
    assert green == data.counts()[part][1] == count
    alone = (data.cache.labels[rows] == (1, 0)).all(1)
    assert alone.sum() == count
  thinned = _load(
    section(label=("red", "green"), split="stratified", train_fraction=0.5)
  )
  rows = thinned.part("train")
  assert {*rows} < {*data.part("train")}
  assert thinned.cache.labels[rows, 1].sum() in (6, 7)
  grouped = _load(section(label=("red", "green"), group="patient"))
  assert grouped.kind == "grouped"
  for fields, message in (
    ({"classes": 1}, "data.classes: got 1 of images with several labels"),
    ({"positive": "red"}, "data.positive: got 'red'; valid: '', as each label"),
  ):
    with pytest.raises(InputError, match=message):
      _load(section(label=("red", "green"), **fields))


def test_a_changed_table_is_packed_anew(section, tmp_path):
  before = _load(section(label=("class",), group="patient"))
  path = tmp_path / "t.csv"
  text = path.read_text("utf-8")
  for old, new in (
    ("00.png,p0,f,a,", "00.png,p0,f,b,"),
    ("00.png,p0,", "00.png,p9,"),
    ("images/59.png,p11,m,b,1,1\n", ""),
  ):
    assert text.count(old) == 1, old
    path.write_text(text.replace(old, new), encoding="utf-8")
    after = _load(section(label=("class",), group="patient"))
    assert after.cache.fingerprint != before.cache.fingerprint
    assert len(after.cache) == COUNT - (new == "")
  path.write_text(text, encoding="utf-8")
  other = _load(section(label=("sex",), group="patient"))
  assert other.classes == ("f", "m")
  assert other.cache.fingerprint != before.cache.fingerprint
  again = _load(section(label=("class",), group="patient"))
  assert again.cache.fingerprint == before.cache.fingerprint
  # So is one whose images changed.
  Image.new("RGB", (8, 8)).save(tmp_path / "images/07.png")
  assert not _load(section(label=("class",))).cache.images[7].any()


def test_damaged_images_of_a_table_are_left_out(section, tmp_path):
  (tmp_path / "images/03.png").write_bytes(b"\x89PNG\r\n\x1a\n")
  with pytest.raises(InputError, match="max_unreadable: at least 1 of 60 fil"):
    _load(section(label=("class",)))
  data = _load(section(label=("class",), max_unreadable=0.02))
  assert [name for name, _ in data.cache.quarantine] == ["images/03.png"]
  assert data.cache.left_out[0][0] == "b"
  several = _load(section(label=("red", "green"), max_unreadable=0.02))
  assert several.cache.left_out[0][0] == ""
  assert len(several.cache) == len(several.cache.labels) == COUNT - 1


def test_a_table_goes_with_its_fields_and_the_right_data_set(section, tmp_path):
  for fields, message in (
    ({"name": "idc"}, "data.name: got 'idc', and data.path is a table, "),
    ({"root": "/nowhere"}, "data.root: got '/nowhere', which does not exist"),
    (
      {"path": str(tmp_path / "images"), "group": "patient"},
      "data.group: got 'patient', and data.path is no table; valid: '', or",
    ),
    (
      {"path": str(tmp_path / "images"), "attributes": ("sex",)},
      r"data.attributes: got \('sex',\), and data.path is no table",
    ),
    (
      {"name": "idc", "path": "", "label": ("x",)},
      r"data.label: got \('x',\), and data.path is no table",
    ),
  ):
    with pytest.raises(InputError, match=message):
      _load(section(**fields))


def test_new_images_of_a_table_have_the_classes_of_a_run(section, tmp_path):
  fields = {"label": ("class",), "group": "patient", "positive": "b"}
  data = split_data.load_all(section(**fields), ("c", "b", "a"), _progress)
  assert data.counts()["new"].tolist() == [0, 30, 30]
  assert (data.spec.group, data.spec.positive) == ("patient", 1)
  assert len(data.groups("new")) == 12
  with pytest.raises(InputError, match="line 3: got the label 'b'; valid: the"):
    split_data.load_all(section(**fields), ("a", "c"), _progress)
  fields = {"label": ("green", "red")}
  data = split_data.load_all(section(**fields), ("red", "green"), _progress)
  numbers = np.arange(COUNT)
  np.testing.assert_array_equal(
    data.cache.labels, np.stack([numbers % 2, numbers % 3 // 2], 1)
  )
  # A folder of one class alone is enough then.
  (tmp_path / "new/b").mkdir(parents=True)
  Image.new("RGB", (8, 8)).save(tmp_path / "new/b/1.png")
  new = section(path=str(tmp_path / "new"))
  data = split_data.load_all(new, ("a", "b"), _progress)
  assert data.cache.labels.tolist() == [1]
