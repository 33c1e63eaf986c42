"""Images that calibrate are not those that judge, and labels are checked."""

import csv

import numpy as np
import pytest
from PIL import Image

from mn_jax.errors import InputError
from mn_jax.export import labelled
from tests import toy_transfer
from tests.deploy import test_predictor as predictors
from tests.export import toy_networks as toy

finished = predictors.finished
pytestmark = predictors.pytestmark


def test_calibration_images_of_a_run_are_of_training(finished):
  run, data, *_ = predictors.expected(finished, images=1)
  images = labelled.of_run(data, calibration=7)
  assert [x.name for x in images.parts] == ["val", "test"]
  for part in images.parts:
    np.testing.assert_array_equal(part.rows, data.part(part.name))
    np.testing.assert_array_equal(part.labels, data.cache.labels[part.rows])
    assert len(part.groups) == len(part.rows)
    assert part.positive == data.spec.positive
  assert images.calibration.part == "train"
  assert len(images.calibration.images) == 7
  training = {data.cache.images[i].tobytes() for i in data.part("train")}
  assert {x.tobytes() for x in images.calibration.images} <= training
  # Every class is there.
  rows = [
    next(i for i in data.part("train") if (data.cache.images[i] == image).all())
    for image in images.calibration.images
  ]
  assert {*data.cache.labels[rows].tolist()} == {0, 1}
  everything = labelled.of_run(data, calibration=10**6).calibration.images
  assert len(everything) == len(data.part("train"))
  assert labelled.of_run(data, calibration=0).calibration is None
  assert run.step > 0


def write(folder, names, count=3):
  """Images of 40 to 60 pixels in a folder for each class."""
  for k, name in enumerate(names):
    (folder / name).mkdir(parents=True)
    for i in range(count):
      image = toy.smooth(40 + 4 * i, 60 - 4 * i, seed=10 * k + i)
      Image.fromarray(image).save(folder / name / f"{i}.png")
  return folder


def read(path, made=None, *, calibration=0, **changes):
  made = made or toy.trained()
  with labelled.of_path(
    made,
    path,
    changes,
    calibration=calibration,
    progress=toy_transfer.ignore_progress,
  ) as images:
    return images


def test_images_are_made_ready_as_the_weights_want_them(tmp_path):
  made = toy.trained()
  (part,) = read(write(tmp_path / "a", "cab")).parts
  assert part.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
  expected = made.fit_image(toy.smooth(44, 56, seed=11))  # a/1.png
  np.testing.assert_array_equal(part.pixels[part.rows[1]], expected)
  assert (part.name, part.groups, part.positive) == ("images", None, None)


def test_what_calibrates_does_not_judge(tmp_path):
  images = read(write(tmp_path / "a", "abc"), calibration=4)
  (part,) = images.parts
  assert len(part.rows) == 5
  assert images.calibration.part == "images"
  judged = {x.tobytes() for x in part.images()}
  calibrated = {x.tobytes() for x in images.calibration.images}
  assert len(calibrated) == 4
  assert not judged & calibrated
  assert part.labels.tolist() == [
    [0, 0, 0, 1, 1, 1, 2, 2, 2][i] for i in part.rows
  ]
  with pytest.raises(InputError, match=r"--calibration-images: got 9 of 9 ima"):
    read(tmp_path / "a", calibration=9)


def test_classes_may_be_indices_and_fewer(tmp_path):
  (part,) = read(write(tmp_path / "a", "02")).parts
  assert part.labels.tolist() == [0] * 3 + [2] * 3
  (part,) = read(write(tmp_path / "b", "ac")).parts
  assert part.labels.tolist() == [0] * 3 + [2] * 3
  made = toy.trained(classes=("0", "1", "2"))
  (part,) = read(write(tmp_path / "c", "12"), made).parts
  assert part.labels.tolist() == [1] * 3 + [2] * 3


def test_a_table_names_its_columns(tmp_path):
  write(tmp_path / "a", "x", count=4)
  rows = [(f"{i}.png", "abca"[i], i % 2) for i in range(4)]
  with (tmp_path / "t.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("picture", "kind", "b"), *rows])
  fields = {"file": "picture", "root": str(tmp_path / "a" / "x")}
  (part,) = read(tmp_path / "t.csv", label=("kind",), **fields).parts
  assert part.labels.tolist() == [0, 1, 2, 0]


def test_several_labels_are_put_in_the_order_of_the_network(tmp_path):
  write(tmp_path / "a", "x", count=4)
  rows = [(f"x/{i}.png", int(i > 1), 0, i % 2) for i in range(4)]
  with (tmp_path / "a" / "t.csv").open("w", newline="") as file:
    csv.writer(file).writerows([("file", "c", "a", "b"), *rows])
  made = toy.trained(multi_label=True)
  path = tmp_path / "a" / "t.csv"
  (part,) = read(path, made, label=("c", "a", "b")).parts
  assert part.labels.tolist() == [[0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 1, 1]]
  with pytest.raises(InputError, match="--data: got 2 labels for a network of"):
    read(path, made, label=("c", "b"))
  with pytest.raises(InputError, match="got images of several labels each for"):
    read(path, label=("c", "b"))


def test_other_classes_are_one_line(tmp_path):
  for names, classes, message in (
    ("abx", "abc", "got the label 'x', which none of the classes of the netw"),
    ("ab", "aab", "got the label 'a', which 2 classes of the network have"),
    ("129", "abc", "valid: a, b, c, or indices, 0 to 2"),
  ):
    folder = write(tmp_path / f"{names}{classes}", names)
    with pytest.raises(InputError, match=message) as caught:
      read(folder, toy.trained(classes=tuple(classes)))
    assert "\n" not in str(caught.value)
  folder = write(tmp_path / "broken", "ab")
  (folder / "a" / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
  with pytest.raises(InputError, match=r"--data: got 'a/1\.png', which cannot"):
    read(folder)
