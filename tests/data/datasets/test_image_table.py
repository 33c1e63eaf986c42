"""Tests of images in tables."""

import pathlib
import unicodedata

import numpy as np
import pytest

from mn_jax.data.datasets import image_table
from mn_jax.data.datasets.columns import Columns, unit
from mn_jax.data.datasets.listing import Listing
from mn_jax.data.files import table as table_lib
from mn_jax.errors import InputError
from tests.data.datasets.named_files import NamedFiles

FILES = NamedFiles("a/1.png", "a/2.png", "b/3.png", "notes.txt", ".x/4.png")


@pytest.fixture
def listing(tmp_path):
  """Lists the images of a table, beside which FILES would be."""

  def listing_(
    text: str,
    classes: tuple[str, ...] = (),
    root: pathlib.Path = tmp_path,
    **columns,
  ) -> Listing:
    path = tmp_path / "t.csv"
    path.write_text(text, encoding="utf-8")
    return image_table.list_images(
      FILES, table_lib.read(path), Columns(**columns), root, classes
    )

  return listing_


def test_a_table_gives_classes_groups_parts_and_attributes(listing):
  text = (
    "site,Label,filename,patient,split\n"
    "B,dog,b/3.png,p2,TEST\nA,cat,./a//1.png,p1,training\n"
    "A,dog,x/../a/2.png,p1,\n"
  )
  images = listing(text, group="patient", part="split", attributes=("site",))
  assert images.classes == ("cat", "dog")
  # In the order of the rows.
  assert images.paths == ["b/3.png", "a/1.png", "a/2.png"]
  assert images.names.tolist() == images.paths
  assert images.labels.tolist() == [1, 0, 1]
  assert images.labels.dtype == np.int32
  assert not images.multi_label
  assert images.groups.tolist() == ["p2", "p1", "p1"]
  assert images.parts.tolist() == ["test", "train", ""]
  assert images.attributes["site"].tolist() == ["B", "A", "A"]
  assert images.passed_over == ()
  assert images.notes == (
    "images are in the column 'filename' and labels in 'Label' of t.csv; "
    "data.file and data.label name others",
  )
  images = listing(text, file="filename", label=("Label",))
  assert images.groups.tolist() == images.paths
  assert images.notes == (
    "the column 'patient' is not used; data.group=patient keeps what belongs "
    "together in one part",
    "the column 'split' is not used; data.part=split uses the parts as they "
    "are",
  )


def test_every_column_is_in_the_fingerprint(listing):
  text = "path,label,p,s\na/1.png,0,x,A\na/2.png,1,y,B\nb/3.png,1,y,B\n"
  fields = {"group": "p", "attributes": ("s",)}
  prints = {listing(text, **fields).fingerprint()}
  for before, after in (
    ("1,y,B\nb", "0,y,B\nb"),
    ("y,B\nb", "x,B\nb"),
    ("y,B\nb", "y,A\nb"),
  ):
    assert before in text
    prints.add(listing(text.replace(before, after), **fields).fingerprint())
  prints.add(listing(text, group="p").fingerprint())
  assert len(prints) == 5


def test_labels_are_sorted_numbers_by_value(listing):
  for labels, classes in (
    (("10", "9", "-1"), ("-1", "9", "10")),
    (("10", "9", "b"), ("10", "9", "b")),
    (("2.5", "10", "1e1x"), ("10", "1e1x", "2.5")),
    (("nan", "2", "10"), ("10", "2", "nan")),
  ):
    images = listing(
      "path,label\n"
      + "".join(
        f"{path},{label}\n"
        for path, label in zip(
          ("a/1.png", "a/2.png", "b/3.png"), labels, strict=True
        )
      )
    )
    assert images.classes == classes
    assert tuple(classes[i] for i in images.labels) == labels


def test_several_labels_of_an_image(listing):
  expected = [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
  for text, fields in (
    (
      "path,tags\na/1.png,x|z\na/2.png,\nb/3.png, y |y|\n",
      {"label": ("tags",), "label_separator": "|"},
    ),
    (
      "path,x,y,z\na/1.png,1,0,1.0\na/2.png,0,0,0\nb/3.png,0,True,False\n",
      {"label": ("x", "y", "z")},
    ),
  ):
    images = listing(text, **fields)
    assert images.classes == ("x", "y", "z")
    assert images.labels.tolist() == expected
    assert images.labels.dtype == np.uint8
    assert images.multi_label
    # A run's classes decide the order.
    images = listing(text, ("z", "x", "y"), **fields)
    assert images.classes == ("z", "x", "y")
    assert images.labels[:, [1, 2, 0]].tolist() == expected
  images = listing(
    "path,x,y\na/1.png,1,0\na/2.png,0,1\n", file="path", label=("x", "y")
  )
  assert "exactly one of the 2 labels: if they exclude each" in images.notes[0]
  assert images.passed_over == (("", "images that are not in the table", 1),)
  # Some classes of a run may be missing in new images.
  images = listing("path,label\na/1.png,b\n", ("c", "b", "a"))
  assert (images.classes, images.labels.tolist()) == (("c", "b", "a"), [1])


def test_an_image_without_a_group_is_one_of_its_own(listing):
  images = listing(
    "path,label,p\na/1.png,0,x\na/2.png,1, \nb/3.png,1,x\n", group="p"
  )
  assert images.groups.tolist() == ["x", "a/2.png", "x"]
  assert images.notes[-1] == (
    "the column 'p' is empty for 1 images, the first 'a/2.png': each is a "
    "group of its own"
  )


def test_labels_and_groups_that_look_missing_are_pointed_out(listing):
  images = listing(
    "path,label,p\na/1.png,NaN,x\na/2.png,N/A,none\nb/3.png,b,x\n", group="p"
  )
  assert images.classes == ("N/A", "NaN", "b")
  labels, groups = images.notes[-2:]
  assert labels.endswith("missing, and are classes like others: 'N/A', 'NaN'")
  assert groups.startswith("the column 'p' has cells that look as if a value")
  assert groups.endswith("missing, and are groups like others: 'none'")


def test_names_are_found_in_another_unicode_form(tmp_path):
  nfc, nfd = (unicodedata.normalize(f, "Müll.png") for f in ("NFC", "NFD"))
  both = NamedFiles(nfc, nfd)
  for files, written, names in (
    (NamedFiles(nfd, "b.png"), nfc, [nfd]),
    (NamedFiles(nfc, "b.png"), nfd, [nfc]),
    (both, nfc, [nfc]),
    (both, nfd, [nfd]),
  ):
    path = tmp_path / "t.csv"
    path.write_text(f"path,label\n{written},0\n", encoding="utf-8")
    images = image_table.list_images(
      files, table_lib.read(path), Columns(), tmp_path, ("0", "1")
    )
    assert images.paths == images.names.tolist() == names


def test_absolute_paths_inside_the_root_are_read(listing, tmp_path):
  text = f"path,label\n{tmp_path}/a/1.png,0\n{tmp_path}/x/../a/2.png,1\n"
  assert listing(text).names.tolist() == ["a/1.png", "a/2.png"]
  (tmp_path / "link").symlink_to(tmp_path)
  assert listing(text, root=tmp_path / "link").names[0] == "a/1.png"
  archive = tmp_path / "a.zip"
  archive.touch()
  with pytest.raises(InputError, match="line 2: got the path '/"):
    listing(f"path,label\n{archive}/a/1.png,0\n", root=archive)


def test_rows_that_cannot_be_used_are_refused(listing):
  two = "path,label\na/1.png,0\na/2.png,1\n"
  for text, fields, message in (
    (two + ",0\n", {}, "t.csv, line 4: got the path ''; valid: a path inside"),
    (two + "../a/1.png,0\n", {}, "line 4: got the path '../a/1.png'; valid: a"),
    (two + "/etc/passwd,0\n", {}, "line 4: got the path '/etc/passwd'; valid"),
    (two + "./a/1.png,0\n", {}, "line 4: got 'a/1.png' again, which is in li"),
    (two + "b/4.png,0\nb/5.png,0\n", {}, "line 4: got 'b/4.png', which is not"),
    (
      two + "b/4.png,0\nb/5.png,0\n",
      {},
      "(2 of 4 paths are not); valid: files",
    ),
    (two + "3.png,0\n", {}, "files that are there, such as 'b/3.png'"),
    (two + "3,0\n", {}, "files that are there, such as 'b/3.png'"),
    (two + r"b\3.png,0", {}, "with slashes instead of backslashes"),
    (two + "b/3.png,\n", {}, "line 4: got the label ''; valid: text"),
    (
      two + 'b/3.png,"a\nb"\n',
      {},
      r"line 4: got the label 'a\nb'; valid: text",
    ),
    (two + "b/3.png,1.0\n", {}, "got '1' and '1.0', which are one number"),
    ("path,label\na/1.png,0\n", {}, "column 'label' with 1 labels; valid: two"),
    (two, {"file": "x"}, "data.file: got 'x'; valid: a column of t.csv, 'path"),
    (two, {"label": ("x",)}, "data.label: got 'x'; valid: a column of t.csv"),
    (two, {"group": "x"}, "data.group: got 'x'; valid: a column of t.csv"),
    (two, {"part": "x"}, "data.part: got 'x'; valid: a column of t.csv"),
    (two, {"attributes": ("x",)}, "data.attributes: got 'x'; valid: a column"),
    (
      two,
      {"part": "label"},
      "line 2: got the part '0'; valid: train, training",
    ),
    (two, {"label": ("label", "label")}, "valid: each column once"),
    (
      two,
      {"label": ("label", "path")},
      "got 'a/1.png' in the column 'path'; v",
    ),
    (
      two,
      {"label": ("label", "path"), "label_separator": ","},
      "data.label_separator: got ',' with 2 columns in data.label",
    ),
    ("path,x\na/1.png,0\n", {}, "data.label: got nothing, and no column of t"),
    (
      "x,label\na/1.png,0\n",
      {},
      "no column of t.csv has a usual name; valid: ",
    ),
    (
      "path,Image Path,label\na,b,0\n",
      {},
      "data.file: got nothing, and 2 columns of t.csv could be it; valid: one "
      "of 'path', 'Image Path'",
    ),
  ):
    with pytest.raises(InputError) as caught:
      listing(text, **fields)
    assert message in str(caught.value), (text, fields)
    assert "valid: " in str(caught.value)
    assert "\n" not in str(caught.value)
  with pytest.raises(InputError, match=r"line 2: got the group 'a\\nb'; valid"):
    listing('path,label,p\na/1.png,0,"a\nb"\n', ("0", "1"), group="p")
  for classes, fields, message in (
    (("1", "2"), {}, "line 2: got the label '0'; valid: the classes '1', '2'"),
    (
      ("label", "y"),
      {"label": ("label", "path")},
      "got 'label', 'path'; valid: the labels 'label', 'y'",
    ),
  ):
    with pytest.raises(InputError) as caught:
      listing(two, classes, **fields)
    assert message in str(caught.value)


def test_units_are_named_after_columns():
  assert [unit(name) for name in ("Patient ID", "case_id", "PatientID")] == [
    *("patient", "case", "patient")
  ]
  assert [unit(name) for name in ("id", "grid", "p1", "Fälle", "x y")] == [
    *("group", "grid", "group", "group", "group")
  ]
