"""Tests of the generated H&E patches."""

import hashlib
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from mn_jax.data.samples import patches as sample_patches

_NAME = re.compile(r"(\d{5})_idx5_x(\d+)_y(\d+)_class([01])\.png")


def _read(root: pathlib.Path) -> dict[str, np.ndarray]:
  """Pixels u8[h, w, 3] of all patches by path below `root`."""
  pixels = {}
  for path in sorted(root.rglob("*.png")):
    with Image.open(path) as image:
      assert image.mode == "RGB"
      pixels[path.relative_to(root).as_posix()] = np.asarray(image)
  return pixels


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> pathlib.Path:
  path = tmp_path_factory.mktemp("sample") / "root"
  sample_patches.write_sample(path, num_patients=12, patches_per_patient=16)
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


def test_pixels_never_change(patches):
  # Published results belong to them.
  digest = hashlib.sha256()
  for path, pixels in sorted(patches.items()):
    digest.update(path.encode() + pixels.tobytes())
  assert digest.hexdigest()[:16] == "41b1f333350bc1d2"


def test_patches_are_50x50_rgb(patches):
  assert {p.shape for p in patches.values()} == {(50, 50, 3)}
  assert {p.dtype for p in patches.values()} == {np.dtype(np.uint8)}
  assert min(p.std() for p in patches.values()) > 2  # None is blank.
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


def test_pixels_depend_on_case_and_index_alone(tmp_path, patches):
  for name, patients, count in (("a", 1, 16), ("b", 3, 5)):
    sample_patches.write_sample(
      tmp_path / name, num_patients=patients, patches_per_patient=count
    )
    for path, pixels in _read(tmp_path / name).items():
      np.testing.assert_array_equal(pixels, patches[path], err_msg=path)
