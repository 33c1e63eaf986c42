"""Tests of the embedded sample."""

import json
import os
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from mn_jax.data.samples import patches as sample

_SMALL = {"num_patients": 2, "patches_per_patient": 9}
_NAME = re.compile(r"(\d{5})_idx5_x(\d+)_y(\d+)_class([01])\.png")


def _read(root: pathlib.Path) -> dict[str, np.ndarray]:
  """Pixels u8[h, w, 3] of all patches by path below `root`."""
  pixels = {}
  for path in sorted(root.rglob("*.png")):
    with Image.open(path) as image:
      assert image.mode == "RGB"
      pixels[path.relative_to(root).as_posix()] = np.asarray(image)
  return pixels


def _assert_subset(part: dict[str, np.ndarray], whole: dict[str, np.ndarray]):
  for name, pixels in part.items():
    np.testing.assert_array_equal(pixels, whole[name], err_msg=name)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("sample") / "root"
  count = sample.write_sample(path, num_patients=12, patches_per_patient=16)
  assert count == 192
  return path


@pytest.fixture(scope="module")
def patches(root) -> dict[str, np.ndarray]:
  return _read(root)


@pytest.fixture(scope="module")
def labels(patches) -> np.ndarray:
  return np.array([int(name.split("/")[1]) for name in patches])


def test_layout_is_that_of_the_real_set(root, patches):
  assert len(patches) == 192
  places = set()
  for name in patches:
    case, label, file = name.split("/")
    match = _NAME.fullmatch(file)
    assert match, name
    assert match[1] == case
    assert match[4] == label
    assert int(match[2]) % 50 == 1
    assert int(match[3]) % 50 == 1
    places.add((case, match[2], match[3]))
  assert len(places) == 192
  cases = {name.split("/")[0] for name in patches}
  assert cases == {str(case) for case in range(90001, 90013)}
  assert {path.name for path in root.iterdir()} == {*cases, "SAMPLE.json"}
  assert [path.name for path in root.parent.iterdir()] == ["root"]


def test_patches_are_50x50_rgb(patches):
  assert {p.shape for p in patches.values()} == {(50, 50, 3)}
  assert {p.dtype for p in patches.values()} == {np.dtype(np.uint8)}
  assert min(p.std() for p in patches.values()) > 2  # None is blank.


def test_no_patch_is_a_copy(patches):
  assert len({p.tobytes() for p in patches.values()}) == len(patches)


def test_share_of_class_1_resembles_the_real_set(patches, labels):
  cases = np.array([name.split("/")[0] for name in patches])
  shares = [labels[cases == case].mean() for case in np.unique(cases)]
  assert 0.2 < labels.mean() < 0.4
  assert min(shares) < 0.1
  assert 0.6 < max(shares) < 0.95


def test_nuclei_tell_the_classes_apart_but_colour_does_not_suffice(
  patches, labels
):
  # Eosin hardly absorbs red, so the optical density in red is haematoxylin.
  red = np.stack(list(patches.values()))[..., 0].astype(np.float64)
  amount = -np.log((red + 1) / 256).mean((1, 2))
  assert amount[labels == 1].mean() > 1.2 * amount[labels == 0].mean()
  accuracy = [
    ((amount[labels == 1] > t).mean() + (amount[labels == 0] <= t).mean()) / 2
    for t in amount
  ]
  assert 0.6 < max(accuracy) < 0.85


def test_pixels_depend_on_seed_case_and_index_alone(tmp_path, patches):
  fewer_patients = tmp_path / "patients"
  fewer_patches = tmp_path / "patches"
  sample.write_sample(fewer_patients, num_patients=1, patches_per_patient=16)
  sample.write_sample(fewer_patches, num_patients=3, patches_per_patient=5)
  _assert_subset(_read(fewer_patients), patches)
  _assert_subset(_read(fewer_patches), patches)


def test_other_seed_gives_other_pixels(tmp_path, patches):
  sample.write_sample(tmp_path / "root", seed=1, **_SMALL)
  other = {p.tobytes() for p in _read(tmp_path / "root").values()}
  assert len(other) == 18
  assert other.isdisjoint(p.tobytes() for p in patches.values())


def test_finished_sample_is_left_alone(tmp_path, monkeypatch):
  root = tmp_path / "deep" / "root"
  assert sample.write_sample(root, **_SMALL) == 18
  monkeypatch.setattr(sample, "_write_case", None)  # A call would raise.
  assert sample.write_sample(root, **_SMALL) == 18


def test_empty_folder_is_filled(tmp_path):
  assert sample.write_sample(tmp_path, **_SMALL) == 18
  assert len(_read(tmp_path)) == 18


@pytest.mark.parametrize("name", ["patch.png", "SAMPLE.json"])
def test_foreign_folder_is_refused(tmp_path, name):
  (tmp_path / name).write_text("not ours")
  with pytest.raises(FileExistsError, match="is not a sample") as error:
    sample.write_sample(tmp_path, **_SMALL)
  assert "\n" not in str(error.value)
  assert [path.name for path in tmp_path.iterdir()] == [name]
  assert (tmp_path / name).read_text() == "not ours"


def test_file_in_place_of_the_folder_is_refused(tmp_path):
  root = tmp_path / "root"
  root.write_text("not ours")
  with pytest.raises(FileExistsError, match="is not a sample"):
    sample.write_sample(root, **_SMALL)
  assert root.read_text() == "not ours"


@pytest.mark.parametrize(
  "other", [{"seed": 1}, {"num_patients": 4}, {"patches_per_patient": 8}]
)
def test_sample_of_other_parameters_is_refused(tmp_path, other):
  marker = {"sample": "mn_jax", "version": 1, "seed": 0, **_SMALL, **other}
  (tmp_path / "SAMPLE.json").write_text(json.dumps(marker))
  with pytest.raises(FileExistsError, match="is another sample") as error:
    sample.write_sample(tmp_path, **_SMALL)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("error", [OSError, RuntimeError, KeyboardInterrupt])
def test_failure_midway_leaves_nothing(tmp_path, monkeypatch, error):
  save = Image.Image.save
  saved = []

  def fail_at_the_13th(image, path):
    if len(saved) == 12:
      raise error("disk full")
    saved.append(path)
    save(image, path)

  with monkeypatch.context() as patch:
    patch.setattr(Image.Image, "save", fail_at_the_13th)
    with pytest.raises(error, match="disk full"):
      sample.write_sample(tmp_path / "root", **_SMALL)
  assert list(tmp_path.iterdir()) == []
  assert sample.write_sample(tmp_path / "root", **_SMALL) == 18


def test_folders_of_dead_processes_are_removed(tmp_path):
  names = [".root.tmp-old", ".root.tmp-new", ".other.tmp-old"]
  for name in names:
    (tmp_path / name / "90001").mkdir(parents=True)
    if name.endswith("old"):
      os.utime(tmp_path / name, (1e9, 1e9))
  sample.write_sample(tmp_path / "root", **_SMALL)
  left = {path.name for path in tmp_path.iterdir()}
  assert left == {"root", ".root.tmp-new", ".other.tmp-old"}


@pytest.mark.parametrize(("first", "ends_well"), [(_SMALL, True), ({}, False)])
def test_process_that_comes_second(tmp_path, monkeypatch, first, ends_well):
  write_case = sample._write_case

  def write_case_too_late(*args):
    monkeypatch.setattr(sample, "_write_case", write_case)
    write_case(*args)
    if first:
      sample.write_sample(tmp_path / "root", **first)
    else:
      (tmp_path / "root" / "foreign").mkdir(parents=True)

  monkeypatch.setattr(sample, "_write_case", write_case_too_late)
  if ends_well:
    assert sample.write_sample(tmp_path / "root", **_SMALL) == 18
    assert len(_read(tmp_path / "root")) == 18
  else:
    with pytest.raises(FileExistsError, match="is not a sample"):
      sample.write_sample(tmp_path / "root", **_SMALL)
  assert [path.name for path in tmp_path.iterdir()] == ["root"]


def test_two_processes_at_once(tmp_path, patches):
  code = (
    "import pathlib, sys; from mn_jax.data import sample;"
    "print(sample.write_sample(pathlib.Path(sys.argv[1]), num_patients=2,"
    " patches_per_patient=16))"
  )
  command = [sys.executable, "-c", code, str(tmp_path / "root")]
  cwd = pathlib.Path(__file__).parents[3]
  processes = [
    subprocess.Popen(command, cwd=cwd, stdout=subprocess.PIPE, text=True)
    for _ in range(2)
  ]
  for process in processes:
    assert process.communicate(timeout=60)[0] == "32\n"
    assert process.returncode == 0
  assert [path.name for path in tmp_path.iterdir()] == ["root"]
  written = _read(tmp_path / "root")
  assert len(written) == 32
  _assert_subset(written, patches)


@pytest.mark.parametrize(
  "wrong",
  [{"seed": -1}, {"num_patients": 10_000}, {"patches_per_patient": 0}],
)
def test_number_out_of_range_is_refused(tmp_path, wrong):
  with pytest.raises(ValueError, match=next(iter(wrong))):
    sample.write_sample(tmp_path / "root", **wrong)
  assert list(tmp_path.iterdir()) == []
