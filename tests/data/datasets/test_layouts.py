"""Tests of the layouts of X-rays, colorectal tiles and anyone's images."""

import csv
import re

import numpy as np
import pytest

from mn_jax.data import groups
from mn_jax.data.datasets import chest_xray, colorectal_histology, image_folder
from mn_jax.data.files import archive
from mn_jax.errors import InputError
from tests.data.datasets.named_files import NamedFiles

_XRAYS = (
  "chest_xray/train/NORMAL/IM-0115-0001.jpeg",
  "chest_xray/train/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg",
  "chest_xray/train/PNEUMONIA/person7_bacteria_24.jpeg",
  "chest_xray/train/PNEUMONIA/person7_virus_1_0001.jpeg",
  "chest_xray/val/NORMAL/NORMAL2-IM-1427-0001.jpeg",
  "chest_xray/val/PNEUMONIA/person1946_bacteria_4874.jpeg",
  "chest_xray/test/NORMAL/IM-0001-0001.jpeg",
  "chest_xray/test/PNEUMONIA/person7_virus_3.jpeg",
)


def test_xrays_are_grouped_by_person_and_validation_is_for_training():
  listing = chest_xray.SPEC.open(NamedFiles(*_XRAYS)).listing
  assert dict(zip(listing.names, listing.groups, strict=True)) == {
    "train/NORMAL/IM-0115-0001.jpeg": "IM-0115",
    "train/NORMAL/NORMAL2-IM-0115-0001-0002.jpeg": "NORMAL2-IM-0115",
    "train/PNEUMONIA/person7_bacteria_24.jpeg": "person7",
    "train/PNEUMONIA/person7_virus_1_0001.jpeg": "person7",
    "val/NORMAL/NORMAL2-IM-1427-0001.jpeg": "NORMAL2-IM-1427",
    "val/PNEUMONIA/person1946_bacteria_4874.jpeg": "person1946",
    "test/NORMAL/IM-0001-0001.jpeg": "IM-0001",
    "test/PNEUMONIA/person7_virus_3.jpeg": "person7",
  }
  for name, part, label in zip(
    listing.names, listing.parts, listing.labels, strict=True
  ):
    assert part == ("test" if name.startswith("test/") else "train")
    assert label == int("PNEUMONIA" in name)


def test_the_nested_copy_of_the_xrays_counts_once():
  copies = [f"chest_xray/{name}" for name in _XRAYS]
  junk = ["chest_xray/__MACOSX/chest_xray/train/NORMAL/._IM-0115-0001.jpeg"]
  plain = chest_xray.SPEC.open(NamedFiles(*_XRAYS)).listing
  for names in ((*_XRAYS, *copies, *junk), (*copies, *junk, *_XRAYS)):
    listing = chest_xray.SPEC.open(NamedFiles(*names)).listing
    assert listing.paths == plain.paths
    assert listing.fingerprint() == plain.fingerprint()
    assert listing.passed_over == (
      ("normal", "hidden files", 1),
      ("normal", "second copies of images", 4),
      ("pneumonia", "second copies of images", 4),
    )


def test_an_image_of_an_unknown_person_or_slide_is_refused():
  with pytest.raises(InputError, match=r"named 'scan1.jpeg'; valid: names"):
    chest_xray.SPEC.open(NamedFiles(*_XRAYS, "train/NORMAL/scan1.jpeg"))
  with pytest.raises(InputError, match=r"named 'tile.tif'; valid: names like"):
    colorectal_histology.SPEC.open(_tiles("01_TUMOR/tile.tif"))


def _tiles(*names: str) -> NamedFiles:
  others = [f"{f}/1_CRC-Prim-HE-01.tif_Row_1_Col_1.tif" for f in _FOLDERS]
  return NamedFiles(*others, *names)


_FOLDERS = colorectal_histology.FOLDERS


def test_tiles_are_grouped_by_slide():
  listing = colorectal_histology.SPEC.open(
    _tiles(
      "K/01_TUMOR/1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151.tif",
      "K/08_EMPTY/10009_CRC-Prim-HE-02_003b.tif_Row_1_Col_301.tif",
      "K/01_TUMOR/notes.txt",
    )
  ).listing
  rows = {path: row for row, path in enumerate(listing.paths)}
  tumor = rows["K/01_TUMOR/1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151.tif"]
  empty = rows["K/08_EMPTY/10009_CRC-Prim-HE-02_003b.tif_Row_1_Col_301.tif"]
  assert listing.groups[tumor] == "CRC-Prim-HE-07"
  assert listing.groups[empty] == "CRC-Prim-HE-02"
  assert listing.positions[tumor].tolist() == [151, 601]
  assert listing.classes[listing.labels[tumor]] == "tumor"
  assert listing.classes[listing.labels[empty]] == "empty"
  assert len(listing) == 10


def test_png_copies_of_tiles_have_the_published_names():
  tile = "1A11_CRC-Prim-HE-07_022.tif_Row_601_Col_151"
  files = _tiles(
    f"restored/01_TUMOR/{tile}.png", "more/unidentified/image_15.png"
  )
  listing = colorectal_histology.SPEC.open(files).listing
  assert f"01_TUMOR/{tile}.tif" in listing.names
  row = listing.names.tolist().index(f"01_TUMOR/{tile}.tif")
  assert listing.paths[row] == f"restored/01_TUMOR/{tile}.png"
  assert listing.groups[row] == "CRC-Prim-HE-07"
  assert listing.notes[-1].startswith("1 of 9 tiles are PNG copies, ")
  with pytest.raises(InputError, match=r"Col_151.tif' is there twice, '01_TUM"):
    colorectal_histology.SPEC.open(
      _tiles(f"restored/01_TUMOR/{tile}.png", f"01_TUMOR/{tile}.tif")
    )


def test_every_published_name_of_a_tile_tells_its_slide(shared_data):
  with (shared_data / "kather2016_names_5000.csv").open(newline="") as file:
    table = list(csv.DictReader(file))
  listing = colorectal_histology.SPEC.open(
    NamedFiles(*(row["name"] for row in table))
  ).listing
  slides = dict(zip(listing.names, listing.groups, strict=True))
  assert slides == {row["name"]: f"CRC-Prim-HE-{row['slide']}" for row in table}
  assert len(slides) == colorectal_histology.SPEC.images
  # Regions of a slide that have a letter and no number.
  assert sum("HE-01b." in name or "HE-10c." in name for name in slides) == 25


def test_the_real_images(shared_data):
  listings = []
  for spec, name in (
    (colorectal_histology.SPEC, "colorectal-histology-24-tiles.zip"),
    (chest_xray.SPEC, "chest-xray-pneumonia.zip"),
  ):
    files = archive.open_files(shared_data / name)
    listings.append(spec.open(files).listing)
    files.close()
  tiles, xrays = listings
  assert np.bincount(tiles.labels).tolist() == [3] * 8
  assert all(group[:12] == "CRC-Prim-HE-" for group in tiles.groups)
  is_test = xrays.parts == "test"
  assert np.bincount(xrays.labels[is_test]).tolist() == [234, 390]
  counts = np.bincount(xrays.labels[~is_test]).tolist()
  assert counts == [1341 + 8, 3875 + 8]
  assert len({*xrays.groups[is_test]} & {*xrays.groups[~is_test]}) == 170


def test_anyones_folders_are_classes_in_parts_or_not():
  listing = image_folder.list_images(
    NamedFiles("a/dog/1.png", "a/cat/1.jpg", "a/readme.md", "a/.x/dog/1.png")
  )
  assert listing.classes == ("cat", "dog")
  assert listing.names.tolist() == ["cat/1.jpg", "dog/1.png"]
  assert listing.parts.tolist() == ["", ""]
  listing = image_folder.list_images(
    NamedFiles(
      "Train/dog/1.png", "Train/cat/1.png", "valid/dog/1.png", "test/cat/1.png"
    )
  )
  assert dict(zip(listing.names, listing.parts, strict=True)) == {
    "Train/cat/1.png": "train",
    "test/cat/1.png": "test",
    "Train/dog/1.png": "train",
    "valid/dog/1.png": "val",
  }


def test_the_folder_at_the_top_is_the_class_and_those_inside_are_groups():
  listing = image_folder.list_images(
    NamedFiles("d/cat/p1/1.png", "d/cat/p1/x/2.png", "d/dog/p1/1.png", "d/a.md")
  )
  assert listing.classes == ("cat", "dog")
  assert dict(zip(listing.names, listing.groups, strict=True)) == {
    "cat/p1/1.png": "cat/p1",
    "cat/p1/x/2.png": "cat/p1",
    "dog/p1/1.png": "dog/p1",
  }
  note, inner, alike = listing.notes
  assert "several classes, or called like parts: 1, 'p1'; they are" in alike
  assert "which are groups: 2, the first 'cat/p1'; data" in note
  assert "which stay together: 1, the first 'cat/p1/x'; if" in inner
  assert listing.passed_over == (("", ".md files", 1),)
  # A class may be called a part, and have images beside its folders.
  listing = image_folder.list_images(
    NamedFiles("train/1.png", "train/ice/2.png", "car/test/1.png", "car/2.png")
  )
  assert listing.classes == ("car", "train")
  assert listing.groups.tolist() == [
    *("car/2.png", "car/test", "train/1.png", "train/ice")
  ]
  assert "or called like parts: 1, 'test'; they" in listing.notes[1]
  # One group in two parts is one.
  listing = image_folder.list_images(
    NamedFiles(
      *(
        f"{part}/{name}/p1/1.png" for part in ("train", "test") for name in "ab"
      )
    )
  )
  assert listing.groups.tolist() == ["a/p1", "a/p1", "b/p1", "b/p1"]
  assert listing.parts.tolist() == ["test", "train"] * 2
  for names in (
    ["x/a/1.png", "x/b/2.png"],
    ["x/y/a/1.png", "x/y/b/2.png", "x/readme.md", "x/y/notes"],
  ):
    listing = image_folder.list_images(NamedFiles(*names))
    assert listing.names.tolist() == ["a/1.png", "b/2.png"]
    assert listing.groups.tolist() == listing.names.tolist()
    assert not listing.notes


def test_studies_of_a_patient_stay_together():
  """`CLASS/PATIENT/STUDY/FILE`: a group is a patient, or what is outermost."""

  def list_groups(*names):
    listing = image_folder.list_images(NamedFiles(*names))
    return sorted({*listing.groups.tolist()}), listing

  tails = ("p1/s1/1.png", "p1/s2/1.png", "p2/s1/1.png", "p3/s1/t/1.png")
  found, listing = list_groups(*(f"{c}/{tail}" for c in "ab" for tail in tails))
  assert found == [f"{c}/p{i}" for c in "ab" for i in (1, 2, 3)]
  note = listing.notes[1]
  assert "those of groups, which stay together: 8, the first 'a/p1/s1'" in note
  # The pattern that the note has makes each study a group of its own.
  pattern = re.search("group_pattern='(.*)'", note)[1]
  studies, _ = groups.by_pattern(pattern, listing.names)
  assert len({*studies.tolist()}) == 8
  assert studies[0] == "a/p1/s1"
  # The same inside parts, where a patient in two of them is one group.
  found, listing = list_groups(
    *(f"{p}/{c}/{t}" for p in ("train", "test") for c in "ab" for t in tails)
  )
  assert found == [f"{c}/p{i}" for c in "ab" for i in (1, 2, 3)]
  pattern = re.search("group_pattern='(.*)'", listing.notes[1])[1]
  studies, _ = groups.by_pattern(pattern, listing.names)
  assert "train/a/p1/s1" in studies.tolist()
  # A class of few patients: those of others say what the folders are.
  found, _ = list_groups(
    *(f"a/{tail}" for tail in tails), "b/p9/s1/1.png", "b/p9/s2/1.png"
  )
  assert found == ["a/p1", "a/p2", "a/p3", "b/p9"]
  # Folders that hold all others of a class, or two sides, are no patients.
  for above in (["images"], ["left", "right"]):
    found, _ = list_groups(
      *(f"{c}/{a}/p{i}/1.png" for c in "ab" for a in above for i in (1, 2, 3))
    )
    assert len(found) == 6 * len(above)
    assert found[0] == f"a/{above[0]}/p1"


def test_bytes_that_are_no_text_are_escaped_in_names():
  names = ["caf\udce9/a.png", "caf\udce9/x\udcff/b.png", "dög/\u202f.png"]
  listing = image_folder.list_images(NamedFiles(*names, "caf\udce9/c.txt"))
  assert listing.paths == names
  assert listing.classes == (r"caf\udce9", "dög")
  assert listing.names.tolist() == [
    *(r"caf\udce9/a.png", r"caf\udce9/x\udcff/b.png", "dög/\u202f.png")
  ]
  assert listing.groups[1] == r"caf\udce9/x\udcff"
  assert listing.passed_over == ((r"caf\udce9", ".txt files", 1),)
  assert listing.notes[0].isascii()


def test_what_is_passed_over_is_counted_by_class():
  listing = image_folder.list_images(
    NamedFiles(
      *("cat/1.png", "cat/2.txt", "cat/3.txt", "cat/4", "cat/5.1", "cat/._1"),
      *("dog/1.png", "dog/.ipynb_checkpoints/1.png", "readme.txt"),
      *("dog/a.heic", "__MACOSX/cat/1.png", "cat/1.png.bak"),
    )
  )
  assert listing.passed_over == (
    ("", ".txt files", 1),
    ("", "hidden files", 1),
    ("cat", ".bak files", 1),
    ("cat", ".txt files", 2),
    ("cat", "hidden files", 1),
    ("cat", "other files", 2),
    ("dog", ".heic files", 1),
    ("dog", "hidden files", 1),
  )


def test_folders_beside_parts_without_images_are_no_parts():
  listing = image_folder.list_images(
    NamedFiles(
      *("train/a/1.png", "train/b/1.png", "test/a/1.png", "testing/a/x.txt"),
      *("docs/x.txt", "val/readme.txt"),
    )
  )
  assert listing.parts.tolist() == ["test", "train", "train"]
  # New images are told apart by class alone.
  files = NamedFiles("train/a/1.png", "train/b/1.png", "test/a/1.heic")
  listing = image_folder.list_images(files, ("a", "b"))
  assert listing.passed_over == (("a", ".heic files", 1),)


def test_what_is_no_image_folder_is_refused():
  for names, message in (
    (["1.png"], "got 0 folders"),
    (["dog/1.png"], "got 1 folder of images"),
    ([], "got 0 folders"),
    (["dog/1.png", "cat/1.png", "2.png"], "images in 'the top folder', bes"),
    (["x/dog/1.png", "x/cat/1.png", "2.png"], "images in 'the top folder'"),
    (["dog/1.png", "owl/a.heic", "owl/b/c"], "'owl' has no image that can be"),
    (
      ["owl/a.heic", "owl/b.txt"],
      "passed over .heic files (1), .txt files (1)",
    ),
    (["train/1.png", "test/1.png"], "right in test, train; valid: PART"),
    (["train/a/1.png", "test/a/1.png", "b/1.png"], "some are parts and"),
    (
      ["train/a/1.png", "train/b/1.png", "train/2.png"],
      "images right in train",
    ),
    (
      ["train/a/1.png", "train/b/1.png", "val/a/1.png", "valid/a/1.png"],
      "two are the same part",
    ),
    (
      ["train/a/1.png", "train/b/1.png", "Test/a/1.heic", "Test/b/2.heic"],
      "part 'Test' has no image that can be read (.heic files (2))",
    ),
  ):
    with pytest.raises(InputError) as caught:
      image_folder.list_images(NamedFiles(*names))
    assert message in str(caught.value)
    assert "valid: " in str(caught.value)
    assert "\n" not in str(caught.value)
